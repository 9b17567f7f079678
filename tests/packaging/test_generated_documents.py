"""Generated documents, which must equal those that the package would generate now."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_generated_documents_are_up_to_date() -> None:
    documents = runpy.run_path(str(ROOT / "docs" / "generate.py"))["generated_documents"]()
    outdated = [path.name for path, text in documents.items() if path.read_text() != text]
    assert not outdated, f"{outdated} differ from what the package says: run `make docs`"
