"""The glossary, which defines each term in two sentences, and to which each heading of the report links."""

import re

import pytest

from raypipe.report.glossary import GLOSSARY, SECTION_TERMS, TERMS, Term
from tests.report.test_report_page import html, page, part  # noqa: F401  fixtures


@pytest.mark.parametrize("term", TERMS.values(), ids=lambda term: term.name)
def test_each_term_has_a_definition_of_two_sentences(term: Term) -> None:
    sentences = re.split(r"(?<=[a-z0-9)])\. (?=[A-Z])", term.meaning.replace("et al. ", "et al "))
    assert len(sentences) == 2
    assert term.meaning.endswith(".")


def test_terms_and_anchors_are_unique() -> None:
    terms = [term for terms in GLOSSARY.values() for term in terms]
    assert len({term.name for term in terms}) == len({term.anchor for term in terms}) == len(terms)


def test_sections_name_terms_that_exist() -> None:
    assert {name for names in SECTION_TERMS.values() for name in names} <= set(TERMS)


def test_each_section_of_the_report_leads_to_its_terms(html: str) -> None:  # noqa: F811
    sections = set(re.findall(r'<section id="(\w+)">', html)) - {"glossary", "details"}
    assert sections <= set(SECTION_TERMS)
    for section in sections:
        for name in SECTION_TERMS[section]:
            assert f'href="#term-{TERMS[name].anchor}"' in part(html, section)


def test_the_report_defines_each_term_once(html: str) -> None:  # noqa: F811
    assert re.findall(r'<dt id="term-([^"]+)"', part(html, "glossary")) == [term.anchor for term in TERMS.values()]
