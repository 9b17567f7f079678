"""An estimate of jobs/paper.yaml on a cluster, from its plan, measured passes and stated assumptions.

`python -m benchmarks.paper_estimate` prints the table of docs/cluster.md. None of its figures was measured on a GPU.
"""

import argparse
import json
import math
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raypipe.experiment.load import load_experiment
from raypipe.plan.cells import Cell, IngestSpec
from raypipe.plan.graph import Plan, make_plan

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "benchmarks" / "results" / "attacks-64.json"
LABELS = ("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc")
TRAIN, TEST = 17_500, 7_500


@dataclass(frozen=True)
class Assumptions:
    """The assumed figures, which were not measured.

    Parameters
    ----------
    forwards_a_second
        Forward passes per second of one GPU at 255 pixels, for each of the three backbones. A backward pass takes as
        long as two forward passes.
    queries_a_second
        Queries per second of `boundary`, whose noise the toolbox draws on the CPU.
    withstand
        Share of the tiles attacked at a radius that AutoAttack's first attack does not fool. The other attacks get
        these tiles, and the next radius gets all of them.
    saliency_steps
        Steps of `saliency_map` at 255 pixels over all its attempts, each a forward and a backward pass.
    efficiency
        Efficiency of several workers, in [0, 1]; the rest is waiting, reading and writing.
    boot_hours
        Hours until a stage's nodes work.
    gpus, training_gpus
        Number of spot GPUs for attacks, and number of on-demand GPUs for training.
    spot_price, price, head_price
        US dollars per hour of a spot node and of an on-demand node with one GPU, and of the head.
    """

    forwards_a_second: float = 1_500
    queries_a_second: float = 250
    withstand: float = 0.5
    saliency_steps: int = 300
    efficiency: float = 0.85
    boot_hours: float = 0.2
    gpus: int = 8
    training_gpus: int = 4
    spot_price: float = 0.70
    price: float = 1.52
    head_price: float = 0.46


@dataclass(frozen=True)
class Row:
    """The forecast of a stage: its GPU hours, its elapsed hours, and its dollars."""

    stage: str
    cells: int
    gpu_hours: float
    hours: float
    dollars: float


def paper_plan() -> Plan:
    """Return the plan of the paper's experiment, which does not depend on the tiles themselves."""
    experiment = load_experiment(ROOT / "jobs" / "paper.yaml")
    tiles = experiment.tiles
    spec = IngestSpec(
        fingerprint="",
        labels=LABELS,
        size=tiles.size,
        split="paper",
        assignment="",
        shard_size=tiles.shard_size,
        seed=0,
        scaled_decoding=tiles.scaled_decoding,
    )
    return make_plan(experiment, [spec])


def passes(
    attack: dict[str, Any], radii: int, measured: list[dict[str, Any]], assume: Assumptions
) -> tuple[float, float]:
    """Return forward and backward passes per tile of an attack; unmeasured ones are computed as if nothing ended early.

    `radii` is the number of radii of the attack. At each one it attacks the tiles that were not fooled at the radius
    before.
    """
    rows = [row for row in measured if row["settings"] == attack]
    if most := max((row["tiles"] for row in rows), default=0):
        rows = [row for row in rows if row["tiles"] == most]  # one row per backbone
        return sum(row["forwards"] for row in rows) / len(rows), sum(row["backwards"] for row in rows) / len(rows)
    match attack["name"]:
        case "saliency_map":
            return assume.saliency_steps, assume.saliency_steps
        case "apgd":
            steps = attack["restarts"] * attack["max_iterations"]
            return steps + 1, steps
        case "fgsm" | "square":
            return (2, 1) if attack["name"] == "fgsm" else (attack["max_queries"], 0)
        case "autoattack":
            steps = attack["max_iterations"]
            targeted = steps * min(attack["targets"], len(LABELS) - 1)  # once in apgd, and once in fab
            rest = assume.withstand * 2 * targeted
            attacked = sum(assume.withstand**before for before in range(radii))
            forwards = steps + rest + assume.withstand * attack["max_queries"]
            return attacked * forwards, attacked * (steps + rest)
        case "HopSkipJump":
            chosen = attack["parameters"]
            return sum(min(chosen["max_eval"], 100 * math.sqrt(i)) for i in range(1, chosen["max_iter"] + 1)), 0
    raise ValueError(f"no passes are known of {attack['name']}")


