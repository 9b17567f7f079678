"""Tests that respect groups: a sign-flip permutation test of paired differences, and Holm's adjustment."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def run_sign_flip_test(differences: NDArray[np.integer]) -> float:
    """Test that a paired difference is as often positive as negative, with groups as the units.

    If two models do not differ, exchanging them within a group changes nothing. Then each group's difference is as
    likely with the opposite sign. The test compares the sum of the differences with its distribution over all choices
    of signs.

    Parameters
    ----------
    differences
        (groups,) whole numbers: the tiles of each group that only the first model classifies correctly, minus those
        that only the second one does.

    Returns
    -------
    float
        Exact two-sided p value, in (0, 1]: the share of all choices of signs whose sum is at least as far from 0. It is
        at least 2 / 2^g with g groups whose difference is not 0, and 1 without such groups.

    Notes
    -----
    The distribution of a sum of whole numbers can be convolved group by group. So the test is exact for any number of
    groups and draws nothing at random.

    References
    ----------
    R. A. Fisher, The Design of Experiments, 1935, section 21.

    A. M. Winkler et al., NeuroImage 92, 2014, for groups.
    """
    sizes = np.abs(differences[differences != 0]).astype(np.intp)
    most = int(sizes.sum())
    chances = np.zeros(2 * most + 1)  # probabilities of the sums from -most to most
    chances[most] = 1.0
    reach = 0
    for size in sizes.tolist():
        before = chances[most - reach : most + reach + 1] / 2
        chances[most - reach : most + reach + 1] = 0
        chances[most - reach - size : most + reach - size + 1] += before
        chances[most - reach + size : most + reach + size + 1] += before
        reach += size
    observed = abs(int(differences.sum()))
    far = np.abs(np.arange(-most, most + 1)) >= observed
    return min(1.0, float(chances[far].sum()))


def adjust_p_values(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust the p values of a table so that the chance of any false rejection in it stays at the level.

    Parameters
    ----------
    p_values
        One p value per row; None where a row has no test. Such rows do not count.

    Returns
    -------
    list
        Adjusted p values in [0, 1], in the same order. Each is at least as large as its p value, and None where there
        is no test.

    References
    ----------
    S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6(2), 1979.
    """
    tested = [place for place, p_value in enumerate(p_values) if p_value is not None]
    ordered = sorted(tested, key=lambda place: p_values[place] or 0.0)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - rank) * (p_values[place] or 0.0)))
        adjusted[place] = largest
    return adjusted
