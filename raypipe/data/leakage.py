"""Leakage between training and test: tiles of one group, such as augmentations of one source tile, on both sides."""

from collections.abc import Iterable

from raypipe.data.reading.annotations import name_few


class LeakageError(ValueError):
    """Error for a split that should keep groups apart and does not."""


def find_leaking_groups(tiles: Iterable[tuple[str | None, str]]) -> list[str]:
    """List the groups that have tiles in both train and test.

    Parameters
    ----------
    tiles
        Group (None if unknown) and split ("train" or "test") of each tile.

    Returns
    -------
    list of str
        Group names, sorted.
    """
    sides: dict[str, set[str]] = {"train": set(), "test": set()}
    for group, split in tiles:
        if group is not None:
            sides[split].add(group)
    return sorted(sides["train"] & sides["test"])


def require_disjoint(tiles: Iterable[tuple[str | None, str]]) -> None:
    """Require that every tile has a group and that no group is on both sides.

    Parameters
    ----------
    tiles
        Group (None if unknown) and split ("train" or "test") of each tile.

    Raises
    ------
    LeakageError
        If a tile has no group, or a group is on both sides.
    """
    tiles = list(tiles)
    lost = sum(group is None for group, _ in tiles)
    if lost:
        raise LeakageError(
            f"{lost} of {len(tiles)} tiles have no group, so a leak between train and test cannot be excluded; name "
            "their groups (groups or group_pattern of the data set)"
        )
    leaking = find_leaking_groups(tiles)
    if leaking:
        raise LeakageError(
            f"{len(leaking)} groups have tiles in both train and test ({name_few(leaking)}); use split 'group', or "
            "give all tiles of a group the same split"
        )


def measure_leakage(tiles: Iterable[tuple[str | None, str]]) -> float | None:
    """Return the share of test tiles that have a sibling among the training tiles.

    Parameters
    ----------
    tiles
        Group (None if unknown) and split ("train" or "test") of each tile.

    Returns
    -------
    float or None
        0 to 1, and 0 if there is no test tile. None if the group of any tile is unknown.
    """
    tiles = list(tiles)
    if any(group is None for group, _ in tiles):
        return None
    trained = {group for group, split in tiles if split == "train"}
    tested = [group in trained for group, split in tiles if split == "test"]
    return sum(tested) / len(tested) if tested else 0.0
