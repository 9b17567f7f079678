import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test

from raypipe.evaluation.statistics.permutation import adjust_p_values, run_sign_flip_test

few = settings(max_examples=60, deadline=None)


@few
@given(st.lists(st.integers(-6, 6), min_size=2, max_size=9))
def test_it_is_the_exact_test_of_scipy(differences: list[int]) -> None:
    def total(values: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(values.sum(axis=axis))

    theirs = permutation_test(
        (np.array(differences),), total, permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    # SciPy doubles the smaller tail, which gives the same value for a distribution that is symmetric around 0.
    assert run_sign_flip_test(np.array(differences)) == pytest.approx(min(1.0, theirs.pvalue))


@few
@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=60))
def test_with_single_tiles_it_is_the_sign_test(differences: list[int]) -> None:
    first, second = differences.count(1), differences.count(-1)
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert run_sign_flip_test(np.array(differences)) == pytest.approx(expected)


@few
@given(st.lists(st.integers(-6, 6), max_size=30))
def test_no_p_value_is_below_what_the_groups_allow(differences: list[int]) -> None:
    p_value = run_sign_flip_test(np.array(differences, dtype=int))
    assert 2.0 / 2 ** sum(difference != 0 for difference in differences) <= p_value * (1 + 1e-12) or p_value == 1
    assert p_value <= 1
    assert p_value == run_sign_flip_test(-np.array(differences, dtype=int)[::-1])


def test_four_groups_cannot_be_significant() -> None:
    assert run_sign_flip_test(np.array([6, 6, 6, 6])) == 0.125
    assert run_sign_flip_test(np.array([6, 6, 6, 6, 0, 0])) == 0.125, "groups without a difference say nothing"
    assert run_sign_flip_test(np.array([5, -5])) == run_sign_flip_test(np.zeros(3, dtype=int)) == 1


def test_a_true_null_is_rejected_in_5_of_100_cases_where_siblings_are_alike() -> None:
    """Use 40 groups of 6 with an intraclass correlation of 0.5; a test with independent tiles rejects in 30 of 100."""
    rng = np.random.default_rng(0)
    only_one = rng.dirichlet([0.2, 0.2, 0.6], (1000, 40))
    cells = rng.multinomial(6, only_one)
    rejected = np.mean([run_sign_flip_test(case) <= 0.05 for case in cells[..., 0] - cells[..., 1]])
    assert 0.03 <= rejected <= 0.07


def test_holm_worked_by_hand() -> None:
    assert adjust_p_values([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02])
    assert adjust_p_values([0.9, 0.8]) == [1, 1]
    assert adjust_p_values([None]) == [None]
    assert adjust_p_values([]) == []


@few
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_lowers_nothing(p_values: list[float]) -> None:
    adjusted = adjust_p_values(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))  # type: ignore[operator]
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted, dtype=float)[order]) >= 0).all()
