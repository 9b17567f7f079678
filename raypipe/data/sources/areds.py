"""AREDS: fundus photographs of the Age-Related Eye Disease Study (dbGaP phs000001), which you bring along.

Access is controlled: dbGaP gives the photographs to those whom it approved, under an agreement that forbids to pass
them on. Their tables differ with the request, so raypipe reads what you make of them: a folder for each class.
"""

from typing import Literal

from pydantic import Field

from raypipe.base.settings import Settings
from raypipe.data.published import Published
from raypipe.data.source import Source
from raypipe.data.sources.folder import Folder, open_folder
from raypipe.data.sources.patterns import GroupPattern

PUBLISHED = Published(
    title="AREDS, fundus photographs",
    layout="a folder for each class; file names begin with the participant's number",
    groups="participant, from the file name",
    licence="dbGaP data use certification",
    where="https://www.ncbi.nlm.nih.gov/gap, study phs000001: by application; its terms forbid to pass data on",
    restriction="dbGaP's data use certification forbids to pass AREDS on",
)


class AREDS(Settings):
    """Where your folder of AREDS photographs is.

    Attributes
    ----------
    path
        Directory or zip archive, local or a URI, whose top-level folders are the classes.
    group_pattern
        Regular expression searched in each file's name; its first capture group is the participant. By default the
        number with which the name begins: both eyes and all visits of a participant stay on one side of a split.
    per_class
        Keep this many photographs of each class, in whole groups as far as possible; all by default.
    """

    source: Literal["areds"] = "areds"
    path: str
    group_pattern: GroupPattern = r"^(\d+)"
    per_class: int | None = Field(default=None, ge=1)


def open_areds(settings: AREDS, seed: int) -> Source:
    """Open class folders of AREDS; raises what `raypipe.data.sources.folder.open_folder` does."""
    return open_folder(
        Folder(
            path=settings.path,
            group_pattern=settings.group_pattern,
            per_class=settings.per_class,
            restriction=PUBLISHED.restriction,
        ),
        seed,
    )
