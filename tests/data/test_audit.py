"""Siblings that the audit finds in the pixels."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from raypipe.data.audit.agreement import compare_groups, compute_largest_shares, merge_groups
from raypipe.data.audit.audit import Audit, audit_source, name_groups, open_data, write_groups
from raypipe.data.audit.grouping import join_pairs
from raypipe.data.audit.registration import register
from raypipe.data.audit.siblings import Siblings, find_siblings
from raypipe.data.audit.sketch import Sketch, sketch_tile, sketch_tiles
from raypipe.data.audit.thumbnails import THUMBNAIL, decode_thumbnail
from raypipe.data.reading.images import UnreadableImage
from raypipe.data.reading.png import encode_png
from raypipe.data.source import TileRef
from raypipe.data.sources.folder import Folder, open_folder
from raypipe.data.sources.lc25000 import LC25000, open_lc25000
from raypipe.data.sources.synthetic import Synthetic, open_synthetic
from raypipe.data.tissue import render_tile
from tests.real_tiles import REAL_TILES, needs_real_tiles

TILE = render_tile("colon_aca", 0, 0, size=256, seed=0)
OTHER = render_tile("colon_aca", 1, 0, size=256, seed=0)


class Count:
    def __init__(self) -> None:
        self.units = 0

    def advance(self, units: int = 1) -> None:
        self.units += units


@contextlib.contextmanager
def silent(_title: str, total: int, _unit: str) -> Iterator[Count]:
    count = Count()
    yield count
    assert count.units == total


def audited(source, **options) -> Audit:
    given = {"by_name": False, "train_fraction": 0.7, "seed": 0, "workers": 1, "progress": silent}
    return audit_source(source, **given | options)


def sketch_of(*images: Image.Image) -> Sketch:
    tiles = [np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)) for image in images]
    return Sketch(*(np.stack(field) for field in zip(*map(sketch_tile, tiles), strict=True)))


def similarity(first: Image.Image, second: Image.Image) -> float:
    return float(register(sketch_of(first, second), np.array([[0, 1]]))[0])


def turned(image: Image.Image, angle: float) -> Image.Image:
    """Turn an image as augmentation does, and cut off the black corners."""
    side = image.width / (np.cos(np.radians(abs(angle))) + np.sin(np.radians(abs(angle))))
    margin = (image.width - side) / 2
    box = (margin, margin, image.width - margin, image.width - margin)
    return image.rotate(angle, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.BILINEAR, box)


AUGMENTATIONS = {
    "itself": lambda image: image,
    "turned": lambda image: turned(image, 25),
    "turned the other way": lambda image: turned(image, -11),
    "flipped": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "flipped and turned": lambda image: turned(image.transpose(Image.Transpose.FLIP_TOP_BOTTOM), 17),
    "a quarter turn": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "stretched": lambda image: image.resize(image.size, Image.Resampling.BILINEAR, (32, 0, 224, 256)),
    "an overlapping field": lambda image: image.resize(image.size, Image.Resampling.BILINEAR, (0, 0, 200, 200)),
}


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_augmentations_of_a_tile_register_with_it_and_other_tissue_does_not(augment):
    tile, other = Image.fromarray(TILE), Image.fromarray(OTHER)
    assert similarity(tile, augment(tile)) > 0.6
    assert similarity(augment(tile), tile) > 0.6
    assert similarity(other, augment(tile)) < 0.3


def test_tiles_without_structure_are_no_siblings():
    rng = np.random.default_rng(0)
    blank = [Image.new("RGB", (THUMBNAIL, THUMBNAIL), color) for color in ("white", "white", "black")]
    noisy = [Image.fromarray((240 + rng.normal(0, 3, (THUMBNAIL, THUMBNAIL, 3))).astype(np.uint8)) for _ in range(2)]
    images = blank + noisy
    pairs = np.array([(first, second) for second in range(len(images)) for first in range(second)])
    assert register(sketch_of(*images), pairs).max() < 0.3
    assert len(register(sketch_of(*images), pairs[:0])) == 0


def test_mismatched_keypoints_register_nothing():
    tile = Image.fromarray(TILE)
    sketch = sketch_of(tile, turned(tile, 10), turned(tile, -20))
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    assert register(sketch, pairs).min() > 0.6
    assert register(sketch, pairs, mismatched=True).max() < 0.4


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_jpeg_gives_the_thumbnail_that_decoding_all_of_it_gives(mode):
    data = io.BytesIO()
    Image.fromarray(TILE).resize((768, 768), Image.Resampling.BICUBIC).convert(mode).save(data, "JPEG", quality=95)
    whole = np.asarray(Image.open(data).convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    assert np.abs(decode_thumbnail(data.getvalue()).astype(int) - whole).mean() < 2


def test_a_damaged_jpeg_is_reported_as_such():
    data = io.BytesIO()
    Image.fromarray(TILE).save(data, "JPEG")
    with pytest.raises(UnreadableImage, match="damaged image"):
        decode_thumbnail(data.getvalue()[:4000])


PAIRS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda pair: pair[0] < pair[1]), unique=True)


@given(PAIRS)
def test_groups_never_reach_beyond_what_pairs_connect(pairs):
    group = join_pairs(np.array(pairs, np.intp).reshape(-1, 2), 12)
    left, right = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    connected = connected_components(coo_matrix((np.ones(len(pairs)), (left, right)), (12, 12)), directed=False)[1]
    assert all(len(set(connected[group == name])) == 1 for name in group)
    assert all(group[name] == name <= place for place, name in enumerate(group))


def test_one_pair_does_not_chain_two_groups_and_two_pairs_join_them():
    groups = [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)]
    assert join_pairs(np.array([*groups, (2, 3)]), 6).tolist() == [0, 0, 0, 3, 3, 3]
    assert join_pairs(np.array([*groups, (2, 3), (1, 4)]), 6).tolist() == [0] * 6
    assert join_pairs(np.array([(0, 1), (1, 2)]), 4).tolist() == [0, 0, 0, 3]


def test_drawn_siblings_are_found():
    source = open_synthetic(Synthetic(sources_per_class=3, siblings=4, size=96), 3)
    found = audited(source)
    assert found.agreement is not None
    assert found.agreement.adjusted_rand_index > 0.9
    assert found.agreement.precision == 1
    assert found.random_leak > 0.8
    assert max(compute_largest_shares(found.tiles).values()) <= 1 / 3
    assert all(pair.similarity >= found.threshold for pair in found.pairs)


def test_tiles_without_siblings_are_not_taken_for_any():
    found = audited(open_synthetic(Synthetic(sources_per_class=5, siblings=1, size=64), 1))
    assert found.pairs == ()
    assert found.random_leak == 0
    assert len({ref.group for ref in found.tiles}) == 25


@pytest.fixture(scope="module")
def tiles_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two cases per class, with each source tile three times; the last one is in the other class."""
    root = tmp_path_factory.mktemp("tiles")
    for label, first in (("benign", 0), ("malignant", 5)):
        (root / label).mkdir()
        for source in range(5):
            tile = Image.fromarray(render_tile("lung_aca", first + source, 0, size=224, seed=5))
            for place, image in enumerate((tile, turned(tile, 15))):
                image.save(root / label / f"case{source // 3}-{first + source}-{place}.png")
    twin = turned(Image.fromarray(render_tile("lung_aca", 0, 0, size=224, seed=5)), -10)
    twin.save(root / "malignant" / "case1-0-2.png")
    (root / "benign" / "broken.png").write_bytes(encode_png(TILE)[:5000])
    (root / "readme.txt").write_text("not in a class folder")
    return root


