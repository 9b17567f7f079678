"""The laws of both splits, and published splits from a file."""

from collections import Counter, defaultdict

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from raypipe.data.leakage import find_leaking_groups
from raypipe.data.source import TileRef
from raypipe.data.splits import assign_splits, read_split_file

FRACTIONS = st.floats(0.05, 0.95)
SEEDS = st.integers(0, 2**32)


@st.composite
def grouped_tiles(draw, *, spanning: bool):
    """Draw tiles of two to four labels, each with two or more groups, in any order."""
    refs = []
    for label in "abcd"[: draw(st.integers(2, 4))]:
        sizes = draw(st.lists(st.integers(1, 12), min_size=2, max_size=12))
        for number, size in enumerate(sizes):
            group = str(number) if spanning else f"{label}:{number}"
            refs += [TileRef(f"{label}/{number}-{tile}.png", label, group) for tile in range(size)]
    return draw(st.permutations(refs))


def assert_groups_stay_together(refs, sides):
    assert set(sides) == {ref.path for ref in refs}
    assert find_leaking_groups((ref.group, sides[ref.path]) for ref in refs) == []
    for label in {ref.label_name for ref in refs}:
        assert {sides[ref.path] for ref in refs if ref.label_name == label} == {"train", "test"}


@settings(deadline=None)
@given(grouped_tiles(spanning=False), FRACTIONS, SEEDS)
def test_group_split_laws(refs, fraction, seed):
    sides = assign_splits(refs, "group", fraction, seed)
    assert_groups_stay_together(refs, sides)
    assert list(assign_splits(refs[::-1], "group", fraction, seed).items()) == list(sides.items())

    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    trained: Counter[str] = Counter()
    for ref in refs:
        sizes[ref.label_name][ref.group] += 1
        trained[ref.label_name] += sides[ref.path] == "train"
    for label, groups in sizes.items():
        assert abs(trained[label] - fraction * groups.total()) <= max(groups.values())


@settings(deadline=None)
@given(grouped_tiles(spanning=True), FRACTIONS, SEEDS)
def test_groups_that_span_labels_stay_together_too(refs, fraction, seed):
    sides = assign_splits(refs, "group", fraction, seed)
    assert_groups_stay_together(refs, sides)
    assert assign_splits(refs[::-1], "group", fraction, seed) == sides


@settings(deadline=None)
@given(st.integers(2, 200), FRACTIONS, SEEDS)
def test_paper_split_laws(count, fraction, seed):
    assume(0 < round(count * fraction) < count)
    refs = [TileRef(f"{place}.png", "ab"[place % 2], None) for place in range(count)]
    sides = assign_splits(refs, "paper", fraction, seed)
    assert set(sides) == {ref.path for ref in refs}
    assert Counter(sides.values())["train"] == round(count * fraction)
    assert assign_splits(refs[::-1], "paper", fraction, seed) == sides


def lc25000_like(groups: int = 40, siblings: int = 5) -> list[TileRef]:
    return [
        TileRef(f"{label}/{group}-{tile}.png", label, f"{label}:{group}")
        for label in ("colon_n", "lung_n")
        for group in range(groups)
        for tile in range(siblings)
    ]


@pytest.mark.parametrize("kind", ["paper", "group"])
def test_another_seed_gives_another_split(kind):
    refs = lc25000_like()
    splits = [assign_splits(refs, kind, 0.7, seed) for seed in range(4)]
    assert len({tuple(sorted(sides.items())) for sides in splits}) == 4


def test_a_published_seed_keeps_its_meaning():
    sides = assign_splits(lc25000_like(groups=4, siblings=1), "paper", 0.5, seed=1)
    assert sorted(path for path, side in sides.items() if side == "train") == [
        "colon_n/0-0.png",
        "colon_n/1-0.png",
        "colon_n/3-0.png",
        "lung_n/1-0.png",
    ]


def test_the_papers_split_leaks_and_the_group_split_is_stratified():
    refs = lc25000_like()
    paper = assign_splits(refs, "paper", 0.7, seed=0)
    assert len(find_leaking_groups((ref.group, paper[ref.path]) for ref in refs)) > 50
    group = assign_splits(refs, "group", 0.7, seed=0)
    assert Counter(ref.label_name for ref in refs if group[ref.path] == "train") == {"colon_n": 140, "lung_n": 140}


