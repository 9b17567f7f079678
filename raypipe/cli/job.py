"""The command line of a Ray job, `jobs/run.py`."""

from pathlib import Path

import typer

from raypipe.cli.detail import detail, with_detail
from raypipe.cli.errors import tell_errors
from raypipe.cli.options import ExperimentFile, Overrides, Storage
from raypipe.cli.signals import stop_signals
from raypipe.cli.terminal import output


def run(file: ExperimentFile, overrides: Overrides = [], storage: Storage = None) -> None:
    """Run an experiment on the cluster that the job was submitted to."""
    console = output()
    with stop_signals(console):
        from raypipe.experiment.load import load_experiment
        from raypipe.stages.pipeline import run_experiment  # only this needs Ray

        experiment = load_experiment(file, overrides)
        location = storage or experiment.storage
        if "://" not in location:
            location = str(Path.home() / "raypipe" / location)  # an absolute location stays unchanged
        located = experiment.model_copy(update={"storage": location})
        run_experiment(located, console=console, detail=detail())


def main() -> None:
    """Run the job that the command line names."""
    with tell_errors():
        typer.run(with_detail(run))
