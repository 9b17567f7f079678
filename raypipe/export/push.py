"""The upload of an exported model to a repository of the Hugging Face hub, or of a server with the same interface."""

import re
from pathlib import Path

from raypipe.base.errors import StageError

EXTRA = "pip install 'raypipe[hub]'"
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
    ``hf auth login``. It appears in no message.

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
        where = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload a model evaluated by raypipe")
    except Exception as error:  # the package lets errors of its transport and its own through
        reason = (str(error).strip() or "no reason given").splitlines()[0].replace(token, "***")
        raise StageError(
            f"export: {repository} at {api.endpoint} refused the upload ({type(error).__name__}: {reason}); the model "
            f"is in {folder}: check the token's rights to write, and upload it with `hf upload {repository} {folder}`"
        ) from error
    return str(where)


def _find_token() -> str:
    try:
        from huggingface_hub import get_token  # noqa: PLC0415  an extra
    except ImportError as error:
        raise ValueError(f"--push needs the package huggingface_hub: {EXTRA}") from error
    token = get_token()
    if not token:
        raise ValueError("--push needs a token of the hub: set HF_TOKEN, or run `hf auth login`")
    return str(token)
