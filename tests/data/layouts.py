"""Small trees in the layouts in which data sets were published, and the expected contents of each."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.base.settings import Settings
from raypipe.data.reading.png import encode_png
from raypipe.data.source import TileRef
from raypipe.data.sources import open_source
from raypipe.data.sources.areds import AREDS
from raypipe.data.sources.breakhis import SUBTYPES, BreakHis
from raypipe.data.sources.chaoyang import Chaoyang
from raypipe.data.sources.chest_xray14 import ChestXray14
from raypipe.data.sources.ebhi_seg import LABELS as EBHI_LABELS
from raypipe.data.sources.ebhi_seg import EBHISeg
from raypipe.data.sources.fundus import GRADES, Fundus
from raypipe.data.sources.lc25000 import LABELS as LC25000_LABELS
from raypipe.data.sources.lc25000 import LC25000
from raypipe.data.sources.medmnist import CLASSES, MedMNIST
from raypipe.data.sources.parquet import Parquet


def png(value: int) -> bytes:
    return encode_png(np.full((8, 8, 3), value, np.uint8))


def write(root: Path, files: dict[str, bytes], *, as_zip: bool) -> str:
    if as_zip:
        with zipfile.ZipFile(root / "tiles.zip", "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return str(root / "tiles.zip")
    for name, data in files.items():
        (root / "tiles" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "tiles" / name).write_bytes(data)
    return str(root / "tiles")


FOLDER_FILES = {
    "Polyp/GT1-1-400-001.jpg": png(20),
    "Polyp/GT2-1-400-001.jpg": png(21),
    "Normal/deep/er/GT1-1-400-001.jpg": png(22),
    "Normal/notes.jpg": png(23),
    ".git/config": b"git",
    "license.txt": b"CC BY",
}


@dataclass(frozen=True)
class Case:
    """A data set as it is published, and its expected contents."""

    name: str
    settings: Callable[[Path], Settings]
    labels: tuple[str, ...]
    tiles: dict[str, int]
    aside: int
    groups: dict[str, int]
    synthetic: bool = False
    restricted: bool = False
    official: dict[str, int] = field(default_factory=dict)


EBHI_FILES = {
    "EBHI-SEG/Adenocarcinoma/image/GT2012149-1-400-001.png": png(1),
    "EBHI-SEG/Adenocarcinoma/image/xcGT2012149-1-400-002.png": png(2),
    "EBHI-SEG/Adenocarcinoma/label/GT2012149-1-400-001.png": png(255),
    "EBHI-SEG/High-grade IN/image/GT2012150-1-400-001.png": png(3),
    "EBHI-SEG/Low-grade IN/image/GT2012151-1-400-001.png": png(4),
    "EBHI-SEG/Normal/image/GT2012152-1-400-001.png": png(5),
    "EBHI-SEG/Polyp/image/GT2012149-2-400-001.png": png(6),
    "EBHI-SEG/Serrated adenoma/image/GT2012154-1-400-001.png": png(7),
    "EBHI-SEG/readme.md": b"EBHI-Seg",
}
BREAKHIS = "BreaKHis_v1/histology_slides/breast"
BREAKHIS_FILES = {
    f"{BREAKHIS}/benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-001.png": png(1),
    f"{BREAKHIS}/benign/SOB/adenosis/SOB_B_A_14-22549AB/100X/SOB_B_A-14-22549AB-100-001.png": png(2),
    f"{BREAKHIS}/benign/SOB/phyllodes_tumor/SOB_B_PT_14-21998AB/40X/SOB_B_PT-14-21998AB-40-001.png": png(3),
    f"{BREAKHIS}/malignant/SOB/ductal_carcinoma/SOB_M_DC_14-13412/40X/SOB_M_DC-14-13412-40-001.png": png(4),
    f"{BREAKHIS}/malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/40X/SOB_M_LC-14-13412-40-001.png": png(5),
    f"{BREAKHIS}/README.txt": b"BreaKHis",
}
CHAOYANG_TRAIN = [
    {"label": 2, "name": "train/535940-IMG009x024-2.JPG"},
    {"label": 0, "name": "train/535940-IMG013x008-0.JPG"},
    {"label": 1, "name": "train/353042_4-IMG005x014-1.JPG"},
    {"label": 3, "name": "train/999999-IMG001x001-3.JPG"},
]
CHAOYANG_TEST = [{"label": 3, "name": "test/543645_3-IMG014x010-3.JPG"}]
CHAOYANG_IMAGES = {
    "chaoyang-data/train/535940-IMG009x024-2.JPG": png(1),
    "chaoyang-data/train/535940-IMG013x008-0.JPG": png(2),
    "chaoyang-data/train/353042_4-IMG005x014-1.JPG": png(3),
    "chaoyang-data/test/543645_3-IMG014x010-3.JPG": png(4),
    "chaoyang-data/test/unlisted.JPG": png(5),
}
CHAOYANG_FILES = CHAOYANG_IMAGES | {
    "chaoyang-data/train.json": json.dumps(CHAOYANG_TRAIN).encode(),
    "chaoyang-data/test.json": json.dumps(CHAOYANG_TEST).encode(),
}
CHEST_ENTRIES = """Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age
00000001_000.png,Cardiomegaly,0,1,57
00000001_001.png,Cardiomegaly|Emphysema,1,1,58
00000002_000.png,No Finding,0,2,80
00000003_000.png,Hernia,0,3,74
00000004_000.png,Mass|Nodule,0,4,82
00000099_000.png,No Finding,0,99,82
"""
CHEST_FILES = {
    "Data_Entry_2017.csv": CHEST_ENTRIES.encode(),
    "train_val_list.txt": b"00000001_000.png\n00000001_001.png\n00000002_000.png\n",
    "test_list.txt": b"00000003_000.png\r\n00000004_000.png\r\n00000099_000.png\r\n",
    "images_001/images/00000001_000.png": png(1),
    "images_001/images/00000001_001.png": png(2),
    "images_001/images/00000002_000.png": png(3),
    "images_002/images/00000003_000.png": png(4),
    "images_002/images/00000004_000.png": png(5),
    "images_002/images/00000005_000.png": png(6),
}
FUNDUS_FILES = {
    "trainLabels.csv": b"image,level\n10_left,0\n10_right,1\n13_left,2\n15_left,3\n15_right,4\n17_left,0\n",
    **{f"train/{name}.jpeg": png(place) for place, name in enumerate(
        ("10_left", "10_right", "13_left", "15_left", "15_right"))},
    "test/1_left.jpeg": png(9),
}  # fmt: skip
APTOS_FILES = {
    "train.csv": b"id_code,diagnosis\n000c1434d8d7,2\n001639a390f0,4\n0024cdab0c1e,1\n",
    **{f"train_images/{name}.png": png(place) for place, name in enumerate(
        ("000c1434d8d7", "001639a390f0", "0024cdab0c1e"))},
}  # fmt: skip
AREDS_FILES = {
    "early/51234 QUA F2 RS LE.jpg": png(1),
    "early/51234 04 F2 RE RS.jpg": png(2),
    "late/51235 QUA F2 RS LE.jpg": png(3),
}


def huggingface(features: dict[str, list[str]]) -> dict[bytes, bytes]:
    """Return the metadata that the library `datasets` writes about class and image columns into a file's schema."""
    about: dict[str, Any] = {name: {"names": names, "_type": "ClassLabel"} for name, names in features.items()}
    return {b"huggingface": json.dumps({"info": {"features": about | {"image": {"_type": "Image"}}}}).encode()}


