"""Pages from templates. All text is escaped, and the file contains all that the browser needs."""

import importlib.metadata
from importlib.resources import files
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
        style=Markup((folder / "style.css").read_text()),  # noqa: S704  ours
        script=Markup((folder / "table.js").read_text()),  # noqa: S704
        **values,
    )
    return page.encode()