def test_what_was_found_serves_as_the_groups_of_a_data_set(tiles_folder, tmp_path):
    found = audited(open_data(str(tiles_folder)))
    assert set(found.rejected) == {"benign/broken.png", "readme.txt"}
    assert len(found.tiles) == 21
    assert len({ref.group for ref in found.tiles}) == 10
    across = [pair for pair in found.pairs if pair.first.label_name != pair.second.label_name]
    assert {pair.second.path for pair in across} == {"malignant/case1-0-2.png"}
    write_groups(found.tiles, tmp_path / "groups.csv")
    again = open_folder(Folder(path=str(tiles_folder), groups=str(tmp_path / "groups.csv")), 0)
    listed = {ref.path: ref.group for ref in again.list() if ref.group is not None}
    assert listed == {ref.path: ref.group for ref in found.tiles}


def test_cases_are_kept_together_and_pairs_between_them_merge_them(tiles_folder):
    found = audited(open_data(str(tiles_folder), group_pattern=r"^(case\d)"), by_name=True)
    assert found.agreement is None
    assert {ref.group for ref in found.tiles} == {"case0+case1"}
    assert found.cases["malignant/case1-0-2.png"] == "case1"


def test_merging_keeps_what_nothing_connects():
    tiles = [TileRef(name, "a", group) for name, group in zip("pqrst", "11233", strict=True)]
    merged = merge_groups(tiles, {"p": "x", "r": "x", "s": "y"})
    assert [ref.group for ref in merged] == ["x", "x", "x", "y", "y"]
    assert [ref.group for ref in merge_groups(tiles, {"q": "x"})] == ["x", "x", "2", "3", "3"]


