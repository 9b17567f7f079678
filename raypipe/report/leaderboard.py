"""The models of all runs of a store: a table for each data set, set of tiles, threat model and set of attacks."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from raypipe.evaluation.checks.rules import Check, Verdict
from raypipe.evaluation.checks.rules import reach_verdict as verdict_of
from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.results.outcomes import CLEAN_ATTACKED, WORST_CASE
from raypipe.evaluation.results.result import is_current
from raypipe.evaluation.results.run import GIVEN, RUN_FILE, Run, read_run
from raypipe.evaluation.results.schemas import CHECKS, RESULTS
from raypipe.evaluation.results.strength import attack_strength
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import HARDENED, UNDEFENDED
from raypipe.report.layout import Row, describe_threat, format_interval, format_verdict
from raypipe.report.ranking import RULE, find_winner, may_be_best, overlap
from raypipe.report.robustness import choose_static, find_strongest
from raypipe.report.scope import count_tiles
from raypipe.report.sheet import Cell, Note, Sheet
from raypipe.storage.store import Store

RECORDS = [
    "subject", "model", "split", "defense", "hardened_on", "protocol", "role", "attack", "norm", "eps", "tiles",
    "groups", "stamps", "accuracy", "accuracy_low", "accuracy_high", "chance", "tiles_key",
]  # fmt: skip
READERS = 16
"""Number of runs that are read at once, because an object store takes a while to answer for each of them."""


class Key(NamedTuple):
    """The conditions that models must share to be ranked.

    Parameters
    ----------
    data, split
        Name of the data set's kind, and split of the data set.
    tiles
        Key of the artifact of the clean test tiles, and numbers of attacked tiles and groups.
    threat
        Bound of the worst case.
    strength
        Digest of all attacks and their settings, from `raypipe.evaluation.results.strength.attack_strength`.
    """

    data: str
    split: str
    tiles: tuple[str, str]
    threat: str
    strength: str


class Standing(NamedTuple):
    """A model under a threat model: its worst case, and the records that are shown next to it."""

    run: str
    worst: Row
    clean: Row
    clean_attacked: Row
    static: Row | None
    white_box: Row | None
    verdict: Verdict | None

    @property
    def ranked(self) -> bool:
        """True if the model may be called best."""
        return may_be_best(self.worst, self.verdict)


def rank_models(store: Store) -> tuple[list[Sheet], list[Note]]:
    """Rank the models of a store. Each ranking has only models tested on the same tiles by the same attacks.

    Unfinished runs are left out. The notes name the runs of an older raypipe whose figures cannot be recomputed,
    because some of their artifacts no longer exist.
    """
    boards: dict[Key, list[Standing]] = {}
    left_out = []
    with ThreadPoolExecutor(READERS) as readers:
        for found in readers.map(lambda run: _read(run, store), store.list_directories("runs")):
            if isinstance(found, Note):
                left_out.append(found)
                continue
            for key, standing in found:
                boards.setdefault(key, []).append(standing)
    return [_tabulate(key, boards[key]) for key in sorted(boards)], left_out


def _read(name: str, store: Store) -> list[tuple[Key, Standing]] | Note:
    """Return the models of a run under each threat model.

    The list is empty while the run is unfinished. A note gives the reason if the run is left out.
    """
    if not {RUN_FILE, "records.parquet", "checks.parquet"} <= set(store.list_files(f"runs/{name}")):
        return []
    run = read_run(store, name)
    if not is_current(store, name):
        from raypipe.evaluation.results.compute import compute_result  # noqa: PLC0415  it imports PyTorch: seconds

        try:
            compute_result(store, run)
        except FileNotFoundError as error:
            return Note(f"{name} is left out: an older raypipe computed it, and {error}", "bad")
    records = store.read_table(f"runs/{name}/records.parquet", RECORDS, RESULTS).to_pylist()
    checks = store.read_table(f"runs/{name}/checks.parquet", ["subject", "check", "verdict"], CHECKS).to_pylist()
    by_subject: dict[str, list[Row]] = {}
    for row in records:
        by_subject.setdefault(row["subject"], []).append(row)
    return [
        found
        for subject, rows in by_subject.items()
        for found in _list_standings(run, rows, [check for check in checks if check["subject"] == subject])
    ]


def _list_standings(run: Run, rows: Sequence[Row], checks: Sequence[dict[str, Any]]) -> Iterator[tuple[Key, Standing]]:
    by_protocol = {row["protocol"]: row for row in rows if row["protocol"] in ("clean", CLEAN_ATTACKED)}
    clean, attacked = by_protocol["clean"], by_protocol.get(CLEAN_ATTACKED)
    if attacked is None:
        return
    verdict = None
    if checks:
        verdict = verdict_of([Check(check["check"], check["verdict"], "", "", "") for check in checks])
    worst = [row for row in rows if row["protocol"] == WORST_CASE]
    balls = [row for row in worst if row["eps"] is not None]
    strength = attack_strength(clean["subject"], run)
    for row in balls or worst:
        key = Key(
            run.data or "given tiles",
            clean["split"],
            (clean["tiles_key"], count_tiles(attacked)),
            describe_threat(row),
            strength,
        )
        on_itself = [row for row in rows if row["protocol"] in ITSELF and row["role"] in ("grid", "evaluation")]
        static, white_box = (find_strongest(each, clean["hardened_on"]) for each in (choose_static(rows), on_itself))
        yield key, Standing(run.name, row, clean, attacked, static, white_box, verdict)


def _tabulate(key: Key, standings: Sequence[Standing]) -> Sheet:
    tiles, attacked = key.tiles
    split = "" if key.split == GIVEN else f", {key.split} split"
    table = Sheet(
        f"{key.data}{split}, worst case {key.threat}. Accuracy and its 95 % interval, in %; attacked: "
        f"{attacked}; tiles {tiles[:8]}, attacks {key.strength}"
    )
    table.add_columns("model", "place", "run")
    static = ["static\n(paper)"] if any(each.static for each in standings) else []  # given models have none
    headings = [f"worst case\n{key.threat}", "white-box", *static, "clean,\nattacked\ntiles", "clean,\ntest set"]
    table.add_columns(*headings, figures=True)
    table.add_columns("checks", "stamps")
    ranked = sorted(standings, key=lambda each: (each.ranked, each.worst["accuracy"]), reverse=True)
    rivals = [each.worst for each in ranked if each.ranked]
    winner = find_winner(rivals)
    for each in ranked:
        row = each.clean
        unhardened = "given model" if row["split"] == GIVEN else UNDEFENDED
        hardening = ", ".join(filter(None, (row["defense"], row["hardened_on"]))) or unhardened
        kind = UNDEFENDED if row["defense"] is None else HARDENED
        stamps = ", ".join(stamp.partition(":")[0] for stamp in row["stamps"])
        figures = (each.worst, each.white_box, *([each.static] if static else []), each.clean_attacked, row)
        table.add_row(
            Cell(row["model"], below=hardening, kind=kind),
            _place(each, rivals, winner),
            Cell(each.run, href=f"runs/{each.run}/report.html"),
            *map(format_interval, figures),
            format_verdict(each.verdict.failed if each.verdict else None),
            Cell(stamps, tone="bad"),
        )
    table.caption = f"{RULE} Equal attack digests mean equal attacks with equal settings. {METHOD}"
    return table


def _place(standing: Standing, rivals: Sequence[Row], winner: Row | None) -> Cell:
    """Return a cell that says if a model is best, is tied with the highest one, or cannot be ranked."""
    if not standing.ranked:
        return Cell("not ranked", tone="dim")
    if standing.worst is winner:
        return Cell("best" if len(rivals) > 1 else "only one ranked", tone="good")
    return Cell("tied" if winner is None and overlap(standing.worst, rivals[0]) else "")
