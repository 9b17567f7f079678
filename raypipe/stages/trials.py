"""The configuration of trials of Ray Tune: their names, their files and their second attempt."""

from collections.abc import Sequence
from typing import Any

import ray.tune

from raypipe.storage.store import Store


def configure_trials(name: str, folder: str, store: Store, callbacks: Sequence[ray.tune.Callback] = ()) -> Any:
    """Return the configuration of a run of Ray Tune, which tries a failed trial once more.

    Parameters
    ----------
    name, folder
        Name of the run, and the folder of its files relative to the root of the store.
    store
        Store of the files.
    callbacks
        Callbacks of Ray Tune. They must be picklable.
    """
    return ray.tune.RunConfig(
        name=name,
        storage_path=store.path(folder),
        storage_filesystem=store.filesystem,
        verbose=0,
        failure_config=ray.tune.FailureConfig(max_failures=1),
        callbacks=list(callbacks),
    )
