"""Tables of an audit's findings, for a terminal or a log."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from raypipe.data.audit.agreement import Agreement, compute_largest_shares
from raypipe.data.audit.audit import Audit, Pair
from raypipe.data.reading.annotations import name_few
from raypipe.data.reading.deep_images import describe_dark
from raypipe.report.fitting_table import render_table
from raypipe.report.sheet import Sheet

GIANT = 0.05
"""Share of a label's tiles above which a group is too large to be trusted without a look at its tiles."""

LEAST_GIANT = 10
"""Minimum number of tiles of such a group. In a small data set, a few siblings are already a large share."""


def render_audit(audit: Audit, title: str, pairs: int) -> Iterator[RenderableType]:
    """Yield the tables of an audit: leakage of a random split, groups, and the closest pairs that should be apart.

    Parameters
    ----------
    audit
        Findings to show.
    title
        Name of the audited data set.
    pairs
        Maximum number of pairs to show of each kind.
    """
    if audit.rejected:
        aside = [f"{path} ({reason})" for path, reason in audit.rejected.items()]
        yield Text(f"{len(aside)} files rejected: {name_few(aside)}", "yellow")
    yield from (Text(warning, "yellow") for warning in _warn_of_dark_images(audit))
    kind = "a sibling or a tile of the same case" if audit.cases else "a sibling"
    yield Text(
        f"With a random split, {100 * audit.random_leak:.1f} % of the test tiles have {kind} in training.",
        "bold red" if audit.random_leak else "bold green",
    )
    yield render_table(tabulate_groups(audit, title))
    if audit.cases:
        crossing = [pair for pair in audit.pairs if _crosses_cases(audit, pair)]
        yield Text(f"{len(crossing)} of {len(audit.pairs)} pairs of likely siblings belong to different cases.")
        if crossing:
            yield render_table(tabulate_pairs(audit, "Closest pairs across cases", crossing[:pairs]))
    else:
        yield from (Text(warning, "bold red") for warning in warn_of_giant_groups(audit))
    if audit.agreement:
        yield render_table(tabulate_agreement(audit.agreement))
    labels = [pair for pair in audit.pairs if pair.first.label_name != pair.second.label_name]
    if labels:
        yield render_table(tabulate_pairs(audit, f"Closest of {len(labels)} pairs across classes", labels[:pairs]))
    split = (pair for pair in audit.pairs if audit.sides[pair.first.path] != audit.sides[pair.second.path])
    closest = list(islice(split, pairs))
    if closest:
        yield render_table(tabulate_pairs(audit, "Closest pairs across the random split", closest))


def summarize_audit(audit: Audit, pairs: int) -> dict[str, Any]:
    """Return an audit's findings for other programs, with at most `pairs` of the closest pairs of each kind."""
    sizes = Counter((ref.label_name, ref.group) for ref in audit.tiles)
    labels = sorted({str(ref.label_name) for ref in audit.tiles})
    groups = {label: [size for (name, _), size in sizes.items() if name == label] for label in labels}
    sides = [pair for pair in audit.pairs if audit.sides[pair.first.path] != audit.sides[pair.second.path]]
    mixed = [pair for pair in audit.pairs if pair.first.label_name != pair.second.label_name]
    return {
        "tiles": len(audit.tiles),
        "rejected": dict(audit.rejected),
        "random_leak": audit.random_leak,
        "threshold": audit.threshold,
        "classes": {
            label: {"tiles": sum(each), "groups": len(each), "with_siblings": sum(size > 1 for size in each),
                    "largest": max(each)}
            for label, each in groups.items()
        },
        "agreement": audit.agreement and asdict(audit.agreement),
        "pairs_across_classes": [_describe_pair(pair) for pair in mixed[:pairs]],
        "pairs_across_sides": [_describe_pair(pair) for pair in sides[:pairs]],
        "warnings": [*_warn_of_dark_images(audit), *warn_of_giant_groups(audit)],
    }  # fmt: skip


def _describe_pair(pair: Pair) -> dict[str, Any]:
    return {"first": pair.first.path, "second": pair.second.path, "similarity": float(pair.similarity)}


def tabulate_groups(audit: Audit, title: str) -> Sheet:
    """Return a table of the groups by class.

    It gives the numbers of tiles, of groups and of groups with more than one tile, and the sizes of the groups.
    """
    table = Sheet(f"Groups of siblings in {title}, at a similarity of at least {audit.threshold:.2f}")
    table.add_columns("class")
    table.add_columns("tiles", "groups", "with siblings", "median size", "largest", "share of largest", figures=True)
    shares = compute_largest_shares(audit.tiles)
    for label in [*shares, None]:
        sizes = sorted(Counter(ref.group for ref in audit.tiles if label in (None, ref.label_name)).values())
        table.add_row(
            label or "all",
            str(sum(sizes)),
            str(len(sizes)),
            str(sum(size > 1 for size in sizes)),
            str(sizes[len(sizes) // 2]),
            str(sizes[-1]),
            f"{100 * (shares[label] if label else sizes[-1] / sum(sizes)):.1f} %",
        )
    return table


def warn_of_giant_groups(audit: Audit) -> Iterator[str]:
    """Yield warnings of groups so large that they may be several, chained together by tiles that look alike."""
    tiles = Counter(ref.label_name for ref in audit.tiles)
    sizes = Counter((ref.label_name, ref.group) for ref in audit.tiles)
    for (label, group), size in sorted(sizes.items(), key=lambda item: (-item[1], str(item[0]))):
        if size >= LEAST_GIANT and size > GIANT * tiles[label]:
            yield (
                f"Group {group} holds {size} of {tiles[label]} tiles of {label}, more than {100 * GIANT:.0f} %: look "
                "at its tiles before you split by these groups."
            )


def _warn_of_dark_images(audit: Audit) -> Iterator[str]:
    if audit.dark:
        yield describe_dark(len(audit.dark), max(audit.dark))


def tabulate_agreement(agreement: Agreement) -> Sheet:
    """Return a table of the agreement between the detected groups and the known ones."""
    table = Sheet(f"Agreement with the known groups of {agreement.tiles} tiles")
    table.add_columns("measure")
    table.add_columns("value", figures=True)
    leak = agreement.remaining_leak
    for measure, value in (
        ("adjusted Rand index", f"{agreement.adjusted_rand_index:.4f}"),
        ("pairwise precision", f"{100 * agreement.precision:.1f} %"),
        ("pairwise recall", f"{100 * agreement.recall:.1f} %"),
        ("test tiles with a known sibling in training,\nsplit by detected group", _format_percent(leak)),
    ):
        table.add_row(measure, value)
    return table


def tabulate_pairs(audit: Audit, title: str, pairs: Sequence[Pair]) -> Sheet:
    """Return a table of pairs of tiles, with their names and their sides of the random split."""
    table = Sheet(title)
    table.add_columns("similarity", figures=True)
    table.add_columns("tile", "side", "similar tile", "side")
    for first, second, similarity in pairs:
        ends = [cell for ref in (first, second) for cell in (ref.path, audit.sides[ref.path])]
        table.add_row(f"{similarity:.3f}", *ends)
    return table


def _crosses_cases(audit: Audit, pair: Pair) -> bool:
    cases = {audit.cases.get(ref.path) for ref in (pair.first, pair.second)}
    return None not in cases and len(cases) > 1


def _format_percent(share: float | None) -> str:
    return "cannot be split" if share is None else f"{100 * share:.2f} %"
