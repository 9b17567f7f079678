"""Generated documents, which must equal those that the package would generate now, and the pages of the site."""

import re
from pathlib import Path

import pytest
import yaml

from docs.generate import generated_documents
from docs.site import GITHUB, pages, write_pages

ROOT = Path(__file__).parents[2]
SITE = (ROOT / "mkdocs.yml").read_text()


def test_generated_documents_are_up_to_date() -> None:
    outdated = [path.name for path, text in generated_documents().items() if path.read_text() != text]
    assert not outdated, f"{outdated} differ from what the package says: run `make docs`"


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"- ([\w-]+\.md)$", SITE, re.M)
    assert sorted(listed) == sorted(pages().values())


def test_the_site_loads_nothing_from_other_servers() -> None:
    plain = yaml.safe_load(re.sub(r"!!python\S+", "", SITE))
    assert plain["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript"} & plain.keys()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_pages(folder)
    return folder


@pytest.mark.parametrize("page", sorted(pages().values()))
def test_links_of_a_page_lead_to_pages_images_and_files_of_the_repository(site: Path, page: str) -> None:
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", (site / page).read_text()):
        if target.startswith(GITHUB):
            assert (ROOT / target.removeprefix(GITHUB)).exists(), target
        elif "://" not in target:
            assert (site / target).is_file(), target
