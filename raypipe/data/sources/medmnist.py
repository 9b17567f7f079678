"""MedMNIST+: small pictures from many fields of medicine, one npz file for each data set and size.

The source is Yang et al. 2023, Scientific Data 10:41; version 3, doi:10.5281/zenodo.10519652.

A file holds train_images, train_labels, val_images, val_labels, test_images and test_labels. Its pictures are (n,
height, width) in gray or (n, height, width, 3) in color, 8 bits; labels are (n, 1). In a file of your own the names may
be those of Keras, x_train and y_train, and the labels one-hot. Two kinds are rejected with a reason: the 3D sets,
because a volume is not a tile, and chestmnist, which has 14 labels for each picture. No patient is named, so only the
publishers know what their split keeps apart.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field

from raypipe.data.class_choice import ClassChoice
from raypipe.data.published import Published, RemoteFile
from raypipe.data.reading.listed import ListedSource
from raypipe.data.reading.npz_tree import NpzTree, open_npz_tree
from raypipe.data.source import DataSet, Source, TileRef

MOST_CLASSES = 1000
"""Largest number of classes of a file under another name. More are no classes, but values."""
SIZES = ("", "_64", "_128", "_224")
"""Suffix of the file name for each height and width. 28 pixels have none."""

_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)
"""Classes of the three sets of organs, which show the same scans in three views."""
CLASSES: dict[str, tuple[str, ...]] = {
    "pathmnist": (
        "adipose",
        "background",
        "debris",
        "lymphocytes",
        "mucus",
        "smooth muscle",
        "normal colon mucosa",
        "cancer-associated stroma",
        "colorectal adenocarcinoma epithelium",
    ),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma",
        "basal cell carcinoma",
        "benign keratosis-like lesions",
        "dermatofibroma",
        "melanoma",
        "melanocytic nevi",
        "vascular lesions",
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "retinamnist": ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
    "breastmnist": ("malignant", "normal, benign"),
    "bloodmnist": (
        "basophil",
        "eosinophil",
        "erythroblast",
        "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    ),
    "tissuemnist": (
        "Collecting Duct, Connecting Tubule",
        "Distal Convoluted Tubule",
        "Glomerular endothelial cells",
        "Interstitial endothelial cells",
        "Leukocytes",
        "Podocytes",
        "Proximal Tubule Segments",
        "Thick Ascending Limb",
    ),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
}
"""Class names by data set, in the order of their numbers, from the package medmnist 3.0.2."""

CHECKSUMS: dict[str, tuple[str, str, str, str]] = {
    "pathmnist": (
        "a8b06965200029087d5bd730944a56c1",
        "55aa9c1e0525abe5a6b9d8343a507616",
        "ac42d08fb904d92c244187169d1fd1d9",
        "2c51a510bcdc9cf8ddb2af93af1eadec",
    ),
    "dermamnist": (
        "0744692d530f8e62ec473284d019b0c7",
        "b70a2f5635c6199aeaa28c31d7202e1f",
        "2defd784463fa5243564e855ed717de1",
        "8974907d8e169bef5f5b96bc506ae45d",
    ),
    "octmnist": (
        "c68d92d5b585d8d81f7112f81e2d0842",
        "e229e9440236b774d9f0dfef9d07bdaf",
        "0a97e76651ace45c5d943ee3f65b63ae",
        "abc493b6d529d5de7569faaef2773ba3",
    ),
    "pneumoniamnist": (
        "28209eda62fecd6e6a2d98b1501bb15f",
        "8f4eceb4ccffa70c672198ea285246c6",
        "05b46931834c231683c68f40c47b2971",
        "d6a3c71de1b945ea11211b03746c1fe1",
    ),
    "retinamnist": (
        "bd4c0672f1bba3e3a89f0e4e876791e4",
        "afda852cc34dcda56f86ad2b2457dbcc",
        "e48e916a24454daf90583d4e6efb1a18",
        "eae7e3b6f3fcbda4ae613ebdcbe35348",
    ),
    "breastmnist": (
        "750601b1f35ba3300ea97c75c52ff8f6",
        "742edef2a1fd1524b2efff4bd7ba9364",
        "363e4b3f8d712e9b5de15470a2aaadf1",
        "b56378a6eefa9fed602bb16d192d4c8b",
    ),
    "bloodmnist": (
        "7053d0359d879ad8a5505303e11de1dc",
        "2b94928a2ae4916078ca51e05b6b800b",
        "adace1e0ed228fccda1f39692059dd4c",
        "b718ff6835fcbdb22ba9eacccd7b2601",
    ),
    "tissuemnist": (
        "ebe78ee8b05294063de985d821c1c34b",
        "123ece2eba09d0aa5d698fda57103344",
        "61b955355d7425a89687b06cca3ce0c2",
        "b077128c4a949f0a4eb01517f9037b9c",
    ),
    "organamnist": (
        "68e3f8846a6bd62f0c9bf841c0d9eacc",
        "2dcccc29b88e6da5a01161ef20cda288",
        "eeae80d0a227a8d099027e1b3cfd3b60",
        "50747347e05c87dd3aaf92c49f9f3170",
    ),
    "organcmnist": (
        "b9ceb9546e10131b32923c5bbeaea2b1",
        "3ce34a8724ea6f548e6db4744d03b6a9",
        "773c1f009daa3fe5d9a2a201b2a7ed94",
        "050f5e875dc056f6768abf94ec9995d1",
    ),
    "organsmnist": (
        "9ab87b696fb54e2a387ebe992d6ed5f1",
        "53a6d115339d874c25e309a994ff46d3",
        "ded0c5fa01a95dc4978b956f613e9b8e",
        "b354719e553fbbb2513d5533f52a4cb1",
    ),
}
"""MD5 of the file of each of `SIZES`, by data set, from the same package."""

NON_COMMERCIAL = "dermamnist"
"""Data set made from HAM10000, which forbids commercial use."""

PUBLISHED = Published(
    title="MedMNIST+, many kinds of medicine",
    layout="one npz file: train_images, train_labels, val_..., test_...",
    groups="none are published: take tiles.split official",
    license="CC BY 4.0; dermamnist: CC BY-NC 4.0",
    where="https://doi.org/10.5281/zenodo.10519652",
    files=tuple(
        RemoteFile(
            f"{name}{size}.npz",
            f"https://zenodo.org/records/10519652/files/{name}{size}.npz?download=1",
            f"md5:{checksum}",
            license="CC BY-NC 4.0" if name == NON_COMMERCIAL else "CC BY 4.0",
            asks=name == NON_COMMERCIAL,
        )
        for name, checksums in CHECKSUMS.items()
        for size, checksum in zip(SIZES, checksums, strict=True)
    ),
)


class MedMNIST(ClassChoice):
    """Settings of a file of MedMNIST+.

    Parameters
    ----------
    path
        The npz file, a local path or a URI. Its name identifies the data set and therefore the class names. Under
        another name the classes are the numbers that occur.
    per_class
        Number of pictures of each class to keep. None keeps all.
    malignant
        Names of the cancer classes.
    """

    source: Literal["medmnist"] = "medmnist"
    path: str
    per_class: int | None = Field(default=None, ge=1)
    malignant: tuple[str, ...] = ()


def open_medmnist(settings: MedMNIST, seed: int) -> Source:
    """Open a file of MedMNIST+.

    Its published split is ``tiles.split: official``. Validation pictures are training tiles.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    OSError
        If the file is not a readable npz file.
    ValueError
        If the file does not hold 2D pictures with one label each, or if `settings.malignant` names an unknown class.
    """
    tree = open_npz_tree(settings.path)
    numbers = sorted({label for _, found in tree.labels() for label in found})
    name = PurePosixPath(settings.path).stem.split("_")[0]
    known = CLASSES.get(name)
    names = dict(enumerate(known)) if known else {number: str(number) for number in numbers}
    if len(names) < 2 or (numbers and (numbers[0] < 0 or not names.keys() >= set(numbers))):
        raise ValueError(
            f"{tree.location}: labels run from {min(numbers, default='none')} to {max(numbers, default='none')}; "
            f"expected {f'0..{len(known) - 1}, the classes of {name}' if known else 'two numbers or more, from 0 on'}"
        )
    if len(names) > MOST_CLASSES:
        raise ValueError(f"{tree.location}: {len(names)} different labels; expected {MOST_CLASSES} classes or fewer")
    labels = tuple(names.values())
    return ListedSource(
        tree=tree,
        labels=labels,
        list_refs=partial(_list_refs, tree, names),
        per_class=settings.per_class,
        seed=seed,
        malignant=settings.malignant,
    )


DATA_SET = DataSet(MedMNIST, open_medmnist, PUBLISHED)


def _list_refs(tree: NpzTree, names: Mapping[int, str]) -> list[TileRef]:
    return [
        TileRef(path, names[number], None, official="test" if side == "test" else "train")
        for side, numbers in tree.labels()
        for path, number in zip(tree.paths(side), numbers, strict=True)
    ]
