"""The command `raypipe init`: whatever the data set, the file that it writes is valid at once."""

import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from raypipe.data.source import TileRef
from raypipe.execution.starter.look import find_pattern
from raypipe.experiment.load import load_experiment
from tests.cli.conftest import Command

RANDOM = np.random.default_rng(0)


def picture(size: int = 40) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 255, (size, size, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def make_folder(folder: Path, names: str) -> Path:
    for label in ("benign", "lung_aca"):
        (folder / label).mkdir(parents=True)
        for number in range(16):
            name = names.format(label=label, case=label[0] + str(number // 2), number=number)
            (folder / label / name).write_bytes(picture())
    return folder


def make_parquet(folder: Path) -> Path:
    rows = [
        {"image": {"bytes": picture(), "path": f"{n}.png"}, "labels": "ab"[n % 2], "patient_id": f"p{n // 4}"}
        for n in range(40)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "tiles.parquet")
    return folder / "tiles.parquet"


def make_npz(folder: Path) -> Path:
    folder.mkdir()
    sides = {"train": 30, "val": 6, "test": 12}
    images = {f"{side}_images": RANDOM.integers(0, 255, (n, 28, 28, 3), dtype=np.uint8) for side, n in sides.items()}
    labels = {f"{side}_labels": (np.arange(n) % 3)[:, None] for side, n in sides.items()}
    np.savez(folder / "mine.npz", **images, **labels)
    return folder / "mine.npz"


def make_csv(folder: Path) -> Path:
    make_folder(folder, "{label}_{number}.png")
    rows = [f"{label}/{label}_{n}.png,{label}{n // 2}" for label in ("benign", "lung_aca") for n in range(16)]
    (folder / "groups.csv").write_text("\n".join(["filename,group", *rows]))
    return folder / "groups.csv"


def make_zip(folder: Path) -> Path:
    make_folder(folder / "tiles", "{label}_{number}.png")
    return Path(shutil.make_archive(str(folder / "tiles"), "zip", folder / "tiles"))


def make_table(
    folder: Path,
    header: str = "path,label,-,-",
    delimiter: str = ",",
    encoding: str = "utf-8",
    *,
    absolute: bool = False,
    zipped: bool = False,
) -> Path:
    """Write images without class folders, and a CSV with the columns image, class, group and split; "-" is left out."""
    images = folder / "pictures"
    images.mkdir(parents=True)
    columns = [place for place, name in enumerate(header.split(delimiter)) if name != "-"]
    lines = [header.split(delimiter)]
    for number in range(32):
        path = images / f"img{number:03}.png"
        path.write_bytes(picture())
        name = str(path) if absolute else f"pictures/{path.name}"
        lines.append([name, "ab"[number // 2 % 2], f"P{number // 2}", ("Train", "val", "TEST")[number % 3]])
    if zipped:
        shutil.make_archive(str(folder / "all"), "zip", folder, "pictures")
        shutil.rmtree(images)
    text = "\n".join(delimiter.join(line[place] for place in columns) for line in lines)
    (folder / "meta.csv").write_text(text, encoding=encoding)
    return folder / "meta.csv"


@pytest.mark.parametrize(
    ("make", "split", "source"),
    [
        (lambda folder: make_folder(folder, "patient-{case}_tile{number}.png"), "group", "folder"),
        (lambda folder: make_folder(folder, "{label}_{number}.png"), "paper", "folder"),
        (make_parquet, "group", "parquet"),
        (make_npz, "official", "medmnist"),
        (make_csv, "group", "folder"),
        (make_zip, "paper", "folder"),
        (make_table, "paper", "csv"),
        (lambda folder: make_table(folder, "Image ID;Diagnosis;Patient ID;Split", ";", "utf-16"), "group", "csv"),
        (lambda folder: make_table(folder, "file\tdx\t-\tset", "\t", absolute=True), "official", "csv"),
        (lambda folder: make_table(folder, "bild|befund|-|-", "|", zipped=True), "paper", "csv"),
    ],
    ids=[
        "cases",
        "no groups",
        "Parquet",
        "npz",
        "CSV of groups",
        "zip",
        "CSV",
        "UTF-16",
        "absolute paths",
        "zip and CSV",
    ],
)
def test_the_written_file_is_valid(make: object, split: str, source: str, cli: Command, tmp_path: Path) -> None:
    place = make(tmp_path / "my data: #1")  # type: ignore[operator]
    done = cli("init", str(place), "--out", "first.yaml", "--no-estimate", "--no-audit")
    assert done.code == 0, done.err
    assert "Classes: " in done.out
    checked = cli("validate", "first.yaml")
    assert checked.code == 0, checked.err
    experiment = load_experiment(tmp_path / "first.yaml")
    assert experiment.tiles.split == (split,)
    assert experiment.data.source == source  # type: ignore[attr-defined]
    assert experiment.tiles.size == (32 if source == "medmnist" else 40)
    assert experiment.evaluation.checks is not None
    assert experiment.evaluation.checks.eps == pytest.approx(8 / 255)


def test_nothing_is_overwritten_without_force(cli: Command, tmp_path: Path) -> None:
    place = make_npz(tmp_path / "data")
    (tmp_path / "first.yaml").write_text("mine")
    refused = cli("init", str(place), "--out", "first.yaml", "--no-estimate")
    assert refused.code == 2
    assert "first.yaml: exists; give another --out, or --force" in refused.err
    assert (tmp_path / "first.yaml").read_text() == "mine"
    assert "Replaced: first.yaml" in cli("init", str(place), "--out", "first.yaml", "--no-estimate", "--force").out


def test_what_is_no_data_set_is_an_error_and_leaves_no_file(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    for place, message in (
        ("empty", "expected at least two class folders"),
        ("odd.csv", "no column has the paths of images; found a, b"),
        ("no", "not found"),
    ):
        done = cli("init", place, "--out", "first.yaml")
        assert done.code == 2
        assert message in done.err
    assert not (tmp_path / "first.yaml").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/0.png,a\na/1.png,a\nb/0.png,b\n", "its first row names the image a/0.png: expected a header"),
        ("path,label\n", "expected a header and a row for each image, found no rows"),
        ("", "found no rows"),
    ],
)
def test_a_csv_without_a_header_or_rows_is_refused(text: str, message: str, cli: Command, tmp_path: Path) -> None:
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    (tmp_path / "tiles.csv").write_text(text)
    done = cli("init", "tiles.csv", "--out", "first.yaml", "--no-estimate")
    assert done.code == 2
    assert message in done.err


def test_a_column_named_as_a_file_is_a_header_if_its_name_is_usual(cli: Command, tmp_path: Path) -> None:
    for name in ("image", "a", "b", "c"):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{name}.png")
    (tmp_path / "tiles.csv").write_text("image,label\na,x\nb,y\nc,x\nimage,y\n")
    done = cli("init", "tiles.csv", "--out", "first.yaml", "--no-estimate")
    assert done.code == 0, done.err
    assert "Classes: x 2, y 2." in done.out


def test_a_csv_of_zeros_and_ones_has_a_column_for_each_class(cli: Command, tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        Image.fromarray(RANDOM.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / f"ISIC_{number}.png")
        rows.append(f"ISIC_{number},{float(number < 4)},{float(number >= 4)},0.0")
    (tmp_path / "truth.csv").write_text("\n".join(["image,MEL,NV,UNK", *rows]))
    done = cli("init", "truth.csv", "--out", "first.yaml", "--no-estimate")
    assert done.code == 0, done.err
    assert yaml.safe_load((tmp_path / "first.yaml").read_text())["data"]["label"] == ["MEL", "NV", "UNK"]
    assert "Classes: MEL 4, NV 4." in done.out


def test_a_class_in_the_name_is_no_case() -> None:
    refs = [TileRef(f"{label}/{label}_{n}.png", label, None) for label in ("a", "b") for n in range(20)]
    assert find_pattern(refs) is None
    refs = [TileRef(f"{label}/TCGA-AA-{n // 4:04}-01_{n}.png", label, None) for label in ("a", "b") for n in range(40)]
    assert find_pattern(refs) == r"(TCGA-\w{2}-\w{4})"
