"""The record and the figure of a measured run: ``python -m benchmarks.run_record RUN --storage STORE --out FILE.json``.

The record has the accuracy of each model with its interval, clean, static and in the worst case within each radius, and
under each threat that was measured. It also has the quartiles of the smallest L2 perturbation, the cost of each
training, the sanity checks, and the experiment itself. The figure, beside the record as SVG, shows clean against robust
accuracy at the largest radius with ``--eps`` or below.

With ``--add``, the record keeps the models that it has, and the run's are added: its models may be measured one by one.
The settings that both experiments have must then be equal, apart from their names and models.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import matplotlib as mpl
import yaml
from matplotlib.figure import Figure

import raypipe
from raypipe.evaluation.results.schemas import SUBJECT
from raypipe.report.results import Results

PROTOCOLS = ("clean", "clean on attacked tiles", "static", "worst case")
THREATS = ("overview", "corruptions", "external", "universal", "queries")
"""Tables of results that have threats besides attacks with gradients, and all threats side by side."""


def main() -> None:
    """Write the record and the figure of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--storage", required=True)
    parser.add_argument("--eps", type=float, default=4 / 255, help="linf radius of the figure, with pixels in [0, 1]")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--add", action="store_true", help="keep the other models of the record")
    options = parser.parse_args()
    results = raypipe.load(options.run, options.storage)
    record = {
        "models": {subject: describe(results, subject) for subject in results.book.subjects},
        "experiment": drop_places(yaml.safe_load((Path(results.location) / "experiment.yaml").read_text())),
    }
    if options.add:
        record = add(record, json.loads(options.out.read_text()))
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    mpl.rcParams.update({"svg.hashsalt": "raypipe", "svg.fonttype": "none"})
    draw(record["models"], options.eps).savefig(options.out.with_suffix(".svg"), metadata={"Date": None})


def drop_places(experiment: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment's settings without its storage, its resources and the places of its data sets' files."""
    for name in ("storage", "resources"):
        experiment.pop(name, None)
    external = experiment["evaluation"].get("external") or {}
    own = experiment.get("data", {})  # the evaluation of one model has none
    for data in (own, *(each["data"] for each in external.values())):
        for place in ("path", "groups", "images"):
            data.pop(place, None)
    return experiment


def add(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the models of two.

    Raises
    ------
    SystemExit
        If a setting that both experiments have differs.
    """
    own = {"name", "models"}
    if differing := sorted(find_differences(old["experiment"], new["experiment"], own)):
        raise SystemExit(f"the runs cannot share a record, because their settings differ: {', '.join(differing)}")
    models = {**old["experiment"]["models"], **new["experiment"]["models"]}
    return {"models": {**old["models"], **new["models"]}, "experiment": {**old["experiment"], "models": models}}


def find_differences(one: dict[str, Any], two: dict[str, Any], own: Set[str] = frozenset()) -> Iterator[str]:
    """Yield the paths of the settings that two experiments have with different values, without the names in `own`."""
    for name in (one.keys() & two.keys()) - own:
        if isinstance(one[name], dict) and isinstance(two[name], dict):
            yield from (f"{name}.{inner}" for inner in find_differences(one[name], two[name]))
        elif one[name] != two[name]:
            yield name


def describe(results: Results, subject: str) -> dict[str, Any]:
    """Return the figures of a model."""
    rows = [row for row in results.records.to_pylist() if row["subject"] == subject and row["protocol"] in PROTOCOLS]
    accuracies = [
        {
            "protocol": row["protocol"],
            **({"attack": row["attack"]} if row["protocol"] == "static" else {}),
            **({"norm": row["norm"], "eps": row["eps"]} if row["protocol"] == "worst case" else {}),
            **{name: row[name] for name in ("tiles", "groups", "accuracy", "accuracy_low", "accuracy_high")},
        }
        for row in rows
    ]
    smallest = {
        row["attack"]: row["quartiles"]
        for row in results.curves.to_pylist()
        if row["subject"] == subject and row["norm"] == "l2" and row["quartiles"]
    }
    training = next(row for row in results.trainings.to_pylist() if row["subject"] == subject)
    checks = Counter(row["verdict"] for row in results.checks.to_pylist() if row["subject"] == subject)
    return {
        "accuracies": accuracies,
        "smallest l2": smallest,
        "training": {name: training[name] for name in ("kind", "forwards", "backwards", "seconds", "device")},
        "checks": dict(checks),
        **{name: rows for name in THREATS if (rows := list(describe_threats(results, subject, name)))},
    }


def describe_threats(results: Results, subject: str, table: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a model in one of the tables `THREATS`, without the columns that identify the model."""
    about_the_model = {name for name, _ in SUBJECT}
    for row in getattr(results, table).to_pylist():
        if row["subject"] == subject:
            yield {name: value for name, value in row.items() if name not in about_the_model and value is not None}


def draw(models: dict[str, Any], eps: float) -> Figure:
    """Draw clean against robust accuracy, one point for each model, with intervals in both directions."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for subject, facts in models.items():
        clean = next(row for row in facts["accuracies"] if row["protocol"] == "clean on attacked tiles")
        within = [
            row
            for row in facts["accuracies"]
            if row["protocol"] == "worst case" and row["norm"] == "linf" and row["eps"] <= 1.001 * eps
        ]
        robust = max(within, key=lambda row: row["eps"])
        axes.errorbar(
            100 * clean["accuracy"],
            100 * robust["accuracy"],
            xerr=spread(clean),
            yerr=spread(robust),
            fmt="o",
            capsize=2,
            label=subject,
        )
    axes.set_xlabel("accuracy on unchanged tiles, %")
    axes.set_ylabel(f"accuracy in the worst case within linf {255 * eps:g}/255, %")
    axes.set_ylim(-3, 100)
    figure.legend(loc="outside lower center", fontsize="x-small", ncols=2)
    return figure


def spread(row: dict[str, Any]) -> list[list[float]]:
    """Return the distances from an accuracy to the ends of its interval, in percentage points."""
    return [
        [100 * (row["accuracy"] - row["accuracy_low"])],
        [100 * (row["accuracy_high"] - row["accuracy"])],
    ]


if __name__ == "__main__":
    main()
