"""Experiments on several machines and an object store, which lose every part in turn while they run.

Every one ends like the undisturbed run, and no finished work is computed twice: the bucket keeps all versions of an
object, and there is one version of each. `pytest --junitxml FILE` records how long recoveries took.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow.fs import FileSelector, LocalFileSystem

from raypipe.progress.state import read_state
from raypipe.storage.errors import StoreError
from raypipe.storage.store import Store
from tests.stages.machines import Driver, Files, Machines, several_machines, wait_until
from tests.stages.object_store import BUCKET, SECRET, ObjectStore, object_store

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.full,
    pytest.mark.xdist_group("faults"),
    pytest.mark.timeout(1800),
]
OUTAGE_SECONDS = 60
KINDS = ("tiles", "model", "adversarials", "diagnostics", "predictions")
DEFENSE = "adversarial_training"
SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "data": {"source": "synthetic", "sources_per_class": 3, "siblings": 1, "size": 32},
    "tiles": {"size": 32, "shard_size": 2},
    "models": ["convnet"],
    "train": {"epochs": 8, "batch_size": 4},
    "attacks": {"pgd": {"norm": "l2", "eps": 0.01, "max_iterations": 400}},
    "defenses": {DEFENSE: {"epochs": 20}},
    "evaluation": {
        "tiles": 2,
        "curves": {},
        "autoattack": {"max_iterations": 1, "max_queries": 2},
        "replicates": 100,
        "bounded": {"name": "pgd", "max_iterations": 1},
        "checks": {"planted_tiles": 15, "max_queries": 2},
    },
    "resources": {
        "train_workers": 2, "harden_workers": 0, "attack_actors": 3, "attack_batch": 8,
    },
}  # fmt: skip
Note = Callable[[str, object], None]


@pytest.fixture(scope="module")
def bucket() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


@pytest.fixture(scope="module")
def machines(bucket: ObjectStore) -> Iterator[Machines]:
    with several_machines() as cluster:
        yield cluster


@dataclass(frozen=True)
class Job:
    """A run on a store of its own in the bucket."""

    machines: Machines
    bucket: ObjectStore
    name: str

    @property
    def files(self) -> Files:
        return Files(Store.open(f"s3://{BUCKET}/{self.name}"))

    def start(self, **changes: Any) -> Driver:
        return self.machines.start({**SETTINGS, "storage": f"s3://{BUCKET}/{self.name}", **changes}, self.name)

    def written(self, kind: str = "") -> dict[str, int]:
        """Return how often each file of an artifact was written."""
        return dict(self.bucket.versions(f"{self.name}/artifacts/{kind}"))

    def shards(self, kind: str = "adversarials") -> list[str]:
        """Return the Parquet files of all artifacts of a kind."""
        return [path for path in self.written(kind) if "/part-" in path and "/rejected/" not in path]


@dataclass(frozen=True)
class Undisturbed:
    job: Job
    output: str

    @property
    def store(self) -> Store:
        return self.job.files.store

    def artifacts(self, of_hardened: bool = True) -> list[tuple[str, dict[str, Any]]]:
        """Return the artifacts before a disturbed attack: all but the grid's adversarial tiles and their predictions.

        Without those of the hardened model, more of the run remains.
        """
        left = [*("/pgd/train$", "/pgd/test$"), *(() if of_hardened else (f"/{DEFENSE}/", f"/{DEFENSE} "))]
        found = [(kind, manifest) for kind in KINDS for manifest in self.job.files.manifests(kind)]
        return [
            (kind, manifest) for kind, manifest in found if not any(name in manifest["name"] + "$" for name in left)
        ]

    @cached_property
    def adversarials(self) -> list[str]:
        """The shards of adversarial tiles."""
        return self.job.files.of("adversarials")

    @cached_property
    def results(self) -> dict[str, pa.Table]:
        """The tables that a disturbed run must equal, read once: shards of adversarial tiles, and figures."""
        figures = [f"runs/tiny/{table}.parquet" for table in ("records", "curves", "costs", "checks")]
        return {path: timeless(self.store.read_table(path)) for path in (*figures, *self.adversarials)}


@pytest.fixture(scope="module")
def undisturbed(bucket: ObjectStore, machines: Machines) -> Undisturbed:
    """Run the whole experiment on two nodes that share only the bucket."""
    job = Job(machines, bucket, "undisturbed")
    return Undisturbed(job, job.start().finish())


@pytest.fixture
def attacking(undisturbed: Undisturbed, bucket: ObjectStore, machines: Machines, request: Any) -> Job:
    """Return a run on another store that already holds everything before the grid's attacks."""
    return prepared(Job(machines, bucket, request.node.name), undisturbed.artifacts())


@pytest.fixture
def attacking_longer(undisturbed: Undisturbed, bucket: ObjectStore, machines: Machines, request: Any) -> Job:
    """Return a run that also has to examine the hardened model, so that a node can join in time on a fast machine."""
    return prepared(Job(machines, bucket, request.node.name), undisturbed.artifacts(of_hardened=False))


