"""Folders of images with more than 8 bits, given to a command."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from raypipe.evaluation.results.run import derive_stamps
from tests.cli.conftest import Command, Ended

COUNT, SIZE, BRIGHTEST = 12, 40, 4000
WARNING = f"{COUNT} 16-bit images are dark: the brightest value of all is {BRIGHTEST} of 65535"


@pytest.fixture
def attack(tmp_path: Path, cli: Command) -> Callable[..., Ended]:
    """Return a function that attacks a model of one tile size on 16-bit images with values up to a largest one."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    program = torch.export.export(network.eval(), (torch.rand(1, 3, 8, 8),))
    torch.export.save(program, tmp_path / "model.pt2")

    def call(largest: int, *more: str) -> Ended:
        for name, value in (("a", largest), ("b", largest // 2)):
            (tmp_path / "tiles" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), value, np.uint16)).save(tmp_path / "tiles" / name / f"{name}.png")
        words = ["--attack", "fgsm", "--labels", "a,b", "--size", "8", "--out", "out", "--force"]
        return cli("attack", "model.pt2", "tiles", *words, *more)

    return call


@pytest.mark.parametrize(("largest", "bits"), [(900, 10), (4095, 12), (16000, 14), (100, 8)])
def test_a_dark_data_set_is_said_with_its_brightest_value_and_the_bits_to_give(
    largest: int, bits: int, attack: Callable[..., Ended]
) -> None:
    ended = attack(largest)
    said = " ".join((ended.out + ended.err).split())
    assert f"2 16-bit images are dark: the brightest value of all is {largest} of 65535" in said
    assert f"(--bit-depth) = {bits} for values up to {2**bits - 1}" in said
    ended = attack(largest, "--bit-depth", str(bits))
    assert "dark" not in ended.out + ended.err


def test_images_that_all_exceed_the_stated_bits_are_one_line(attack: Callable[..., Ended]) -> None:
    ended = attack(40000, "--bit-depth", "12")
    assert ended.code != 0
    assert "no test tile could be read" in ended.err
    assert "(bit_depth = 12)" in ended.err


def write_rgb_tiff(path: Path, values: np.ndarray) -> None:
    """Write a TIFF of 16 bits a channel, which Pillow reads and does not write."""
    height, width, _ = values.shape
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 200),
            (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, values.size * 2)]  # fmt: skip
    head = b"II*\0" + struct.pack("<I", 14) + struct.pack("<3H", 16, 16, 16)
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + struct.pack("<I", 0)
    path.write_bytes((head + body).ljust(200, b"\0") + values.astype("<u2").tobytes())


def write_gray_png(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values[..., 0].astype(np.uint16)).save(path)


@pytest.fixture(params=[("tiff", write_rgb_tiff), ("png", write_gray_png)], ids=["RGB TIFF", "gray PNG"])
def dark_folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    suffix, write = request.param
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "dark" / label).mkdir(parents=True)
        for number in range(COUNT // 2):
            values = random.integers(0, BRIGHTEST, (SIZE, SIZE, 3))
            values[0, 0] = BRIGHTEST
            write(tmp_path / "dark" / label / f"{label}{number}.{suffix}", values)
    return "dark"


def test_the_audit_warns_of_dark_images_and_takes_their_depth(dark_folder: str, cli: Command) -> None:
    assert WARNING in " ".join(cli("audit", dark_folder, "--workers", "1").out.split())
    (warning,) = json.loads(cli("audit", dark_folder, "--workers", "1", "--json").out)["warnings"]
    assert warning.startswith(WARNING)
    assert "(--bit-depth) = 12" in warning
    assert json.loads(cli("audit", dark_folder, "--bit-depth", "12", "--json").out)["warnings"] == []


def test_a_first_experiment_has_the_bit_depth_of_its_images(dark_folder: str, cli: Command) -> None:
    ended = cli("init", dark_folder, "--no-estimate", "--out", "e.yaml")
    assert ended.code == 0, ended.err
    text = Path("e.yaml").read_text()
    assert yaml.safe_load(text)["tiles"]["bit_depth"] == 12
    assert f"is {BRIGHTEST}; check it" in text


@pytest.mark.parametrize(("dark", "stamped"), [(COUNT, True), (1, False), (0, False)])
def test_figures_are_stamped_if_most_tiles_are_dark(dark: int, stamped: bool) -> None:
    manifest = {"split": "group", "leakage": 0, "synthetic": False, "tiles": COUNT, "dark": dark,
                "brightest": BRIGHTEST if dark else 0}  # fmt: skip
    assert [stamp.startswith(f"DARK: {WARNING}") for stamp in derive_stamps(manifest)] == [True] * stamped
