"""The records that the processes of a watched run write about their network passes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.passes.__main__ import WATCHED
from benchmarks.passes.watched.sitecustomize import BUCKET_SECONDS, FOLDER, Notes

CODE = """
import time
import torch

class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 2)

    def forward(self, images):
        time.sleep(0.2)
        return self.inner(images)

slow = Slow()
for _ in range(2):
    time.sleep(0.3)
    begun = time.time()
    slow(torch.zeros(1, 2)).sum().backward()
    print(begun, time.time())
"""


def test_a_pass_is_split_over_the_tenths_of_a_second_that_it_lasts(tmp_path: Path) -> None:
    notes = Notes(str(tmp_path))
    notes.add(100.05, 100.32)
    notes.add(100.32, 100.33)
    seconds = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert sum(notes.seconds.values()) == pytest.approx(0.28)
    assert sorted(notes.seconds) == [1000, 1001, 1002, 1003]
    assert notes.seconds[1001] == pytest.approx(BUCKET_SECONDS)
    assert sum(seconds.values()) == pytest.approx(0.27), "written once in a while"


def test_a_process_that_loads_pytorch_notes_its_outermost_passes(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(WATCHED), FOLDER: str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    spans = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    (file,) = tmp_path.glob("*.json")
    noted = {int(bucket): seconds for bucket, seconds in json.loads(file.read_text()).items()}
    assert all(any(int(a * 10) <= bucket <= int(b * 10) for a, b in spans) for bucket in noted), "not between passes"
    assert 2 * 0.2 <= sum(noted.values()) <= sum(b - a for a, b in spans), "a layer within the network counts once"
