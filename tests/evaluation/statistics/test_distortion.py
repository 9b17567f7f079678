import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from raypipe.base.norms import StoredNorm
from raypipe.evaluation.statistics.distortion import (
    build_eps_grid,
    compute_quartiles,
    compute_robust_accuracy,
    find_worst_case,
)
from raypipe.evaluation.statistics.intervals import estimate_mean, group_tiles

INF = np.inf
distortions = hnp.arrays(np.float64, st.integers(2, 40), elements=st.just(0.0) | st.just(INF) | st.floats(1e-3, 1e3))


@settings(max_examples=40, deadline=None)
@given(distortions, st.sampled_from(["l0", "l2"]))
def test_a_curve_falls_from_clean_accuracy_to_its_floor(found: NDArray[np.float64], norm: StoredNorm) -> None:
    eps = build_eps_grid(found, norm)
    groups = group_tiles(np.arange(len(found)) // 2)
    curve = compute_robust_accuracy(found, eps, groups)
    values = [point.value for point in curve]
    assert eps[0] == 0
    assert (np.diff(eps) > 0).all()
    assert values[0] == (found > 0).mean()
    assert values[-1] == np.isinf(found).mean()
    assert values == sorted(values, reverse=True)
    if groups.count > 1:
        assert all(0 <= point.low <= point.high <= 1 for point in curve)


@settings(max_examples=40, deadline=None)
@given(distortions, hnp.arrays(np.float64, st.integers(1, 9), elements=st.floats(0, 1e3), unique=True))
def test_robust_accuracy_is_the_share_that_takes_more(found: NDArray[np.float64], eps: NDArray[np.float64]) -> None:
    eps = np.sort(eps)
    groups = group_tiles(range(len(found)))
    apart = [estimate_mean(found > bound * (1 + 1e-6), groups) for bound in eps]
    np.testing.assert_allclose(compute_robust_accuracy(found, eps, groups), apart, atol=1e-12)


def test_8_bit_steps_are_counted_as_steps() -> None:
    found = np.array([0, 1, 2, 2, 5], dtype=np.float32) / np.float32(255)
    eps = build_eps_grid(found.astype(np.float64), "linf")
    np.testing.assert_allclose(eps * 255, range(6))
    values = [point.value for point in compute_robust_accuracy(found, eps, group_tiles(range(5)))]
    assert values == pytest.approx([0.8, 0.6, 0.2, 0.2, 0.2, 0])


def test_a_grid_in_l0_has_whole_numbers_and_one_in_l2_resolves_the_bulk() -> None:
    found = np.random.default_rng(0).lognormal(3, 2, 500)
    whole = build_eps_grid(found.round(), "l0")
    np.testing.assert_array_equal(whole, whole.round())
    eps = build_eps_grid(found, "l2", points=21)
    assert len(eps) == 21
    falls = np.diff([point.value for point in compute_robust_accuracy(found, eps, group_tiles(range(500)))])
    np.testing.assert_allclose(falls, -0.05, atol=0.005)


def test_a_model_that_was_never_fooled_has_a_flat_curve() -> None:
    found = np.array([0, INF, INF, INF])
    np.testing.assert_array_equal(build_eps_grid(found, "l2"), [0])
    assert [point.value for point in compute_robust_accuracy(found, np.array([0.0, 9.0]), group_tiles(range(4)))] == [
        0.75,
        0.75,
    ]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([0, 0, 1, 2, 3, 4], (4, 4, 1, 2, 3, 4)),
        ([1, 2, INF, INF], (4, 2, 1, 2, INF, 2)),
        ([1, 2, INF, INF, INF], (5, 2, 2, INF, INF, 2)),
        ([0, INF, INF], (2, 0, INF, INF, INF, np.nan)),
        ([0, 0], (0, 0, np.nan, np.nan, np.nan, np.nan)),
    ],
)
def test_quartiles_count_the_tiles_that_no_attack_fooled(found: list[float], expected: tuple[float, ...]) -> None:
    np.testing.assert_array_equal(compute_quartiles(np.array(found, dtype=float)), expected)


def test_the_worst_of_several_attacks_tile_by_tile() -> None:
    correct = np.array([True, True, True, False])
    fooled = np.array([[True, False, False, False], [True, True, False, False]])
    sizes = np.array([[3.0, 0.1, 0.1, 0], [2.0, 5.0, np.nan, 0]])
    np.testing.assert_array_equal(find_worst_case(correct, fooled, sizes), [2, 5, INF, 0])
    np.testing.assert_array_equal(find_worst_case(correct, fooled[:1], sizes[:1]), [3, INF, INF, 0])


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(2, 20))
def test_no_attack_alone_shows_less_robustness_than_all_together(data: st.DataObject, attacks: int, tiles: int) -> None:
    correct = data.draw(hnp.arrays(np.bool_, tiles))
    fooled = data.draw(hnp.arrays(np.bool_, (attacks, tiles)))
    sizes = data.draw(hnp.arrays(np.float64, (attacks, tiles), elements=st.floats(0.001, 9)))
    together = find_worst_case(correct, fooled, sizes)
    alone = np.array([find_worst_case(correct, fooled[[k]], sizes[[k]]) for k in range(attacks)])
    np.testing.assert_array_equal(together, alone.min(axis=0))


@pytest.mark.parametrize("shape", [(0, 3), (2, 4)])
def test_attacks_on_other_tiles_do_not_stack(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"expected \(n,\) and twice \(attacks, n\)"):
        find_worst_case(np.ones(3, dtype=bool), np.ones(shape, dtype=bool), np.ones(shape))


def test_a_tile_is_not_fooled_by_a_distortion_that_is_no_number() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        find_worst_case(np.ones(1, dtype=bool), np.ones((1, 1), dtype=bool), np.full((1, 1), np.nan))
    with pytest.raises(ValueError, match="at least 0"):
        compute_robust_accuracy(np.array([np.nan, 1]), np.array([0.0]), group_tiles(range(2)))


@pytest.mark.parametrize("eps", [[0.2, 0.1], [0.1, 0.1], [-0.1, 0.1]])
def test_eps_increases_from_0(eps: list[float]) -> None:
    with pytest.raises(ValueError, match="expected increasing numbers"):
        compute_robust_accuracy(np.ones(2), np.array(eps), group_tiles(range(2)))
