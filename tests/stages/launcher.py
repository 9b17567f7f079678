"""A process that starts drivers fast: it has imported a run's modules, and forks for every experiment file.

Each line of its input is a JSON list of an experiment file and the path of its output. It answers with the process id.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import raypipe.stages.pipeline  # noqa: F401  the module that the command `raypipe run` imports
from raypipe.cli.app import main


def drive(experiment: str, log: str) -> int:
    """Run `raypipe run` in a session of its own, and return its exit status."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with Path(log).open("wb") as output, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.argv = ["raypipe", "run", experiment]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # noqa: BLE001  as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def serve() -> None:
    """Start drivers until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that end leave no zombie
    print("ready", flush=True)
    for line in sys.stdin:
        experiment, log = json.loads(line)
        if driver := os.fork():
            print(driver, flush=True)
            continue
        status = drive(experiment, log)
        sys.stdout.flush()
        Path(f"{log}.exit").write_text(str(status))
        os._exit(status)


if __name__ == "__main__":
    serve()
