"""The order in which unneeded features are restored."""

import torch

from raypipe.attacks.engine.prune import _rank_changes


def test_changed_features_have_the_order_of_a_stable_sort_of_all_features() -> None:
    generator = torch.Generator().manual_seed(0)
    worth = (3 * torch.randn(5, 300, generator=generator)).round()  # with many ties
    changed = torch.rand(5, 300, generator=generator) < torch.tensor([0.0, 0.01, 0.2, 0.9, 1.0])[:, None]
    everything = worth.masked_fill(~changed, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
    rank = _rank_changes(worth, changed)
    assert torch.equal(rank[changed], everything[changed])
    assert (rank[~changed] == 300).all()


def test_without_a_change_there_is_nothing_to_rank() -> None:
    assert (_rank_changes(torch.ones(2, 4), torch.zeros(2, 4, dtype=torch.bool)) == 4).all()
