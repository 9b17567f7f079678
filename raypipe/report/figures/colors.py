"""Colors of the report's style sheet, which is the only place that defines them."""

import re
from importlib.resources import files
from typing import Literal

Scheme = Literal["light", "dark"]
_VARIABLE = re.compile(r"--([\w-]+): (#[0-9a-f]{6})\b")
_DARK = "@media (prefers-color-scheme: dark)"


def read_colors(scheme: Scheme) -> dict[str, str]:
    """Return the colors of the report in a color scheme, such as ``#2f6fb5``, by the names of their variables."""
    style = files("raypipe.report.page").joinpath("templates", "style.css").read_text()
    light, _, rest = style.partition(_DARK)
    colors = dict(_VARIABLE.findall(light))
    return colors if scheme == "light" else colors | dict(_VARIABLE.findall(rest))