def prepared(job: Job, artifacts: list[tuple[str, dict[str, Any]]]) -> Job:
    """Return the job with artifacts of the undisturbed run in its store."""
    for kind, manifest in artifacts:
        job.bucket.copy("undisturbed", job.name, f"artifacts/{kind}/{manifest['key']}/")
    return job


def check_like_undisturbed(job: Job, undisturbed: Undisturbed) -> None:
    check_same_results(job.files, undisturbed)
    assert set(job.written().values()) == {1}, "something finished was computed twice"


def check_same_results(files: Files, undisturbed: Undisturbed) -> None:
    assert files.of("adversarials") == undisturbed.adversarials
    for path, theirs in undisturbed.results.items():
        assert timeless(files.store.read_table(path)).equals(theirs), path


def timeless(table: pa.Table) -> pa.Table:
    """Return a table without its times."""
    return table.select([name for name in table.column_names if name != "seconds"])


def test_an_experiment_keeps_everything_in_the_bucket(undisturbed: Undisturbed, machines: Machines) -> None:
    store = undisturbed.store
    assert f"{BUCKET}/undisturbed/runs/tiny" in undisturbed.output
    assert {"records.parquet", "report.html", "run.json"} <= set(store.list_files("runs/tiny"))
    assert set(undisturbed.job.written().values()) == {1}, "something was written twice"
    left = store.filesystem.get_file_info(FileSelector(store.path("scratch"), allow_not_found=True, recursive=True))
    assert not [info.path for info in left if info.is_file]
    if machines.mounts:
        drivers = {"undisturbed.yaml", "undisturbed.log"}
        assert drivers <= {path.name for path in machines.home.iterdir()}
        assert not any(drivers & node.sees(machines.home) for node in machines.nodes), "the nodes share a folder"


def test_credentials_are_in_no_artifact_and_no_output(undisturbed: Undisturbed) -> None:
    store = undisturbed.store
    assert SECRET not in undisturbed.output
    for name in store.list_files("runs/tiny"):
        assert SECRET.encode() not in store.read_bytes(f"runs/tiny/{name}")


def test_a_run_that_gets_fewer_workers_than_it_asks_for_says_so(undisturbed: Undisturbed) -> None:
    assert "continues with 2 of 3 workers: there is room for no more of 1 CPUs each" in undisturbed.output


def test_a_run_that_cannot_be_placed_fails_before_anything_is_computed(machines: Machines, bucket: ObjectStore) -> None:
    job = Job(machines, bucket, "unplaceable")
    driver = job.start(resources={**SETTINGS["resources"], "gpu": True})
    assert driver.wait() == 1
    assert "a worker needs 1 CPUs and 1 GPU on one node, but the cluster has these nodes: " in driver.output()
    assert "2 x 1 CPUs and 0 GPUs" in driver.output()
    assert "; add nodes, or lower resources.cpus_per_worker" in driver.output()
    assert not job.written()


def test_a_run_killed_in_every_stage_ends_like_an_undisturbed_one(
    undisturbed: Undisturbed, machines: Machines, bucket: ObjectStore, record_property: Note
) -> None:
    job = Job(machines, bucket, "killed")
    files, seen = job.files, dict[int, float]()
    store = files.store

    def progress() -> list[dict[str, Any]]:
        with suppress(FileNotFoundError, StoreError):  # it is removed when a fit ends, and replaced while it is read
            fits = [name for name in bucket.names("killed/progress/") if "/shards/" not in name]
            told = [store.read_json(name.removeprefix("killed/")) for name in fits]
            return [each for each in told if each["epoch"]]  # a fit that has only started is at epoch 0
        return []

    def keeps_an_epoch_that_was_seen() -> bool:
        seen.update({told["epoch"]: told["seconds"] for told in progress()})
        kept = [
            int(epoch)
            for name in bucket.names("killed/scratch/train/")
            if name.endswith("/checkpoint_manager_snapshot.json")
            for epoch in re.findall(rb"epoch_(\d+)", store.read_bytes(name.removeprefix("killed/")))
        ]
        return bool(seen) and max(kept, default=0) >= min(seen)

    reached: dict[str, Callable[[], Any]] = {
        "ingest": lambda: job.shards("tiles"),
        "train": keeps_an_epoch_that_was_seen,
        "attack": job.shards,
        "harden": lambda: [told for told in progress() if told["name"].endswith(DEFENSE)],
        "diagnose": lambda: job.shards("diagnostics"),
        "evaluate": lambda: job.shards("predictions"),
    }
    for stage, condition in reached.items():
        before = job.written()
        begun = time.monotonic()
        job.start().kill_when(condition)
        record_property(f"killed in {stage} after seconds", round(time.monotonic() - begun, 1))
        assert read_state(store, "tiny").state == "running", "nobody was left to say that it ended"
        assert len(job.written()) >= len(before)
    begun = time.monotonic()
    job.start().finish()
    record_property("last run's seconds", round(time.monotonic() - begun, 1))
    check_like_undisturbed(job, undisturbed)
    (trained,) = (manifest for manifest in files.manifests("model") if manifest["stage"] == "train")
    took = {epoch["epoch"]: epoch["seconds"] for epoch in trained["history"]}
    again = [epoch for epoch, seconds in seen.items() if took[epoch] != seconds]
    record_property("epochs trained again", len(again))
    assert min(seen) not in again


