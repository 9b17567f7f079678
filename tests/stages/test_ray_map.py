"""The division of items into blocks for workers."""

import math

from hypothesis import given
from hypothesis import strategies as st

from raypipe.stages.ray_map import cut_equal_blocks, cut_halving_blocks

ITEMS = st.integers(0, 300).map(lambda count: [{"number": number} for number in range(count)])


@given(ITEMS, st.integers(1, 40))
def test_equal_blocks_hold_every_item_once_and_in_order(items: list[dict[str, int]], count: int) -> None:
    blocks = cut_equal_blocks(items, count)
    assert [item for block in blocks for item in block] == items
    assert len(blocks) == min(count, len(items))
    sizes = {len(block) for block in blocks}
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(ITEMS, st.integers(1, 40))
def test_halving_blocks_hold_every_item_once_and_in_order(items: list[dict[str, int]], workers: int) -> None:
    blocks = cut_halving_blocks(items, workers)
    assert [item for block in blocks for item in block] == items
    assert all(blocks)


@given(ITEMS.filter(bool), st.integers(1, 40))
def test_no_worker_is_left_with_more_than_half_of_its_share(items: list[dict[str, int]], workers: int) -> None:
    """Check the blocks for any duration of the items.

    When a worker begins a block, the others have as much left to do. At the end none waits for more than one item.
    """
    blocks = cut_halving_blocks(items, workers)
    left = len(items)
    for number, block in enumerate(blocks):
        if number % workers == 0:
            largest = math.ceil(left / (2 * workers))
        assert len(block) <= largest
        left -= len(block)
    assert len(blocks[-1]) == 1


def test_blocks_by_hand() -> None:
    sizes = [len(block) for block in cut_halving_blocks([{"number": number} for number in range(100)], 2)]
    assert sizes == [25, 25, 13, 13, 6, 6, 3, 3, 2, 2, 1, 1]
