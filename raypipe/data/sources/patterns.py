"""Type of a setting with a pattern that gives a tile's group."""

import re
from typing import Annotated

from pydantic import AfterValidator


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
