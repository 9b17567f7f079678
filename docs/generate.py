"""Write the documents that are generated from the package: `make docs`. A test fails while one of them is outdated."""

from pathlib import Path

from raypipe.report.glossary import glossary_markdown

ROOT = Path(__file__).parents[1]


def generated_documents() -> dict[Path, str]:
    """Return the text that each generated document should have, by its path."""
    return {ROOT / "docs" / "glossary.md": glossary_markdown()}


if __name__ == "__main__":
    for path, text in generated_documents().items():
        path.write_text(text)
