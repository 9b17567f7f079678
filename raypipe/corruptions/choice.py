"""A choice of corruptions in an experiment file: names, or one word for all of them."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from raypipe.base.settings import suggest_matches
from raypipe.corruptions import CORRUPTIONS

PATHOLOGY = "pathology"
"""Name of all corruptions together."""


def _read_names(value: Any) -> Any:
    """Return the names of corruptions, for ``pathology`` those of all."""
    if value == PATHOLOGY:
        return tuple(CORRUPTIONS)
    names = [value] if isinstance(value, str) else value
    for name in names if isinstance(names, list | tuple) else ():
        if name not in CORRUPTIONS:
            raise ValueError(
                f"{name!r}: expected {PATHOLOGY}, or names among {', '.join(CORRUPTIONS)}"
                f"{suggest_matches(str(name), CORRUPTIONS)}"
            )
    return tuple(dict.fromkeys(names)) if isinstance(names, list | tuple) else names


CorruptionNames = Annotated[tuple[str, ...], BeforeValidator(_read_names)]
"""A field of this type takes ``pathology`` or a list of names such as ``[jpeg, fold]``."""
