"""Files that are often saved in place of another, recognized by their first bytes."""

BEGINNING = 512
"""Number of bytes that recognize a file."""
PAGES = {
    b"version https://git-lfs": "it is a Git LFS pointer and not the file itself: fetch that with `git lfs pull`",
    b"<": "it is a web page and not the file itself: use the address behind the page's download button",
    b'{"': "it is JSON and not the file itself, perhaps a server's answer: look into it, and fetch the file again",
}
"""Beginnings of texts, and what to do."""
PACKED = {
    b"\x1f\x8b": "gzip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
}
"""Beginnings of packed files, and the name of their format."""
TAR_PLACE, TAR_MARK = 257, b"ustar"
LENGTH = bytes(8)
"""Length at the beginning of a safetensors file, whose last bytes are zero; no text has such bytes."""


def describe_other_file(beginning: bytes) -> str | None:
    """Return what a file is instead of a model or a data set, and the remedy, for the end of a message.

    Parameters
    ----------
    beginning
        First `BEGINNING` bytes of the file, or all of a shorter one.

    Returns
    -------
    str or None
        None if the file is none that is known.
    """
    text = beginning.lstrip()
    if not text:
        return "it is empty; fetch it again"
    if b"\0" not in text[: len(LENGTH)]:
        for known, remedy in PAGES.items():
            if text.startswith(known):
                return remedy
    name = next((name for known, name in PACKED.items() if beginning.startswith(known)), None)
    if beginning[TAR_PLACE:].startswith(TAR_MARK):
        name = "tar"
    return f"it is packed as {name}: unpack it first" if name else None
