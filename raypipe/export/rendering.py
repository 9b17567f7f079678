"""Templates of the exported files."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_MARKUP = {ord(char): f"\\{char}" for char in "\\`*[]|"} | {ord("<"): "&lt;", ord(">"): "&gt;", ord("&"): "&amp;"}


def render(template: str, **values: Any) -> str:
    """Return a template of this package with its values filled in."""
    # The output is Markdown or Python. The filter `md` makes names in Markdown harmless; HTML's escaping would not.
    templates = Environment(  # noqa: S701
        loader=PackageLoader("raypipe.export"), trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    templates.filters |= {"md": escape_markdown, "code": escape_code, "repr": repr}
    return templates.get_template(template).render(**values)


def escape_markdown(text: str) -> str:
    """Return a name as Markdown that shows it unchanged, in one line."""
    return " ".join(str(text).split()).translate(_MARKUP)


def escape_code(text: str) -> str:
    """Return a name for a span of code, where backslashes escape nothing but the bars of tables."""
    return " ".join(str(text).split()).replace("`", "'").replace("|", "\\|")
