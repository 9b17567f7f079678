"""The overhead of a run with many cells on an object store, where each request takes 50 ms.

    python -m benchmarks.object_store --attacks 500 --out benchmarks/results/object_store.json

moto serves S3 on loopback from a process of its own, and waits before each answer. The network does nearly nothing, as
in `benchmarks.growth`. The same run on a local disk comes first; the difference is the overhead of the object store.
"""

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import boto3
from rich.console import Console

from benchmarks.growth import experiment_of
from benchmarks.pipeline.ours import machine
from raypipe.experiment.load import validate_experiment
from raypipe.progress.state import read_state
from raypipe.stages.pipeline import run_experiment
from raypipe.storage.store import Store

BUCKET, DELAY = "benchmark", 0.05
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "tester", "AWS_DEFAULT_REGION": "us-east-1"}


def serve(delay: float) -> None:
    """Serve S3 until standard input ends; print the address at the start, and the requests of each kind at the end."""
    from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415  this process alone
    from werkzeug.serving import make_server  # noqa: PLC0415

    moto, count, lock = DomainDispatcherApplication(create_backend_app), Counter[str](), threading.Lock()

    def answer(environment: dict[str, Any], start: Callable[..., Any]) -> Any:
        with lock:
            count[name_kind(environment)] += 1
        time.sleep(delay)
        return moto(environment, start)

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()
    print(json.dumps(dict(count.most_common())), flush=True)


def name_kind(request: dict[str, Any]) -> str:
    """Return the kind of a request: its method, and the file or folder that it is about, without numbers and keys."""
    name = "a listing" if "list-type" in request["QUERY_STRING"] else PurePosixPath(request["PATH_INFO"]).name
    return f"{request['REQUEST_METHOD']} {re.sub('[0-9a-f]{8,}|[0-9]+', '*', name)}"


@contextmanager
def object_store(delay: float) -> Iterator[dict[str, Any]]:
    """Run the server while the block runs. The dictionary gets the number of requests of each kind at its end."""
    command = [sys.executable, __file__, "--serve", str(delay)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path]))}
    found: dict[str, Any] = {}
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-3, text=True, env=environment) as server:
        assert server.stdout and server.stdin  # noqa: PT018  for the type checker
        os.environ |= {**CREDENTIALS, "AWS_ENDPOINT_URL": server.stdout.readline().strip()}
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield found
        server.stdin.close()
        found["requests"] = json.loads(server.stdout.readline())


def run(storage: str, attacks: int) -> dict[str, Any]:
    """Run the experiment, and return its seconds, also by stage."""
    settings = experiment_of(Path("unused"), "quick", attacks, siblings=2, shard_size=64) | {"storage": storage}
    begun = time.perf_counter()
    run_experiment(validate_experiment(settings), console=Console(file=io.StringIO()))
    seconds = time.perf_counter() - begun
    stages = {stage.name: stage.seconds for stage in read_state(Store.open(storage), "growth").stages}
    return {"seconds": seconds, "stages": stages, "besides": seconds - sum(stages.values())}


def main() -> None:
    """Run on a local disk and on the object store, and print the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", type=int, default=500, help="each adds two cells")
    parser.add_argument("--delay", type=float, default=DELAY, help="seconds before each answer")
    parser.add_argument("--out", type=Path, help="JSON record")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    with tempfile.TemporaryDirectory() as folder:
        local = run(folder, options.attacks)
    with object_store(options.delay) as found:
        remote = run(f"s3://{BUCKET}/store", options.attacks)
    record = {
        "machine": machine(),
        "attacks": options.attacks,
        "delay": options.delay,
        "local": local,
        "remote": remote,
    }
    record |= found
    print(json.dumps(record, indent=1))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
