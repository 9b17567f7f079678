"""Folders of images with more than 8 bits, given to a command."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.cli.conftest import Command, Ended


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


@pytest.mark.parametrize(("largest", "bits"), [(900, 10), (4095, 12), (16000, 14), (100, 9)])
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
