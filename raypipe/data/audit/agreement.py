"""Agreement between the groups that the audit found and the known groups."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import pair_confusion_matrix

from raypipe.data.leakage import measure_leakage
from raypipe.data.source import TileRef
from raypipe.data.splits import assign_splits


@dataclass(frozen=True)
class Agreement:
    """Comparison of found groups with known groups, over the tiles whose group is known.

    Parameters
    ----------
    tiles
        Number of these tiles.
    adjusted_rand_index
        Adjusted Rand index (Hubert and Arabie 1985): 1 if both groupings are equal, 0 if they agree as much as by
        chance.
    precision
        Share of the pairs of tiles in one found group that are also in one known group; 1 if there are no such pairs.
    recall
        Share of the pairs of tiles in one known group that are also in one found group; 1 if there are no such pairs.
    remaining_leak
        Share of test tiles with a known sibling in training after a split by the found groups, as a mean over seeds.
        None if the found groups cannot be split.
    """

    tiles: int
    adjusted_rand_index: float
    precision: float
    recall: float
    remaining_leak: float | None


def compare_groups(
    audited: Sequence[TileRef], known: Mapping[str, str], train_fraction: float, seeds: int
) -> Agreement:
    """Compare found groups with known ones.

    Parameters
    ----------
    audited
        Tiles with the groups that the audit found.
    known
        True group by path. Tiles without one are left out.
    train_fraction
        Share of training tiles in the splits by found group, between 0 and 1.
    seeds
        Number of splits.

    Raises
    ------
    ValueError
        If the group of no tile is known.
    """
    refs = [ref for ref in audited if ref.path in known]
    if not refs:
        raise ValueError(f"the known groups name none of the {len(audited)} tiles")
    truth, ours = [known[ref.path] for ref in refs], [str(ref.group) for ref in refs]
    (_, wrong), (missed, right) = pair_confusion_matrix(truth, ours).tolist()
    return Agreement(
        tiles=len(refs),
        adjusted_rand_index=float(adjusted_rand_score(truth, ours)),
        precision=right / (right + wrong) if right + wrong else 1.0,
        recall=right / (right + missed) if right + missed else 1.0,
        remaining_leak=_estimate_remaining_leak(refs, known, train_fraction, seeds),
    )


def _estimate_remaining_leak(
    refs: Sequence[TileRef], known: Mapping[str, str], train_fraction: float, seeds: int
) -> float | None:
    shares = []
    for seed in range(seeds):
        try:
            sides = assign_splits(refs, "group", train_fraction, seed)
        except ValueError:
            return None
        shares.append(measure_leakage([(known[path], side) for path, side in sides.items()]) or 0.0)
    return sum(shares) / len(shares)


def compute_largest_shares(refs: Sequence[TileRef]) -> dict[str, float]:
    """Return, by label in sorted order, the largest share of its tiles that one group holds."""
    sizes: dict[str, Counter[str | None]] = defaultdict(Counter)
    for ref in refs:
        sizes[str(ref.label_name)][ref.group] += 1
    return {label: max(sizes[label].values()) / sizes[label].total() for label in sorted(sizes)}


def merge_groups(audited: Sequence[TileRef], named: Mapping[str, str]) -> list[TileRef]:
    """Merge found groups that share a case, and name each merged group by its cases.

    Parameters
    ----------
    audited
        Tiles with the groups that the audit found.
    named
        Case by path, from the file names. A tile without a case follows its group.
    """
    root: dict[Hashable, Hashable] = {}

    def find(node: Hashable) -> Hashable:
        while root.setdefault(node, node) != node:
            node = root[node]
        return node

    for ref in audited:
        if ref.path in named:
            root[find((ref.group,))] = find(named[ref.path])  # a tuple is a found group, a string is a case
    cases: dict[Hashable, set[str]] = defaultdict(set)
    for case in set(named.values()):
        cases[find(case)].add(case)
    return [replace(ref, group="+".join(sorted(cases[find((ref.group,))])) or ref.group) for ref in audited]
