"""Models in the store."""

from raypipe.models.checkpoint import FILE_NAME, ModelCard, load_classifier
from raypipe.models.classifier import Classifier
from raypipe.storage.store import Store, describe_damage


def load_model(store: Store, key: str) -> tuple[Classifier, ModelCard]:
    """Load the classifier of a model artifact.

    Raises
    ------
    StoreError
        If its file cannot be read.
    """
    path = f"{store.artifact('model', key)}/{FILE_NAME}"
    try:
        return load_classifier(store.read_bytes(path))
    except ValueError as error:
        raise describe_damage(store.path(path), error) from error
