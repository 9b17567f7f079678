"""The active set: it holds every tile once, keeps batches full, and halves them when memory runs out."""

import warnings
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from raypipe.attacks.deepfool import DeepFool
from raypipe.attacks.engine.active import keep, map_batches, predict, run_active
from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.victim import Victim


@dataclass(frozen=True)
class Work:
    rows: Tensor
    left: Tensor


class Recorder:
    """Work of given lengths for `run_active`, one unit per step."""

    def __init__(self, lengths: list[int], batch_size: int, memory: int | None = None) -> None:
        self.lengths = torch.tensor(lengths)
        self.memory = memory
        self.victim = Victim(nn.Identity(), len(lengths), batch_size)
        self.batches: list[int] = []
        self.done = torch.zeros_like(self.lengths)

    def need(self, tiles: int) -> None:
        if self.memory is not None and tiles > self.memory:
            raise torch.OutOfMemoryError

    def start(self, rows: Tensor) -> Work:
        self.need(len(rows))
        return keep(Work(rows, self.lengths[rows]), self.lengths[rows] > 0)

    def step(self, state: Work) -> Work:
        self.need(len(state.rows))
        self.batches.append(len(state.rows))
        self.done[state.rows] += 1
        state = replace(state, left=state.left - 1)
        return keep(state, state.left > 0)

    def run(self) -> None:
        run_active(self.victim, self.victim.rows(), self.start, self.step)


@given(st.lists(st.integers(0, 12), max_size=40), st.integers(1, 16))
def test_every_tile_gets_its_steps_and_no_batch_is_too_large(lengths: list[int], batch_size: int) -> None:
    recorder = Recorder(lengths, batch_size)
    recorder.run()
    assert recorder.done.tolist() == lengths
    assert max(recorder.batches, default=0) <= batch_size


@given(st.lists(st.integers(0, 12), max_size=40), st.integers(1, 16), st.integers(1, 16))
def test_memory_that_runs_out_costs_no_step(lengths: list[int], batch_size: int, memory: int) -> None:
    recorder = Recorder(lengths, batch_size, memory)
    if batch_size > memory and len(lengths) > memory:
        with pytest.warns(RuntimeWarning, match="out of memory: going on with batches of"):
            recorder.run()
    else:
        recorder.run()
    assert recorder.done.tolist() == lengths
    assert max(recorder.batches, default=0) <= memory


def test_batches_stay_full_to_the_last_straggler() -> None:
    """Give one tile in eight forty steps, and the others one: without refills, every batch of 8 would take forty."""
    recorder = Recorder([40 if position % 8 == 0 else 1 for position in range(64)], batch_size=8)
    recorder.run()
    assert len(recorder.batches) < 90
    assert sum(recorder.batches) == 8 * 40 + 56


def test_not_even_one_tile_fits() -> None:
    with pytest.warns(RuntimeWarning, match="out of memory"), pytest.raises(torch.OutOfMemoryError):
        Recorder([1, 1, 1], batch_size=2, memory=0).run()


class Cramped(nn.Module):
    """A network on a device that holds only three tiles."""

    half_precision = None

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 3:
            raise torch.OutOfMemoryError
        return self.model(images)


def test_an_attack_survives_it_with_the_same_result_and_the_same_passes(cases) -> None:
    case = cases[3]
    prepared = case.prepared(batch_size=16)
    expected = case.attacked(DeepFool(), batch_size=16)
    prepared.fast, prepared.plain = Cramped(prepared.fast), Cramped(prepared.plain)
    with pytest.warns(RuntimeWarning, match="going on with batches of 2 tiles"):
        result = generate(prepared, case.images, case.labels, DeepFool())
    assert prepared.batch_size == 2, "the next shard starts with what fits"
    assert (result.success == expected.success).all()
    assert (result.forwards == expected.forwards).all()
    assert (result.backwards == expected.backwards).all()
    assert abs(result.images.astype(int) - expected.images).max() <= 1


@given(st.integers(0, 40), st.integers(1, 16), st.integers(1, 16))
def test_map_batches_calls_a_function_on_every_tile_once(tiles: int, batch_size: int, memory: int) -> None:
    victim, seen = Victim(nn.Identity(), tiles, batch_size), list[int]()

    def work(rows: Tensor) -> None:
        if len(rows) > memory:
            raise torch.OutOfMemoryError
        seen.extend(rows.tolist())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        map_batches(victim, victim.rows(), work)
    assert seen == list(range(tiles))


def test_map_batches_ends_where_not_even_one_tile_fits() -> None:
    victim = Victim(nn.Identity(), 3, 2)

    def work(rows: Tensor) -> None:
        raise torch.OutOfMemoryError

    with pytest.warns(RuntimeWarning, match="out of memory"), pytest.raises(torch.OutOfMemoryError):
        map_batches(victim, victim.rows(), work)


def test_predictions_come_in_order(cases) -> None:
    case = cases[5]
    model = case.model.eval()
    victim = Victim(model, len(case.images), batch_size=3)
    with torch.no_grad():
        expected = model(case.floats)
    torch.testing.assert_close(predict(victim, case.floats, victim.rows()), expected)
    assert victim.forwards.tolist() == [1] * len(case.images)
