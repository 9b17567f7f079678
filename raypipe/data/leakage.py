"""Whether tiles of one group, such as augmentations of one source tile, are on both sides of a split."""

from collections.abc import Iterable

from raypipe.data.reading.annotations import examples


class LeakageError(ValueError):
    """A split that was to keep groups apart does not."""


def groups_on_both_sides(tiles: Iterable[tuple[str | None, str]]) -> list[str]:
    """List the groups that have tiles in both train and test.

    Parameters
    ----------
    tiles
        Group (None where unknown) and split ("train" or "test") of each tile.

    Returns
    -------
    list of str
        Sorted.
    """
    sides: dict[str, set[str]] = {"train": set(), "test": set()}
    for group, split in tiles:
        if group is not None:
            sides[split].add(group)
    return sorted(sides["train"] & sides["test"])


def require_disjoint(tiles: Iterable[tuple[str | None, str]]) -> None:
    """Raise LeakageError unless every tile has a group and no group is on both sides.

    Parameters
    ----------
    tiles
        Group (None where unknown) and split ("train" or "test") of each tile.
    """
    tiles = list(tiles)
    lost = sum(group is None for group, _ in tiles)
    if lost:
        raise LeakageError(
            f"{lost} of {len(tiles)} tiles have no group, so nothing shows that train and test are apart; name their "
            "groups (groups or group_pattern of the data set)"
        )
    leaking = groups_on_both_sides(tiles)
    if leaking:
        raise LeakageError(
            f"{len(leaking)} groups have tiles in both train and test ({examples(leaking)}); use split 'group', or "
            "give all tiles of a group the same split"
        )


def leakage_share(tiles: Iterable[tuple[str | None, str]]) -> float | None:
    """Return the share of test tiles that have a sibling among the training tiles.

    Parameters
    ----------
    tiles
        Group (None where unknown) and split ("train" or "test") of each tile.

    Returns
    -------
    float or None
        0 to 1, 0 where there is no test tile; None where the group of any tile is unknown.
    """
    tiles = list(tiles)
    if any(group is None for group, _ in tiles):
        return None
    trained = {group for group, split in tiles if split == "train"}
    tested = [group in trained for group, split in tiles if split == "test"]
    return sum(tested) / len(tested) if tested else 0.0
