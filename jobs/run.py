"""The entry point of a Ray job: `ray job submit --working-dir . -- python jobs/run.py jobs/demo.yaml`.

A job's working directory is a copy that Ray deletes. A relative storage therefore means a folder below ~/raypipe on the
machine that runs the job. On several machines give a storage that all of them reach: `--storage s3://bucket/raypipe`,
or a shared mount.
"""

from pathlib import Path

import typer

from raypipe.cli.errors import tell_errors
from raypipe.cli.options import Overrides, Storage
from raypipe.cli.signals import stop_signals
from raypipe.cli.terminal import output
from raypipe.experiment.load import load_experiment
from raypipe.stages.pipeline import run_experiment


def run(file: Path, overrides: Overrides = [], storage: Storage = None) -> None:  # noqa: B006  typer requires a list
    """Run an experiment on the cluster that the job was submitted to."""
    experiment = load_experiment(file, overrides)
    location = storage or experiment.storage
    if "://" not in location:
        location = str(Path.home() / "raypipe" / location)  # an absolute location stays unchanged
    console = output()
    with stop_signals(console):
        run_experiment(experiment.model_copy(update={"storage": location}), console=console)


if __name__ == "__main__":
    with tell_errors():
        typer.run(run)
