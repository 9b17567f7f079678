"""The addresses of programs that track runs, which an experiment and `raypipe track` name."""

TENSORBOARD = "tensorboard:"
MLFLOW = ("http://", "https://", "file:", "sqlite:///")


def require_tracking_address(uri: str) -> None:
    """Require the address of a program that raypipe can log to.

    Raises
    ------
    ValueError
        If it begins otherwise than such an address, or names no place.
    """
    known = (TENSORBOARD, *MLFLOW)
    if not any(uri.startswith(scheme) and uri != scheme for scheme in known):
        raise ValueError(
            f"{uri!r} is no address to log to; expected the address of an MLflow server (https://...), file:FOLDER or "
            "sqlite:///FILE for its files, or tensorboard:FOLDER"
        )
