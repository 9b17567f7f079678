"""Text from outside: decoded, and made safe to show."""

import codecs


def decode_text(data: bytes, location: str) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with its mark, which Excel and PowerShell write.

    Raises
    ------
    ValueError
        If it is in another encoding.
    """
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{location}: expected UTF-8 text ({error}); save it as UTF-8") from error


def escape_controls(text: str) -> str:
    """Return a text with control characters escaped, so that names cannot control a terminal or break a file."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