def parquet(
    path: Path, images: list[Any], columns: dict[str, Any], features: dict[str, list[str]], rows_a_group: int = 2
) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if isinstance(images[0], dict) else pa.binary()
    table = pa.table({"image": pa.array(images, kind), **columns})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(huggingface(features) if features else None), path,
                   row_group_size=rows_a_group)  # fmt: skip


def image(value: int, name: str | None = None) -> dict[str, Any]:
    return {"bytes": png(value), "path": name}


def hub(root: Path) -> Parquet:
    """Write two splits as the hub serves them, with a row that has no class."""
    names = {"label": ["benign", "malignant"]}
    train = [image(1, "1-a.png"), image(2, "1-b.png"), image(3, "2-a.png"), image(4, "9-a.png")]
    parquet(root / "data" / "train-00000-of-00001.parquet", train, {"label": [0, 1, 1, -1]}, names)
    parquet(root / "data" / "test-00000-of-00001.parquet", [image(5, "3-a.png")], {"label": [0]}, names)
    (root / "data" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n")
    return Parquet(path=str(root / "data"), group_pattern=r"^(\d+)-", malignant=("malignant",))


def plain(root: Path) -> Parquet:
    """Write a single file with class names, a column of patients, and images as plain bytes."""
    columns = {"diagnosis": ["b", "a", "b"], "patient": ["p1", "p1", None]}
    parquet(root / "tiles.parquet", [png(1), png(2), png(3)], columns, {})
    return Parquet(path=str(root / "tiles.parquet"), label="diagnosis", group="patient", restriction="ours alone")


def lc25000_hub(root: Path) -> LC25000:
    """Write LC25000 by organ and label, and its groups by the names of the images."""
    features = {"organ": ["lung", "colon"], "label": ["benign", "adenocarcinomas", "squamous carcinomas"]}
    images = [image(1, "lungn1.jpeg"), image(2, "lungaca1.jpeg"), image(3, "lungscc1.jpeg"), image(4, "colonn1.jpeg"),
              image(5, "colonca1.jpeg")]  # fmt: skip
    parquet(root / "train-0.parquet", images, {"organ": [0, 0, 0, 1, 1], "label": [0, 1, 2, 0, 1]}, features)
    (root / "groups.csv").write_text("filename,label,group\nlungn1.jpeg,lung_n,lung_n:1\n")
    return LC25000(path=str(root / "train-0.parquet"), groups=str(root / "groups.csv"))


def npz(path: Path, **arrays: Any) -> str:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.write_bytes(buffer.getvalue())
    return str(path)


def pictures(count: int, *shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def labeled(*labels: int) -> Any:
    return np.array(labels, np.uint8)[:, None]


def medmnist(root: Path, *shape: int) -> MedMNIST:
    path = npz(
        root / "pneumoniamnist_64.npz",
        train_images=pictures(3, *shape), train_labels=labeled(0, 1, 0),
        val_images=pictures(1, *shape), val_labels=labeled(1),
        test_images=pictures(2, *shape), test_labels=labeled(0, 1),
    )  # fmt: skip
    return MedMNIST(path=path)


EBHI_TILES = {**dict.fromkeys(EBHI_LABELS, 1), "Adenocarcinoma": 2}
EBHI_GROUPS = {"2012149": 3, "2012150": 1, "2012151": 1, "2012152": 1, "2012154": 1}
BREAKHIS_SUBTYPES = {"adenosis": 1, "phyllodes_tumor": 1, "ductal_carcinoma": 1, "lobular_carcinoma": 1}
CHAOYANG_LABELS = ("normal", "serrated", "adenocarcinoma", "adenoma")
PUBLISHED_LAYOUTS = [
    Case("ebhi_seg zip", lambda root: EBHISeg(path=write(root, EBHI_FILES, as_zip=True)), EBHI_LABELS,
         EBHI_TILES, 1, EBHI_GROUPS),
    Case("ebhi_seg directory", lambda root: EBHISeg(path=write(root, EBHI_FILES, as_zip=False) + "/EBHI-SEG"),
         EBHI_LABELS, EBHI_TILES, 1, EBHI_GROUPS),
    Case("breakhis", lambda root: BreakHis(path=write(root, BREAKHIS_FILES, as_zip=False)), ("benign", "malignant"),
         {"benign": 3, "malignant": 2}, 1, {"14-22549AB": 2, "14-21998AB": 1, "14-13412": 2}),
    Case("breakhis subtypes at 40x",
         lambda root: BreakHis(path=write(root, BREAKHIS_FILES, as_zip=True), magnification=40, classes="subtypes"),
         tuple(SUBTYPES.values()), BREAKHIS_SUBTYPES, 1, {"14-22549AB": 1, "14-21998AB": 1, "14-13412": 2}),
    Case("chaoyang", lambda root: Chaoyang(path=write(root, CHAOYANG_FILES, as_zip=False)), CHAOYANG_LABELS,
         {"adenocarcinoma": 1, "normal": 1, "serrated": 1, "adenoma": 1}, 1, {"535940": 2, "353042": 1, "543645": 1},
         restricted=True, official={"train": 3, "test": 1}),
    Case("chaoyang zip", lambda root: Chaoyang(path=write(root, CHAOYANG_FILES, as_zip=True)), CHAOYANG_LABELS,
         dict.fromkeys(CHAOYANG_LABELS, 1), 1, {"535940": 2, "353042": 1, "543645": 1},
         restricted=True, official={"train": 3, "test": 1}),
    Case("chest_xray14", lambda root: ChestXray14(path=write(root, CHEST_FILES, as_zip=False)), ("normal", "finding"),
         {"normal": 1, "finding": 4}, 1, {"00000001": 2, "00000002": 1, "00000003": 1, "00000004": 1},
         official={"train": 3, "test": 2}),
    Case("chest_xray14 three classes",
         lambda root: ChestXray14(path=write(root, CHEST_FILES, as_zip=True),
                                  findings={"heart": ["Cardiomegaly"], "lung": ["Emphysema", "Mass"],
                                            "none": ["No Finding"]}),
         ("heart", "lung", "none"), {"heart": 1, "lung": 1, "none": 1}, 2,
         {"00000001": 1, "00000002": 1, "00000004": 1}, official={"train": 2, "test": 1}),
    Case("fundus", lambda root: Fundus(path=write(root, FUNDUS_FILES, as_zip=False)), GRADES,
         dict.fromkeys(GRADES, 1), 1, {"10": 2, "13": 1, "15": 2}, restricted=True),
    Case("fundus aptos", lambda root: Fundus(path=write(root, APTOS_FILES, as_zip=True), classes="referable"),
         ("not_referable", "referable"), {"not_referable": 1, "referable": 2}, 0, {}, restricted=True),
    Case("areds", lambda root: AREDS(path=write(root, AREDS_FILES, as_zip=False)), ("early", "late"),
         {"early": 2, "late": 1}, 0, {"51234": 2, "51235": 1}, restricted=True),
    Case("parquet of the hub", hub, ("benign", "malignant"), {"benign": 2, "malignant": 2}, 1,
         {"1": 2, "2": 1, "3": 1}, official={"train": 3, "test": 1}),
    Case("parquet file", plain, ("a", "b"), {"a": 1, "b": 2}, 0, {"p1": 2}, restricted=True),
    Case("lc25000 parquet", lc25000_hub, LC25000_LABELS, dict.fromkeys(LC25000_LABELS, 1), 0, {"lung_n:1": 1}),
    Case("medmnist in gray", lambda root: medmnist(root, 28, 28), CLASSES["pneumoniamnist"],
         {"normal": 3, "pneumonia": 3}, 0, {}, official={"train": 4, "test": 2}),
    Case("medmnist in color", lambda root: medmnist(root, 28, 28, 3), CLASSES["pneumoniamnist"],
         {"normal": 3, "pneumonia": 3}, 0, {}, official={"train": 4, "test": 2}),
]  # fmt: skip


def list_tiles(settings: Settings) -> list[TileRef]:
    """Return the files of a data set."""
    return list(open_source(settings, seed=0).list())
