"""A small valid experiment, and helpers that change and write it."""

from pathlib import Path

import pytest
import yaml

from raypipe.base.errors import ConfigError
from raypipe.experiment.load import validate_experiment

MINIMAL = {"name": "t", "data": {"source": "synthetic"}, "models": ["resnet18"], "attacks": ["deepfool"]}


def problems(**changes: object) -> str:
    with pytest.raises(ConfigError) as caught:
        validate_experiment({**MINIMAL, **changes})
    return "\n".join(caught.value.problems)


def write(folder: Path, content: object) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path
