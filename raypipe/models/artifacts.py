"""Models in the store."""

from raypipe.models.checkpoint import ModelCard, load_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.model_file import MODEL_FILE
from raypipe.storage.errors import describe_damage
from raypipe.storage.store import Store


def load_model(store: Store, key: str) -> tuple[Classifier, ModelCard]:
    """Load the classifier of a model artifact.

    Raises
    ------
    FileNotFoundError
        If the artifact has no checkpoint.
    StoreError
        If its file cannot be read.
    """
    path = f"{store.artifact('model', key)}/{MODEL_FILE}"
    try:
        return load_classifier(store.read_bytes(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{store.path(path)}: no such checkpoint; a model that was tested as a program or as a module in memory is "
            "not kept in the store: use its own file"
        ) from error
    except ValueError as error:
        raise describe_damage(store.path(path), error) from error
