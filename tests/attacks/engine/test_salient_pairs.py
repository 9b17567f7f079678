from itertools import combinations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.attacks.engine import salient_pairs
from raypipe.attacks.engine.salient_pairs import find_best_pair


def saliency(target, others, movable, p, q):
    alpha, beta = target[p] + target[q], others[p] + others[q]
    return -alpha * beta if movable[p] and movable[q] and alpha > 0 and beta < 0 else 0.0


def brute_force(*tile):
    return max(saliency(*tile, p, q) for p, q in combinations(range(len(tile[0])), 2))


# Small whole numbers give many ties, and sums and products without rounding.
values = st.integers(-4, 4).map(float)


@st.composite
def tiles(draw):
    count, features = draw(st.integers(1, 3)), draw(st.integers(2, 12))
    rows = st.lists(values, min_size=features, max_size=features)
    movable = st.lists(st.booleans(), min_size=features, max_size=features)
    return [torch.tensor(draw(st.lists(kind, min_size=count, max_size=count))) for kind in (rows, rows, movable)]


@given(tiles())
@settings(max_examples=300, deadline=None)
def test_the_pair_is_as_good_as_any(drawn):
    target, others, movable = drawn
    pairs, found = find_best_pair(target, others, movable)
    for *tile, (p, q), some in zip(target, others, movable, pairs.tolist(), found.tolist(), strict=True):
        best = float(brute_force(*tile))
        assert some == (best > 0)
        if some:
            assert p != q
            assert float(saliency(*tile, p, q)) == best


def test_many_features_with_opposed_gradients(monkeypatch):
    """Make nearly every feature a candidate, so that they do not fit into one block."""
    monkeypatch.setattr(salient_pairs, "BLOCK", 1000)
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 60, generator=generator, dtype=torch.float64)
    others = -(1 - target**2).sqrt() + 0.01 * torch.rand(3, 60, generator=generator, dtype=torch.float64)
    movable = torch.ones_like(target, dtype=torch.bool)
    pairs, found = find_best_pair(target, others, movable)
    assert bool(found.all())
    for *tile, (p, q) in zip(target, others, movable, pairs.tolist(), strict=True):
        assert saliency(*tile, p, q) == brute_force(*tile)
