"""Settings that give a tile's group: a pattern, or one of several ways."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel


def _captures_a_group(pattern: str) -> str:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r}: expected a regular expression ({error})") from error
    if compiled.groups < 1:
        raise ValueError(f"{pattern!r}: expected a capture group that gives the tile's group, such as ^case(\\d+)")
    return pattern


GroupPattern = Annotated[str, AfterValidator(_captures_a_group)]
"""Regular expression with a capture group."""


def require_at_most_one(settings: BaseModel, *names: str) -> None:
    """Require that at most one of some optional settings is given. Raise ValueError otherwise."""
    given = [name for name in names if getattr(settings, name) is not None]
    if len(given) > 1:
        *others, last = given
        found = "several" if others[1:] else "both"
        raise ValueError(f"{', '.join(others)} and {last}: expected one of them, found {found}; leave the others out")
