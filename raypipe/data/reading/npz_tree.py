"""An npz file of pictures in the layout of MedMNIST+ or Keras, as a tree with one file for each picture."""

import threading
import zipfile
import zlib
from collections.abc import Collection, MutableMapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy
from pyarrow import fs

from raypipe.data.reading.png import encode_png
from raypipe.data.reading.tree import UNREADABLE, FileEntry, explain_damage, resolve

SIDES = ("train", "val", "test")
NAMES = (("{}_images.npy", "{}_labels.npy"), ("x_{}.npy", "y_{}.npy"), ("X_{}.npy", "y_{}.npy"))
"""Names of the arrays of pictures and labels of a side: those of MedMNIST, and those that Keras made common."""
LARGEST = 2 * 2**30
"""Largest size of an array in bytes. It is unpacked into memory as a whole, because deflate cannot start in the
middle."""
PICTURES = 10_000_000
"""Largest number of pictures in an array. More are rejected from its header alone."""


class NpzTree:
    """Pictures of an npz file, named SIDE/NUMBER.png. They are encoded when they are read."""

    def __init__(self, location: str, filesystem: fs.FileSystem, root: str) -> None:
        self.location = location
        self._place = (location, filesystem, root)
        self._lock = threading.Lock()
        self._images: tuple[str, npt.NDArray[np.uint8]] | None = None
        try:
            self._archive = zipfile.ZipFile(filesystem.open_input_file(root))
        except OSError:
            raise
        except Exception as error:  # as for other damaged zip archives, see `ZipTree`
            raise OSError(f"{location}: not a readable npz file{explain_damage(filesystem, root, error)}") from error
        self._names = {
            side: (images.format(side), labels.format(side))
            for side in SIDES
            for images, labels in reversed(NAMES)  # so that the first of them counts
            if images.format(side) in self._archive.NameToInfo
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # An open archive cannot be sent to a worker, so each process opens its own.
        return NpzTree, self._place

    def list_files(self) -> list[FileEntry]:
        """List every picture, sorted by path. The size is 0, because it is unknown before the picture is encoded."""
        return sorted((FileEntry(path, 0, "") for side in SIDES for path in self.paths(side)), key=lambda e: e.path)

    def paths(self, side: str) -> list[str]:
        """Return the paths of one side's pictures, in the order of its labels.

        The list is empty if the file lacks the side.
        """
        return [f"{side}/{number:07}.png" for number in range(self._read_shape(side)[0] if self._has(side) else 0)]

    def labels(self) -> list[tuple[str, list[int]]]:
        """Return the labels of each side that the file has.

        Raises
        ------
        ValueError
            If the file has no side, or an array has an unexpected shape or type.
        """
        found = [(side, self._read_labels(side)) for side in SIDES if self._has(side)]
        if not found:
            names = ", ".join(sorted(self._archive.namelist())[:6]) or "nothing"
            raise ValueError(
                f"{self.location}: expected train_images.npy or x_train.npy and its like in the file, found {names}"
            )
        return found

    def read(self, path: str) -> bytes:
        """Return one picture as a PNG, or raise OSError."""
        side, slash, name = path.partition("/")
        number = name.removesuffix(".png")
        if not slash or not self._has(side) or not number.isdecimal() or f"{int(number):07}.png" != name:
            raise FileNotFoundError(f"{path}: not in {self.location}")
        with self._lock:
            try:
                if self._images is None or self._images[0] != side:
                    self._images = None  # freed before the next one is read: two at a time may be too large
                    self._images = (
                        side,
                        self._read_array(self._names[side][0], self._read_shape(side)).astype(np.uint8, copy=False),
                    )
            except ValueError as error:
                raise OSError(f"{path}: {error}") from error
            images = self._images[1]
        if int(number) >= len(images):
            raise FileNotFoundError(f"{path}: not in {self.location}")
        picture = images[int(number)]
        color = np.broadcast_to(np.atleast_3d(picture), (*picture.shape[:2], 3))
        return encode_png(np.ascontiguousarray(color))

    def compute_digests(self, paths: Collection[str], cache: MutableMapping[str, str] | None = None) -> dict[str, str]:  # noqa: ARG002
        """Return the CRC-32 and the size of each picture's array, with the picture's number.

        Both are in the archive's directory, so `cache` is not needed.
        """
        marks = {
            side: f"crc32:{about.CRC:08x}:{about.file_size}"
            for side in SIDES
            if self._has(side) and (about := self._archive.NameToInfo[self._names[side][0]])
        }
        found = {path: f"{marks[side]}:{path}" for path in paths if (side := path.partition("/")[0]) in marks}
        return {path: found.get(path, UNREADABLE) for path in paths}

    def _has(self, side: str) -> bool:
        return side in self._names

    def _read_shape(self, side: str) -> tuple[int, ...]:
        """Return the shape of one side's pictures from their header.

        Raises
        ------
        ValueError
            If the array does not hold 2D pictures of 8 bits.
        """
        name = self._names[side][0]
        with self._open(name) as file:
            shape, dtype = self._read_header(file, name)
        color = len(shape) == 4 and shape[3] in (1, 3)
        if not (len(shape) == 3 or color) or "3d" in self.location.rpartition("/")[2].split("_")[0]:
            raise ValueError(
                f"{self.location}: {name} has shape {shape}; expected (n, height, width), (n, height, width, 1) or "
                "(n, height, width, 3); of volumes, which are no tiles, save slices as pictures, and use `folder`"
            )
        if dtype != np.uint8:
            raise ValueError(f"{self.location}: {name} holds {dtype}; expected 8 bits a value")
        return shape

    def _read_labels(self, side: str) -> list[int]:
        pictures, name = self._names[side]
        if name not in self._archive.NameToInfo:
            raise ValueError(f"{self.location}: {pictures} has no {name} beside it")
        count = self._read_shape(side)[0]
        with self._open(name) as file:
            shape, dtype = self._read_header(file, name)
        if len(shape) == 2 and shape[0] == count and shape[1] > 1:
            return self._read_one_hot(name, shape)
        if shape not in ((count,), (count, 1)) or not np.issubdtype(dtype, np.integer):
            raise ValueError(f"{self.location}: {name} holds {dtype} of shape {shape}; expected {count} whole numbers")
        return [int(label) for label in self._read_array(name, shape).ravel()]

    def _read_one_hot(self, name: str, shape: tuple[int, ...]) -> list[int]:
        values = self._read_array(name, shape)
        chosen = values == 1
        if not ((chosen | (values == 0)).all() and (chosen.sum(1) == 1).all()):
            raise ValueError(
                f"{self.location}: {name} has {shape[1]} labels a picture; expected one, as a number or one-hot "
                "(chestmnist is made of ChestX-ray14, which `chest_xray14` reduces to classes)"
            )
        return [int(label) for label in chosen.argmax(1)]

    def _open(self, name: str) -> IO[bytes]:
        member = self._archive.NameToInfo[name]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(
                f"{self.location}: {name} is packed by zip's method {member.compress_type}; expected deflate"
            )
        if member.file_size > LARGEST:
            raise ValueError(
                f"{self.location}: {name} unpacks to {member.file_size:,} bytes, more than {LARGEST:,}; take a smaller "
                "size, or save its pictures with `python -m medmnist save` and use `folder`"
            )
        try:
            return self._archive.open(member)
        except (zipfile.BadZipFile, RuntimeError, OSError) as error:  # RuntimeError if it is encrypted
            raise ValueError(f"{self.location}: {name}: {error}; download it again") from error

    def _read_header(self, file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return the shape and type of an array. Nothing in it is executed, and arrays of objects are rejected."""
        try:
            version = npy.read_magic(file)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
            shape, fortran, dtype = read(file)
        except Exception as error:
            # Damaged headers make numpy raise nearly anything: ValueError, TokenError, zlib.error.
            raise ValueError(f"{self.location}: {name} is no array of numpy's ({error}); download it again") from error
        if dtype.hasobject or fortran or not shape or any(length < 0 for length in shape) or shape[0] > PICTURES:
            raise ValueError(f"{self.location}: {name} holds {dtype} of shape {shape}; expected numbers, row by row")
        return shape, dtype

    def _read_array(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return a whole array. No more of it is unpacked than its header states."""
        with self._open(name) as file:
            _, dtype = self._read_header(file, name)
            size = int(np.prod(shape, dtype=object)) * dtype.itemsize
            if size > self._archive.NameToInfo[name].file_size:
                raise ValueError(f"{self.location}: {name} is shorter than its shape {shape} says; download it again")
            try:
                data = file.read(size)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                raise ValueError(f"{self.location}: {name}: {error}; download it again") from error
        if len(data) < size:
            raise ValueError(f"{self.location}: {name} is cut short; download it again")
        return np.frombuffer(data, dtype).reshape(shape)


def open_npz_tree(location: str) -> NpzTree:
    """Open an npz file.

    Parameters
    ----------
    location
        See `raypipe.data.reading.tree.open_tree`.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    OSError
        If the file is not readable.
    """
    location, filesystem, root = resolve(location)
    if filesystem.get_file_info(root).type != fs.FileType.File:
        raise FileNotFoundError(f"{location}: expected an .npz file of MedMNIST+; found none")
    return NpzTree(location, filesystem, root)
