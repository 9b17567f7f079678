"""The addresses of programs that track runs, which an experiment and `raypipe track` name."""

import re
from urllib.parse import urlsplit

TENSORBOARD = "tensorboard:"
WANDB = "wandb:"
MLFLOW = ("http://", "https://", "file:", "sqlite:///")
_PROJECT = re.compile(r"(?:[\w.-]+/)?[\w.-]+\Z")


def require_tracking_address(uri: str) -> None:
    """Require the address of a program that raypipe can log to.

    Raises
    ------
    ValueError
        If it begins otherwise than such an address, or names no place.
    """
    if uri.startswith(WANDB) and not _PROJECT.match(uri.removeprefix(WANDB)):
        raise ValueError(f"{uri!r}: expected wandb:PROJECT or wandb:ENTITY/PROJECT")
    if uri.startswith(("http://", "https://")) and not _names_server(uri):
        raise ValueError("the address of the MLflow server has no host or a wrong port; expected https://HOST:PORT")
    known = (TENSORBOARD, WANDB, *MLFLOW)
    if not any(uri.startswith(scheme) and uri != scheme for scheme in known):
        raise ValueError(
            f"{uri!r} is no address to log to; expected the address of an MLflow server (https://...), file:FOLDER or "
            "sqlite:///FILE for its files, tensorboard:FOLDER, or wandb:PROJECT"
        )


def _names_server(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return bool(parts.hostname) and parts.port != 0 and not any(letter.isspace() for letter in uri)
    except ValueError:  # a port that is no number, or too large
        return False
