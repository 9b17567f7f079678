"""The laboratories that the tests of defenses share."""

import pytest

from tests.defenses.laboratory import Laboratory


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """Return the laboratory with the small network."""
    return Laboratory(tmp_path_factory.mktemp("convnet"), "convnet", epochs=15)


@pytest.fixture(scope="session")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """Return the laboratory with a ResNet after little training, and few tiles."""
    return Laboratory(tmp_path_factory.mktemp("resnet18"), "resnet18", epochs=1, sources=12)
