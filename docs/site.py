"""Prepare the pages of the documentation site: `make site` builds it from them.

The documents of the repository link to each other and to files by relative paths, so that they work on GitHub. The
site has its pages in one folder. Links between pages are adapted, images are copied, and links to other files lead to
GitHub.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GITHUB = "https://github.com/raypipe/raypipe/blob/main/"
LINK = re.compile(r"(?P<text>!?\[[^\]]*\])\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")
IMAGES = {".png", ".svg"}
ELSEWHERE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "dashboards/README.md": "monitoring.md",
    "benchmarks/results/README.md": "validation.md",
}
"""Documents that are not in docs/, and the name of the page that each one becomes."""


def pages() -> dict[Path, str]:
    """Return the name of the page that each document becomes."""
    documents = {path: path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    return documents | {ROOT / name: page for name, page in ELSEWHERE.items()}


def page_text(document: Path, names: dict[Path, str], folder: Path) -> str:
    """Return the text of a page, and copy the images that it shows.

    Parameters
    ----------
    document
        Document of the repository.
    names
        Names of all pages, see `pages`.
    folder
        Folder of the pages, which gets the images.
    """

    def adapted(found: re.Match[str]) -> str:
        text, target, anchor = found["text"], found["target"], found["anchor"] or ""
        if not target or "://" in target:
            return found[0]
        path = (document.parent / target).resolve()
        if path in names:
            return f"{text}({names[path]}{anchor})"
        if text.startswith("!") and path.suffix in IMAGES:
            shutil.copy(path, folder / path.name)
            return f"{text}({path.name})"
        return f"{text}({GITHUB}{path.relative_to(ROOT)}{anchor})"

    return LINK.sub(adapted, document.read_text())


def write_pages(folder: Path) -> None:
    """Write all pages, and the JSON schema of experiment files, into a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = pages()
    for document, name in names.items():
        (folder / name).write_text(page_text(document, names, folder))
    shutil.copy(ROOT / "raypipe" / "experiment" / "experiment.schema.json", folder)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
