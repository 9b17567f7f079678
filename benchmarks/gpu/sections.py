"""The sections, with their time limits in seconds, which add up to less than eight minutes."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks.gpu.attacks import compare
from benchmarks.gpu.options import Options
from benchmarks.gpu.precision import compare_precisions, defend
from benchmarks.gpu.sharing import share
from benchmarks.gpu.training import train
from benchmarks.gpu.victim import train_victim


class Section(NamedTuple):
    """A part of the measurement."""

    run: Callable[[Options], None]
    seconds: float


SECTIONS = {
    "victim": Section(train_victim, 60),
    "deepfool": Section(partial(compare, "deepfool"), 55),
    "carlini_wagner_l2": Section(partial(compare, "carlini_wagner_l2"), 75),
    "pgd": Section(partial(compare, "pgd"), 40),
    "autoattack": Section(partial(compare, "autoattack"), 60),
    "training": Section(train, 85),
    "sharing": Section(share, 40),
    "defense_gan": Section(defend, 35),
    "half_precision": Section(compare_precisions, 25),
}