def test_files_with_a_problem_have_no_side():
    refs = [*lc25000_like(), TileRef("readme.txt", None, None, "not in a class folder")]
    for kind in ("paper", "group"):
        assert set(assign_splits(refs, kind, 0.7, 0)) == {ref.path for ref in lc25000_like()}


def spanning(**labels: str) -> list[TileRef]:
    """Return one tile per letter, which is its group: `spanning(a="pq")` is label a with the groups p and q."""
    return [TileRef(f"{label}/{group}", label, group) for label, groups in labels.items() for group in groups]


def test_a_chain_of_shared_groups_alternates():
    sides = assign_splits(spanning(a="pq", b="qr", c="rs", d="st"), "group", 0.5, seed=0)
    assert sides["a/p"] != sides["a/q"] == sides["b/q"] != sides["b/r"] == sides["c/r"] != sides["d/s"] != sides["d/t"]


@pytest.mark.parametrize(
    "labels",
    [
        {"a": "pq", "b": "rs", "c": "qrs", "d": "pr"},
        {"a": "pq", "b": "rs", "c": "pru", "d": "uv"},
        {"a": "qr", "b": "pqr", "c": "pr"},
    ],
)
@settings(deadline=None)
@given(fraction=FRACTIONS, seed=SEEDS)
def test_groups_are_moved_until_every_label_has_both_sides(labels, fraction, seed):
    refs = spanning(**labels)
    assert_groups_stay_together(refs, assign_splits(refs, "group", fraction, seed))


@pytest.mark.parametrize(
    ("refs", "fraction", "message"),
    [
        (lc25000_like(), 1.0, r"train_fraction = 1.0: expected a number between 0 and 1"),
        (lc25000_like(), 70, r"train_fraction = 70: expected a number between 0 and 1"),
        ([], 0.7, r"there are no tiles"),
        ([TileRef(f"{k}.png", "a", None) for k in range(9)], 0.7, r"9 of 9 tiles have no group \(0.png, .* 6 more\)"),
        (spanning(a="pq", b="r"), 0.7, r"one group holds all tiles of b, and cannot be on both sides; add tiles"),
        (spanning(a="pq", b="qr", c="pr"), 0.5, r"groups that span labels leave . without a group on one side; add"),
    ],
)
def test_what_cannot_be_split_by_group_is_refused_with_a_way_out(refs, fraction, message):
    with pytest.raises(ValueError, match=message):
        assign_splits(refs, "group", fraction, 0)


@pytest.mark.parametrize("count", [0, 1])
def test_a_random_split_has_two_sides(count):
    with pytest.raises(ValueError, match=f"split of {count} tiles at train_fraction = 0.7: a side is empty"):
        assign_splits([TileRef(f"{k}.png", "a", None) for k in range(count)], "paper", 0.7, 0)


REFS = [
    TileRef("a/1.png", "a", None),
    TileRef("a/2.png", "a", None),
    TileRef("b/1.png", "b", None),
    TileRef("readme.txt", None, None, "not in a class folder"),
]


def split_file(tmp_path, rows: str) -> dict[str, str]:
    (tmp_path / "split.csv").write_text(f"filename,label,split\n{rows}")
    return read_split_file(str(tmp_path / "split.csv"), REFS)


def test_a_split_file_assigns_every_tile(tmp_path):
    expected = {"a/1.png": "train", "a/2.png": "test", "b/1.png": "test"}
    assert split_file(tmp_path, "a/1.png,,train\n2.png,,test\n1.png,b,test\n") == expected
    assert split_file(tmp_path, "a/1.png,,train\n2.png,,test\n1.png,b,test\nreadme.txt,,test\n") == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a/1.png,,train\na/2.png,,valid\nb/1.png,,test\n", r"split = 'valid': expected train or test"),
        ("a/1.png,,train\na/2.png,,test\nb/1.png,,test\nb/2.png,,test\n", r"names 1 files .* \(b/2.png\); remove"),
        ("a/1.png,,train\n", r"does not name 2 tiles \(a/2.png, b/1.png\); add a row"),
        ("a/1.png,,train\na/2.png,,test\nb/1.png,,\n", r"does not name 1 tiles \(b/1.png\)"),
        ("1.png,,train\n", r"filename '1.png' fits a/1.png, b/1.png; give the path"),
    ],
)
def test_a_split_file_that_does_not_fit_is_refused(rows, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        split_file(tmp_path, rows)


def test_a_split_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"split\.csv: no such file"):
        read_split_file(str(tmp_path / "split.csv"), REFS)
