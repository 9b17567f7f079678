"""The upload of an exported model to a repository of the Hugging Face hub, or of a server with the same interface."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from raypipe.base.errors import StageError

EXTRA = "pip install 'raypipe[hub]'"
ATTEMPTS = 4
"""Number of attempts of a request that the server answers as busy or broken, or that no answer comes for."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0
"""Seconds before the second attempt, which double each time, and the longest wait that a server may ask for."""
BUSY, BROKEN = 429, 500
T = TypeVar("T")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*\Z")


def require_hub(repository: str) -> None:
    """Require a valid name, the package and a token, before a model is exported.

    Parameters
    ----------
    repository
        Repository to upload to: ``OWNER/NAME``.

    Raises
    ------
    ValueError
        If the name is wrong, the package is not installed, or there is no token.
    """
    if not _REPOSITORY.match(repository):
        raise ValueError(f"--push {repository}: expected OWNER/NAME, such as your-name/resnet18-robust")
    _find_token()


def push_folder(folder: Path, repository: str, *, private: bool = False) -> str:
    """Upload an exported folder in one commit, and return the address of the repository, which is created if needed.

    The server is that of ``HF_ENDPOINT``, by default the public hub. The token is that of ``HF_TOKEN`` or of
    ``hf auth login``. It appears in no message. Requests are repeated if the server is busy (429) or broken (500 to
    599), or if the connection fails.

    Parameters
    ----------
    folder
        Folder that `raypipe.export.write.export_model` wrote.
    repository
        Repository to upload to: ``OWNER/NAME``.
    private
        True to make a new repository private.

    Raises
    ------
    StageError
        If the server refuses the upload or cannot be reached. The folder is kept.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415  an extra

    token = _find_token()
    api = HfApi(token=token)
    try:
        where = _repeat(lambda: api.create_repo(repository, private=private, exist_ok=True))
        message = "Upload a model evaluated by raypipe"
        _repeat(lambda: api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message))
    except Exception as error:  # the package lets errors of its transport and its own through
        reason = (str(error).strip() or "no reason given").splitlines()[0].replace(token, "***")
        passing = _may_pass(error)
        failed = f"did not take the upload in {ATTEMPTS} attempts" if passing else "refused the upload"
        remedy = "wait a while" if passing else "check the token's rights to write"
        raise StageError(
            f"export: {repository} at {api.endpoint} {failed} ({type(error).__name__}: {reason}); the model is in "
            f"{folder}: {remedy}, and upload it with `hf upload {repository} {folder}`"
        ) from error
    return str(where)


def _repeat(request: Callable[[], T]) -> T:
    """Return the result of a request, which is repeated after errors that may pass."""
    wait = FIRST_WAIT
    for _ in range(ATTEMPTS - 1):
        try:
            return request()
        except Exception as error:  # the package lets errors of its transport and its own through
            if not _may_pass(error):
                raise
            asked = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
            time.sleep(min(float(asked) if asked.isdigit() else wait, LONGEST_WAIT))
            wait *= 2
    return request()


def _may_pass(error: Exception) -> bool:
    """Return True for an answer of a busy or broken server, and for a failed connection."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return bool(status == BUSY or status >= BROKEN)
    return isinstance(error, OSError) or type(error).__module__.startswith("httpx")


def _find_token() -> str:
    try:
        from huggingface_hub import get_token  # noqa: PLC0415  an extra
    except ImportError as error:
        raise ValueError(f"--push needs the package huggingface_hub: {EXTRA}") from error
    token = get_token()
    if not token:
        raise ValueError("--push needs a token of the hub: set HF_TOKEN, or run `hf auth login`")
    return str(token)
