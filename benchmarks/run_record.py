"""The record and the figure of a measured run: ``python -m benchmarks.run_record RUN --storage STORE --out FILE.json``.

The record has the accuracy of each model with its interval, clean, static and in the worst case within each radius, the
quartiles of the smallest L2 perturbation, the cost of each training, the sanity checks, and the experiment itself. The
figure, beside the record as SVG, shows clean against robust accuracy at the largest radius with ``--eps`` or below.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl
import yaml
from matplotlib.figure import Figure

import raypipe
from raypipe.report.results import Results

PROTOCOLS = ("clean", "clean on attacked tiles", "static", "worst case")


def main() -> None:
    """Write the record and the figure of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--storage", required=True)
    parser.add_argument("--eps", type=float, default=4 / 255, help="linf radius of the figure, with pixels in [0, 1]")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    results = raypipe.load(options.run, options.storage)
    record = {
        "models": {subject: describe(results, subject) for subject in results.book.subjects},
        "experiment": yaml.safe_load((Path(results.location) / "experiment.yaml").read_text()),
    }
    for private in ("storage", "resources"):
        record["experiment"].pop(private, None)
    for place in ("path", "groups"):
        record["experiment"]["data"].pop(place, None)
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    mpl.rcParams.update({"svg.hashsalt": "raypipe", "svg.fonttype": "none"})
    draw(record["models"], options.eps).savefig(options.out.with_suffix(".svg"), metadata={"Date": None})


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
    }


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
