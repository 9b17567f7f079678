"""The number of training workers that an experiment gets if it names none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypipe.plan.train_workers import FEWEST_TILES, choose_train_workers, estimate_speedup


@pytest.mark.parametrize(
    ("trainings", "room", "batch_size", "size", "count"),
    [
        (3, 2, 32, 64, 0),  # more models than cores: side by side
        (1, 2, 32, 32, 1),  # steps too short to share
        (1, 2, 32, 224, 2),
        (1, 1, 32, 224, 1),
        (2, 8, 64, 224, 8),  # side by side, six workers would idle
        (2, 8, 16, 64, 0),
        (8, 8, 64, 224, 0),
    ],
)
def test_models_are_trained_beside_each_other_and_ddp_is_for_what_is_left(
    trainings: int, room: int, batch_size: int, size: int, count: int
) -> None:
    assert choose_train_workers(trainings, room, batch_size, size).workers == count


@pytest.mark.parametrize(
    ("batch_size", "size", "measured"), [(32, 64, 1.21), (64, 64, 1.44), (128, 64, 1.63), (32, 224, 1.87)]
)
def test_the_estimate_is_near_what_was_measured(batch_size: int, size: int, measured: float) -> None:
    assert estimate_speedup(2, batch_size, size) == pytest.approx(measured, abs=0.05)


@given(st.integers(1, 20), st.integers(1, 16), st.integers(2, 256), st.integers(16, 512))
def test_the_choice_fits_and_leaves_each_worker_some_tiles(
    trainings: int, room: int, batch_size: int, size: int
) -> None:
    count, reason = choose_train_workers(trainings, room, batch_size, size)
    assert 0 <= count <= room
    assert count <= 1 or batch_size // count >= FEWEST_TILES
    assert reason
    if trainings == 1:
        assert count >= 1, "a training in a group keeps its checkpoints"