def started(job: Job) -> Driver:
    """Start a run, and return when it has made the first of its shards."""
    seeded, driver = job.shards(), job.start()
    wait_for_more(job, driver, seeded)
    return driver


def wait_for_more(job: Job, driver: Driver, known: list[str]) -> None:
    """Wait until there is one more shard."""
    wait_until(lambda: len(job.shards()) > len(known), driver.check_runs)


def test_a_killed_attack_worker_costs_its_shards_alone(
    attacking: Job, undisturbed: Undisturbed, machines: Machines, record_property: Note
) -> None:
    driver = started(attacking)
    node = machines.nodes[0]
    workers = wait_until(node.attackers, driver.check_runs)
    for worker in workers:
        worker.kill()
    begun = time.monotonic()
    wait_until(lambda: set(node.attackers()) - set(workers), driver.check_runs)
    record_property("seconds until the node attacks again", round(time.monotonic() - begun, 1))
    driver.finish()
    check_like_undisturbed(attacking, undisturbed)


def test_a_lost_node_is_made_up_for_by_one_that_joins(
    attacking_longer: Job, undisturbed: Undisturbed, machines: Machines, record_property: Note
) -> None:
    driver = started(attacking_longer)
    lost = machines.nodes[0]
    wait_until(lost.attackers, driver.check_runs)
    machines.lose(lost)
    begun = time.monotonic()
    joined = machines.add()
    wait_until(joined.workers, driver.check_runs)
    record_property("seconds until the new node works", round(time.monotonic() - begun, 1))
    driver.finish()
    check_like_undisturbed(attacking_longer, undisturbed)


def test_an_object_store_that_is_gone_for_a_minute_is_waited_for(
    attacking: Job, undisturbed: Undisturbed, bucket: ObjectStore, record_property: Note
) -> None:
    driver = started(attacking)
    bucket.stop()
    time.sleep(OUTAGE_SECONDS)
    driver.check_runs()
    known = attacking.shards()
    bucket.start()
    begun = time.monotonic()
    wait_for_more(attacking, driver, known)
    record_property("seconds to the next shard", round(time.monotonic() - begun, 1))
    driver.finish()
    check_like_undisturbed(attacking, undisturbed)


def copy_artifacts(undisturbed: Undisturbed, to: Path) -> None:
    """Copy the artifacts that a disturbed attack starts with to a folder."""
    store = undisturbed.store
    for kind, manifest in undisturbed.artifacts():
        everything = FileSelector(store.path(store.artifact(kind, manifest["key"])), recursive=True)
        for info in store.filesystem.get_file_info(everything):
            if info.is_file:
                path = str(Path(info.path).relative_to(store.root))
                (to / path).parent.mkdir(parents=True, exist_ok=True)
                (to / path).write_bytes(store.read_bytes(path))


def test_a_full_disk_stops_the_run_which_goes_on_once_there_is_space(
    undisturbed: Undisturbed, machines: Machines, record_property: Note
) -> None:
    if not machines.mounts:
        pytest.skip("needs to mount a small disk: root, unshare and nsenter")
    root = machines.seen(machines.disk)
    copy_artifacts(undisturbed, root / "store")
    files = Files(Store(LocalFileSystem(), str(root / "store")))
    settings, seeded = {**SETTINGS, "storage": str(machines.disk / "store")}, files.of("adversarials")
    driver = machines.start(settings, "disk")
    wait_until(lambda: len(files.of("adversarials")) > len(seeded), driver.check_runs)
    with suppress(OSError), (root / "something else").open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    assert driver.wait() == 1
    told = driver.output().replace("\n", " ")
    assert re.search(
        r"attack failed: \S+/pgd/\S+: StoreError: cannot write \S+ \([\d,]+ bytes\): No space left on device; free "
        r"space or choose another `storage`, then run again: finished work is kept", told
    ), told  # fmt: skip
    kept = {path: (root / "store" / path).stat().st_mtime_ns for path in files.of("adversarials")}
    assert not list((root / "store" / "artifacts").rglob(".tmp-*"))

    machines.resize_disk("128m")
    begun = time.monotonic()
    machines.start(settings, "disk").finish()
    record_property("seconds of the run that went on", round(time.monotonic() - begun, 1))
    assert {path: (root / "store" / path).stat().st_mtime_ns for path in kept} == kept
    check_same_results(files, undisturbed)
