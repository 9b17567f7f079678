"""A real S3 server on loopback, and the questions that tests ask it."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import boto3
import pytest
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeKey
from moto.server import ThreadedMotoServer

BUCKET = "raypipe-tests"
SECRET = "not-to-be-seen-anywhere"


class ObjectStore:
    """A server that keeps its objects while it is stopped, with a bucket that keeps every version of an object."""

    def __init__(self) -> None:
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        self.host, self.port = self.server.get_host_and_port()

    def stop(self) -> None:
        """Stop the server, so that nothing answers from now on."""
        self.server.stop()

    def start(self) -> None:
        """Start the server again, at the same address, with the same objects."""
        self.server = ThreadedMotoServer(ip_address=self.host, port=self.port, verbose=False)
        self.server.start()

    @cached_property
    def client(self) -> Any:
        """The client, made once: each new one takes 50 ms and megabytes, and tests ask all the time."""
        return boto3.client("s3")

    def versions(self, prefix: str) -> Counter[str]:
        """Return how often each object below a prefix was written."""
        kept = self._kept(prefix).items()
        return Counter({name: sum(isinstance(version, FakeKey) for version in versions) for name, versions in kept})

    def names(self, prefix: str) -> list[str]:
        """Return the objects below a prefix now, without those that pyarrow writes for folders."""
        kept = self._kept(prefix).items()
        return [name for name, versions in kept if isinstance(versions[-1], FakeKey) and not name.endswith("/")]

    def _kept(self, prefix: str) -> dict[str, list[Any]]:
        """Return all versions of each object below a prefix, with deletions, from the server's memory.

        A request costs time, and one of `list_object_versions` costs memory: moto copies all versions of all objects of
        the bucket, with their content, and keeps the copies until the process ends.
        """
        keys = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(BUCKET).keys
        return {name: keys.getlist(name) for name in list(keys) if name.startswith(prefix)}

    def copy(self, prefix: str, to: str, below: str) -> None:
        """Copy the objects of one store below a path to another store of the bucket."""
        for name in self.names(f"{prefix}/{below}"):
            target = str(PurePosixPath(to) / PurePosixPath(name).relative_to(prefix))
            self.client.copy_object(Bucket=BUCKET, Key=target, CopySource={"Bucket": BUCKET, "Key": name})


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Run the server, with its address and credentials in the environment, where every process looks for them."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it logs every request, and pytest keeps the lines
    store = ObjectStore()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{store.host}:{store.port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "tester")
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.delenv("AWS_PROFILE", raising=False)
        store.client.create_bucket(Bucket=BUCKET)
        store.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield store
        get_backend("s3").reset()  # all objects are in this process's memory
        store.stop()
