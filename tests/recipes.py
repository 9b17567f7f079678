"""The examples of CONTRIBUTING.md: files of a toy attack, a toy defense and a toy data set."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECIPES = (ROOT / "CONTRIBUTING.md").read_text()


def read_example(path: str) -> str:
    """Return the text of the example file that CONTRIBUTING.md shows for a path."""
    (text,) = re.findall(rf"```python\n# {re.escape(path)}\n(.*?)```", RECIPES, re.DOTALL)
    return str(text)


def read_entry(registry: str) -> str:
    """Return the expression that CONTRIBUTING.md adds to a registry."""
    (entry,) = re.findall(rf"add\s+`([\w.]+)`\s+to\s+`{registry}`", RECIPES)
    return str(entry)
