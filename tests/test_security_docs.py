"""The promises of docs/security.md, each tested by the test that it names."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [line for line in (ROOT / "docs" / "security.md").read_text().splitlines() if line.startswith("| ")][2:]


def named_in(row: str) -> list[tuple[str, str]]:
    """Return the tests that a row of the table names, as file and function."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)


def test_every_row_of_the_table_names_a_test() -> None:
    assert len(ROWS) > 20
    assert [row for row in ROWS if not named_in(row)] == []


@pytest.mark.parametrize("named", sorted({named for row in ROWS for named in named_in(row)}), ids="::".join)
def test_every_test_that_the_table_names_exists(named: tuple[str, str]) -> None:
    file, function = named
    module = ast.parse((ROOT / file).read_text())
    assert function in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}
    assert function.startswith("test_")


def test_every_rule_that_the_page_says_is_on_is_on() -> None:
    assert re.search(r'^select = \[.*"S"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
