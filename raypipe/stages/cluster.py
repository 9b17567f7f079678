"""Connections to Ray with its messages kept in a log file, and questions about the cluster's resources."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import torch

from raypipe.base.errors import StageError
from raypipe.execution.machine.places import LONGEST_TEMPORARY, find_temporary
from raypipe.stages.authentication import explain_token_error, require_token
from raypipe.storage.environment import Environment, describe_environment

# Ray reads these variables when a worker imports it or when it starts. A user's own value has priority.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}
ALONE = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
"""Setting of a local Ray. It saves one process per training: no provider preempts this machine with a notice."""
CONNECT_SECONDS = 10.0
WARM_WORKERS = 4
"""Idle worker processes per CPU that a local Ray keeps between stages. Ray's default is one, and then the next stage's
workers would have to import everything again."""
_LOGGERS = ("ray", "ray.data", "ray.train", "ray.tune", "ray.air", "ray._private")


@contextmanager
def connect(address: str | None, log_file: Path) -> Iterator[None]:
    """Stay connected to a Ray cluster while the block runs.

    Parameters
    ----------
    address
        Address of a running cluster (``auto``, ``127.0.0.1:6379``, ``ray://...``). None means the address in
        ``RAY_ADDRESS``, as inside a submitted job. Without that variable, a local cluster starts on loopback and ends
        with the block.
    log_file
        File for Ray's log messages.

    Raises
    ------
    raypipe.base.errors.StageError
        If there is no such cluster, if it refuses this process's token, or if this process is connected to another
        cluster.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        _require_connected_to(address)
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    with _redirect_chatter(log_file), _redirect_native_chatter(log_file):
        try:
            with _keep_signal_handlers():
                if address:
                    _check_reachable(address)
                    require_token(address, CONNECT_SECONDS)
                    ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
                else:
                    _start_local()
        except (OSError, UnicodeError) as error:  # Ray does not encode paths that are not ASCII
            if not address:
                raise StageError(explain_local_failure(error)) from error
            raise StageError(
                f"no Ray cluster at {address!r}: {error}; start one with `ray start --head`, whose port is 6379, or "
                "leave the address out to run locally"
            ) from error
        except ray.exceptions.AuthenticationError as error:
            raise StageError(explain_token_error(error)) from error
        try:
            yield
        finally:
            ray.shutdown()


def _start_local() -> None:
    """Start a cluster on this machine in two attempts: Ray waits 30 s for a node, which a busy machine may exceed."""
    for name, value in ALONE.items():
        os.environ.setdefault(name, value)
    for attempts_left in reversed(range(2)):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.WARNING,
                _node_ip_address="127.0.0.1",
                _system_config={"num_workers_soft_limit": WARM_WORKERS * (os.cpu_count() or 1)},
            )
        except Exception as error:
            ray.shutdown()
            if "timed out during startup" not in str(error):
                raise
            if not attempts_left:
                raise StageError(
                    f"Ray did not start on this machine in two attempts of 30 s: {error}; stop other work on it"
                ) from error
        else:
            return


def explain_local_failure(error: OSError | UnicodeError) -> str:
    """Return why Ray did not start on this machine, and what to set: its sockets have short paths below TMPDIR."""
    (place, variable), home = find_temporary(), Path.home()
    failed = f"Ray cannot start on this machine: {error}"
    if (
        isinstance(error, UnicodeError)
        or "AF_UNIX" in str(error)
        or "path length" in str(error)
        or len(place) > LONGEST_TEMPORARY
    ):
        short = f"a path of at most {LONGEST_TEMPORARY} ASCII characters: /tmp"
        return f"{failed}; set {variable}, which is {place} now, to {short}"
    if str(home) in str(error) or not os.access(home, os.W_OK):
        return f"{failed}; set HOME, which is {home} now, to a folder that can be written: Ray keeps its token there"
    return (
        f"{failed}; set {variable}, which is {place} now, and HOME, which is {home} now, to folders that can be written"
    )


def _require_connected_to(address: str | None) -> None:
    """Raise an error if a process that is already connected is asked for another cluster."""
    here = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", "local", here):
        raise StageError(
            f"this process is connected to the Ray cluster at {here} already, not to {address}; call ray.shutdown() "
            "first, or leave the address out"
        )


@contextmanager
def _keep_signal_handlers() -> Iterator[None]:
    """Keep the caller's SIGTERM handler: `ray.init` replaces it with one that ends the process without a message."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check_reachable(address: str) -> None:
    """Raise an error at once if nothing listens there: Ray itself tries for minutes and then ends the process."""
    if address.startswith(("http://", "https://")):
        raise StageError(
            f"{address} is the address of a Ray dashboard, which takes jobs: submit this run with `ray job submit`, or "
            "give the head's own address, host:6379"
        )
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


@contextmanager
def _redirect_chatter(log_file: Path) -> Iterator[None]:
    log_file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log_file, delay=True)
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = {}
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        before[name] = (list(logger.handlers), logger.propagate)
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for name, (handlers, propagate) in before.items():
            logging.getLogger(name).handlers, logging.getLogger(name).propagate = handlers, propagate
        handler.close()


@contextmanager
def _redirect_native_chatter(log_file: Path) -> Iterator[None]:
    """Redirect the file descriptor of standard error: Ray's C++ code writes to it and bypasses Python."""
    sys.stderr.flush()
    standard_error = os.dup(2)
    with log_file.open("ab") as log:
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(standard_error, 2)
        os.close(standard_error)


def inspect_environment() -> Environment:
    """Return the environment in which this process and the connected cluster compute."""
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return describe_environment(len(nodes), ray.cluster_resources())  # type: ignore[no-untyped-call]


def get_own_device(gpu: bool) -> torch.device:
    """Return the device of the calling process.

    Parameters
    ----------
    gpu
        True if Ray has given it a GPU. Ray does not hide the machine's GPUs from processes that have none.

    Raises
    ------
    StageError
        If PyTorch cannot use the GPU.
    """
    if not gpu:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise StageError(
            f"resources.gpu is true, but PyTorch {torch.__version__} cannot use a GPU on {socket.gethostname()}; "
            "install a CUDA build and a driver there, or set resources.gpu: false"
        )
    return torch.device("cuda")
