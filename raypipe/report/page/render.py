"""Pages from templates. All text is escaped, and the file contains all that the browser needs."""

import importlib.metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from raypipe.evaluation.statistics.intervals import METHOD


def render(template: str, **values: Any) -> bytes:
    """Return a page as bytes of HTML.

    Parameters
    ----------
    template
        Name of the template, without endings.
    values
        Values that the template shows. Text is escaped unless it is `markupsafe.Markup`.
    """
    folder = files(__package__) / "templates"
    environment = Environment(
        loader=PackageLoader("raypipe.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(f"{template}.html.j2").render(
        method=METHOD,
        version=importlib.metadata.version("raypipe"),
        style=_join(folder, "style.css", "narrow.css", "print.css"),
        script=_join(folder, "table.js", "page.js"),
        **values,
    )
    return page.encode()


def _join(folder: Traversable, *names: str) -> Markup:
    return Markup("\n".join((folder / name).read_text() for name in names))  # noqa: S704  files of this package
