"""Settings of external test sets: tiles from elsewhere, such as another hospital, that no model was trained on."""

from pydantic import Field

from raypipe.base.settings import Settings
from raypipe.data.sources import AnySource


class ExternalTiles(Settings):
    """Settings of an external test set.

    Parameters
    ----------
    data
        The data set, as in the section ``data``. All of its tiles are test tiles, whatever split was published.
    labels
        Class of the experiment's data set for each class of this one, such as ``{Normal: colon_n}``. Several classes
        may have the same one. Tiles of classes that are not mapped are left out.
    """

    data: AnySource
    labels: dict[str, str] = Field(min_length=1)
