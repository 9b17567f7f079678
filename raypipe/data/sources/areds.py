"""AREDS: fundus photographs of the Age-Related Eye Disease Study (dbGaP phs000001), which the user must provide.

Access is controlled. dbGaP gives the photographs to approved users, under an agreement that forbids redistribution.
Their tables differ between requests, so raypipe reads a layout that the user prepares: a folder for each class.
"""

from typing import Literal

from pydantic import Field

from raypipe.data.class_choice import ClassChoice
from raypipe.data.published import Published
from raypipe.data.source import DataSet, Source
from raypipe.data.sources.folder import Folder, open_folder
from raypipe.data.sources.patterns import GroupPattern

PUBLISHED = Published(
    title="AREDS, fundus photographs",
    layout="a folder for each class; file names begin with the participant's number",
    groups="participant, from the file name",
    license="dbGaP data use certification",
    where="https://www.ncbi.nlm.nih.gov/gap, study phs000001: by application; its terms forbid to pass data on",
    restriction="dbGaP's data use certification forbids to pass AREDS on",
)


class AREDS(ClassChoice):
    """Settings of a folder of AREDS photographs.

    Parameters
    ----------
    path
        Directory or zip archive, a local path or a URI, whose top-level folders are the classes.
    group_pattern
        Regular expression that is searched in each file's name. Its first capture group is the participant. The default
        is the number at the start of the name: both eyes and all visits of a participant stay on one side of a split.
    per_class
        Number of photographs of each class to keep, in whole groups as far as possible. None keeps all.
    """

    source: Literal["areds"] = "areds"
    path: str
    group_pattern: GroupPattern = r"^(\d+)"
    per_class: int | None = Field(default=None, ge=1)


def open_areds(settings: AREDS, seed: int) -> Source:
    """Open the class folders of AREDS. Raise the errors of `raypipe.data.sources.folder.open_folder`."""
    return open_folder(
        Folder(
            path=settings.path,
            group_pattern=settings.group_pattern,
            per_class=settings.per_class,
            restriction=PUBLISHED.restriction,
        ),
        seed,
    )


DATA_SET = DataSet(AREDS, open_areds, PUBLISHED)