def seconds_of_attack(cell: Cell, measured: list[dict[str, Any]], assume: Assumptions) -> float:
    """Return the GPU seconds of an attack's cell."""
    attack = cell.spec.attack.model_dump(mode="json")
    forwards, backwards = passes(attack, len(cell.spec.radii), measured, assume)
    tiles = cell.spec.tiles or (TRAIN if cell.spec.split == "train" else TEST)
    pace = assume.queries_a_second if attack["name"] == "HopSkipJump" else assume.forwards_a_second
    return tiles * (forwards + 2 * backwards) / pace


def estimate(assume: Assumptions, *, without: tuple[str, ...] = ()) -> list[Row]:
    """Return a row for each stage; `without` leaves out attacks by name."""
    plan, measured = (
        paper_plan(),
        [row for row in json.loads(MEASURED.read_text())["rows"] if row["library"] == "raypipe"],
    )
    seconds: dict[str, float] = defaultdict(float)
    cells: dict[str, int] = defaultdict(int)

    def add(stage: str, amount: float) -> None:
        seconds[stage] += amount
        cells[stage] += 1

    for cell in plan.stage("train"):
        add("train", cell.spec.recipe.epochs * TRAIN * 3 / assume.forwards_a_second)
    for cell in plan.stage("harden"):
        add(
            "harden", cell.spec.defense.epochs * 2 * TRAIN * 3 / assume.forwards_a_second
        )  # the most possible clean and perturbed tiles
    for cell in plan.stage("attack"):
        if cell.spec.attack.name not in without:
            stage = "attack" if cell.inputs["model"].stage == "train" else "attack hardened"
            add(stage, seconds_of_attack(cell, measured, assume))
    for cell in plan.stage("evaluate"):
        source = cell.inputs["tiles"]
        if source.stage == "ingest" or source.spec.attack.name not in without:
            add("evaluate", (TEST if source.stage == "ingest" else source.spec.tiles) / assume.forwards_a_second)
    order = ("train", "attack", "harden", "attack hardened", "evaluate")
    return [_row(stage, cells[stage], seconds[stage] / 3600, assume) for stage in order]


def _row(stage: str, cells: int, gpu_hours: float, assume: Assumptions) -> Row:
    trains = stage in ("train", "harden")
    gpus, price = (assume.training_gpus, assume.price) if trains else (assume.gpus, assume.spot_price)
    hours = gpu_hours / gpus / assume.efficiency + assume.boot_hours
    return Row(stage, cells, gpu_hours, hours, hours * (gpus * price + assume.head_price))


def main() -> None:
    """Print the table, with and without the most expensive attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in Assumptions.__dataclass_fields__:
        default = getattr(Assumptions(), name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, help=f"default: {default}"
        )
    assume = replace(Assumptions(), **vars(parser.parse_args()))
    print("| stage | cells | GPU hours | hours | US dollars |")
    print("| --- | --- | --- | --- | --- |")
    for row in (rows := estimate(assume)):
        print(f"| {row.stage} | {row.cells} | {row.gpu_hours:.1f} | {row.hours:.1f} | {row.dollars:.0f} |")
    for name, those in {"all": rows, "all without `boundary`": estimate(assume, without=("HopSkipJump",))}.items():
        sums = [sum(getattr(row, field) for row in those) for field in ("cells", "gpu_hours", "hours", "dollars")]
        print("| {} | {} | {:.0f} | {:.0f} | {:.0f} |".format(f"**{name}**", *sums))


if __name__ == "__main__":
    main()