def test_agreement_is_counted_over_pairs():
    tiles = [TileRef(name, "a", group) for name, group in zip("pqrstu", "112233", strict=True)]
    known = {"p": "A", "q": "A", "r": "A", "s": "B", "t": "C", "u": "C"}
    result = compare_groups(tiles, known, 0.5, seeds=4)
    assert result.precision == pytest.approx(2 / 3)  # pq and tu are true, of pq, rs and tu
    assert result.recall == pytest.approx(2 / 4)  # pq and tu are found, of pq, pr, qr and tu
    same = compare_groups([dataclasses.replace(ref, group=known[ref.path]) for ref in tiles], known, 0.5, seeds=4)
    assert (same.adjusted_rand_index, same.precision, same.recall, same.remaining_leak) == (1, 1, 1, 0)
    assert compare_groups(tiles[:2], known, 0.5, seeds=4).remaining_leak is None
    with pytest.raises(ValueError, match="name none of the 6 tiles"):
        compare_groups(tiles, {}, 0.5, seeds=4)


def test_the_result_does_not_depend_on_workers():
    source = open_synthetic(Synthetic(sources_per_class=2, siblings=3, size=64), 0)
    one, two = (audited(source, workers=workers) for workers in (1, 2))
    assert one == two


def test_processes_give_what_this_one_gives(monkeypatch):
    monkeypatch.setattr("raypipe.data.audit.sketch.LEAST_CHUNKS", 1)
    monkeypatch.setattr("raypipe.data.audit.sketch.CHUNK", 4)
    source = open_synthetic(Synthetic(sources_per_class=2, siblings=1, size=64), 0)
    paths = [ref.path for ref in source.list()]
    (one, read, _), (two, also, _) = (sketch_tiles(source, paths, workers, silent) for workers in (1, 2))
    assert read == also == paths
    assert all(np.array_equal(here, there) for here, there in zip(one, two, strict=True))


def test_fewer_than_two_images_are_nothing_to_compare(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"no file of the class folder a.*a/broken.png: not an image"):
        audited(open_data(str(tmp_path)))


@needs_real_tiles
def test_siblings_of_lc25000_are_found():
    folder = REAL_TILES / "lc25000"
    limited = LC25000(path=str(folder), groups=str(folder / "groups.csv"), per_class=60)
    found = audited(open_lc25000(limited, seed=0))
    assert found.agreement is not None
    assert found.agreement.adjusted_rand_index > 0.95
    assert found.agreement.remaining_leak is not None
    assert found.agreement.remaining_leak < 0.02
    assert max(compute_largest_shares(found.tiles).values()) < 0.2
    firsts = sorted({str(ref.group): place for place, ref in reversed(list(enumerate(found.tiles)))}.values())
    source = open_data(str(folder))
    sketch, _, _ = sketch_tiles(source, [found.tiles[place].path for place in firsts], 1, silent)
    alone: Siblings = find_siblings(sketch, 1, silent)
    assert len(alone.pairs) <= 0.01 * len(firsts)
    assert len({ref.group for ref in name_groups([found.tiles[place] for place in firsts], alone)}) >= len(firsts) - 2
