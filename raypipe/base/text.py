"""Text from outside, made safe to show."""


def escape_controls(text: str) -> str:
    """Return a text with control characters escaped, so that names cannot control a terminal or break a file."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
