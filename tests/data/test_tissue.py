from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn

from raypipe.data.tissue import LABELS, render_tile
from raypipe.data.tissue.tiles import _draw_source_field

Tiles = NDArray[np.uint8]
Targets = NDArray[np.int64]


def color_shares(tiles: Tiles) -> NDArray[np.float64]:
    bins = (tiles // 32).astype(np.int64) @ np.array([64, 8, 1])
    return np.stack([np.bincount(tile.ravel(), minlength=512) for tile in bins]) / bins[0].size


def test_the_labels_are_those_of_lc25000_in_order():
    assert LABELS == ("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc")


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("size", [32, 49, 224, 240])
def test_a_tile_is_8_bit_rgb_of_the_size_asked_for(label: str, size: int):
    tile = render_tile(label, 0, 0, size=size, seed=0)
    assert tile.shape == (size, size, 3)
    assert tile.dtype == np.uint8
    assert tile.std() > 10


@pytest.mark.parametrize("label", LABELS)
def test_a_tile_depends_on_its_arguments_only(label: str):
    first = render_tile(label, 3, 1, size=48, seed=5)
    _draw_source_field.cache_clear()
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    render_tile(label, 4, 0, size=48, seed=5)
    assert np.array_equal(first, render_tile(label, 3, 1, size=48, seed=5))
    for other in (render_tile(label, 4, 1, size=48, seed=5), render_tile(label, 3, 1, size=48, seed=6)):
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("label", LABELS)
def test_siblings_are_different_views_of_one_source(label: str):
    tiles = np.stack([render_tile(label, source, k, size=64, seed=0) for source in range(6) for k in range(3)])
    assert len({tile.tobytes() for tile in tiles}) == len(tiles)
    shares = color_shares(tiles).reshape(6, 3, -1)
    apart = np.abs(shares[:, :, None, None] - shares[None, None]).sum(-1)
    same = np.eye(6, dtype=bool)[:, None, :, None] & ~np.eye(3, dtype=bool)[None, :, None, :]
    different = ~np.eye(6, dtype=bool)[:, None, :, None] & np.ones((1, 3, 1, 3), dtype=bool)
    assert apart[same].mean() < 0.6 * apart[different].mean()


@pytest.mark.parametrize("label", LABELS)
def test_turned_tiles_have_no_empty_corners(label: str):
    for sibling in range(12):
        tile = render_tile(label, 1, sibling, size=96, seed=0)
        corners = [
            tile[rows, columns] for rows in (slice(4), slice(-4, None)) for columns in (slice(4), slice(-4, None))
        ]
        assert min(int(corner.sum(axis=-1).min()) for corner in corners) > 60


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(("large", "tolerance"), [(224, 6), (320, 25)])
def test_a_tile_shows_the_same_tissue_at_every_size(label: str, large: int, tolerance: float):
    small = render_tile(label, 2, 1, size=64, seed=0).astype(float)
    picture = Image.fromarray(render_tile(label, 2, 1, size=large, seed=0))
    shrunk = np.asarray(picture.resize((64, 64), Image.Resampling.BOX)).astype(float)
    assert np.abs(small - shrunk).mean() < tolerance
    assert np.corrcoef(small.ravel(), shrunk.ravel())[0, 1] > 0.8


def test_an_unknown_label_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'liver'.*colon_aca, colon_n, lung_aca, lung_n, lung_scc"):
        render_tile("liver", 0, 0, size=64, seed=0)


def test_a_tile_too_small_to_show_tissue_is_refused():
    with pytest.raises(ValueError, match="size = 31: expected at least 32"):
        render_tile("lung_n", 0, 0, size=31, seed=0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads on shared cores wait for each other
    yield
    torch.set_num_threads(before)


def collection(sources: range, siblings: int) -> tuple[Tiles, Targets]:
    keys = [(label, source, sibling) for label in LABELS for source in sources for sibling in range(siblings)]
    tiles = np.stack([render_tile(*key, size=48, seed=1) for key in keys])
    return tiles, np.array([LABELS.index(label) for label, _, _ in keys])


def linear_accuracy(train: NDArray[np.float64], test: NDArray[np.float64], known: Targets, hidden: Targets) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with threadpool_limits(1):  # in products this small, threads on shared cores wait for each other for minutes
        return float(model.fit(train, known).score(test, hidden))


def cnn_accuracy(train: Tiles, test: Tiles, known: Targets, hidden: Targets) -> float:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, len(LABELS)))
    images, unseen = (torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 127.5 - 1 for tiles in (train, test))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for _ in range(10):
        for batch in torch.randperm(len(known))[: len(known) // 16 * 16].split(16):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), torch.from_numpy(known)[batch]).backward()
            optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        return float((model(unseen).argmax(1).numpy() == hidden).mean())


@pytest.mark.usefixtures("one_thread")
def test_shape_and_texture_tell_the_classes_apart_and_color_does_not():
    train, known = collection(range(12), 3)
    test, hidden = collection(range(20, 28), 2)
    cnn = cnn_accuracy(train, test, known, hidden)
    histogram = linear_accuracy(np.sqrt(color_shares(train)), np.sqrt(color_shares(test)), known, hidden)
    mean = linear_accuracy(train.mean(axis=(1, 2)), test.mean(axis=(1, 2)), known, hidden)
    print(f"CNN {cnn:.3f}, histogram {histogram:.3f}, mean color {mean:.3f}")
    assert 0.88 <= cnn <= 1.0
    assert histogram <= cnn - 0.10
    assert mean < 0.6
