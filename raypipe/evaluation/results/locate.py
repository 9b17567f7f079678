"""The place of a run that a user names in Python: a name, a folder, a file in it, or a store with one run."""

from pathlib import Path

from raypipe.storage.store import Store

DEFAULT_STORAGE = "results"
RUNS = "runs"


def locate_run(run: str | Path, storage: str | Path | None = None) -> tuple[Store, str]:
    """Return the store of a run, and its name.

    Parameters
    ----------
    run
        Name of a run. Without `storage` also the path or URI of its folder, of a file in it such as its report, or of a
        store with a single run.
    storage
        Store of the run: a folder or a URI; default: ``results`` for a name.

    Raises
    ------
    FileNotFoundError
        If a path leads to no run, or to a store with several; the message lists them.
    """
    text = str(run)
    if storage is not None:
        return Store.open(str(storage)), text
    default = Store.open(DEFAULT_STORAGE)
    if _is_name(run) and (text in default.list_directories(RUNS) or not Path(text).is_dir()):
        return default, text
    place = text if "://" in text else str(Path(text).expanduser().absolute())
    store = Store.open(place)
    if names := store.list_directories(RUNS):
        if len(names) > 1:
            raise FileNotFoundError(
                f"{text} is a store with {len(names)} runs: give the folder of one, such as {text}/{RUNS}/{names[0]}; "
                f"there are: {', '.join(names)}"
            )
        return store, names[0]
    above, found, below = place.rstrip("/").rpartition(f"/{RUNS}/")
    if not found:
        raise FileNotFoundError(
            f"{text} holds no run: expected the folder of a run, such as {DEFAULT_STORAGE}/{RUNS}/demo, or a store"
        )
    return Store.open(above), below.partition("/")[0]


def _is_name(run: str | Path) -> bool:
    return isinstance(run, str) and "/" not in run and run not in ("", ".", "..") and not run.startswith("~")
