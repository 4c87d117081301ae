"""docs/ko says what its English sources say: the same structure, and no section left behind."""

import re

import pytest
import translation
from translation import PAGES, anchor, differences, read, recorded, sections, stale, state, untouched

ENGLISH = """# Title

One [link](guide.md#load) of `code` and 3 figures.

## First

```python
# no heading
x = 1
```

| a | 2.5 |
"""
KOREAN = ENGLISH.replace("One", "하나").replace("guide.md", "../guide.md").replace("First", "첫째")
NAMES = ("docs/ko/page.md", "docs/page.md")


def pages():
    return [(name, source, read(name), read(source)) for name, source in PAGES.items()]


@pytest.mark.parametrize("page", pages(), ids=list(PAGES))
def test_every_page_is_in_step(page):
    assert differences(*page) == []
    assert stale(*page, recorded()) == []


@pytest.mark.parametrize("page", pages(), ids=list(PAGES))
def test_every_page_is_korean(page):
    """Most of the prose of each section, so that no section is left in English."""
    for section in sections(page[2]):
        words = re.sub(r"`[^`]+`|\]\([^)]*\)|\$[^$]*\$", " ", section.prose)
        korean, latin = len(re.findall("[가-힣]", words)), len(re.findall("[A-Za-z]", words))
        assert 2 * korean > latin or latin < 40, section.heading


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for link in re.findall(r"\]\(([^)\s]+)\)", read(name)):
        if link.startswith("http"):
            continue
        path, _, mark = link.partition("#")
        target = (translation.ROOT / name).parent / path if path else translation.ROOT / name
        assert target.exists(), link
        if mark:
            assert mark in [anchor(section.heading) for section in sections(target.read_text())], link


def test_pages_of_one_structure_do_not_differ():
    assert differences(*NAMES, KOREAN, ENGLISH) == []
    assert [section.level for section in sections(ENGLISH)] == [1, 2]


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("headings", ("## 첫째", "**첫째**")),
        ("blocks of code", ("x = 1", "x = 2")),
        ("code within lines", ("`code`", "코드")),
        ("links", ("../guide.md", "../choices.md")),
        ("numbers in tables", ("2.5", "2.6")),
        ("numbers", ("3 figures", "세 숫자")),
    ],
)
def test_a_difference_is_told(what, change):
    spoiled = KOREAN.replace(*change)
    assert spoiled != KOREAN
    said = differences(*NAMES, spoiled, ENGLISH)
    assert said and what in said[0]


def test_a_section_that_was_left_behind_is_told():
    record = {NAMES[1]: state(KOREAN, ENGLISH)}
    assert stale(*NAMES, KOREAN, ENGLISH, record) == []
    assert stale(*NAMES, KOREAN, ENGLISH.replace("\n\nOne", "\n\n\nOne "), record) == []  # white space alone
    changed = ENGLISH.replace("| a |", "| b |")
    (said,) = stale(*NAMES, KOREAN, changed, record)
    assert "the section 'First' of docs/page.md has changed since it was translated" in said
    renamed = stale(*NAMES, KOREAN, ENGLISH.replace("## First", "## Second"), record)
    assert len(renamed) == 2 and "'Second'" in renamed[0] and "no section 'First' any more" in renamed[1]


def test_a_stale_section_of_readme_is_caught():
    name, source, korean, english = pages()[0]
    changed = english.replace("Every checkpoint has a checksum", "Every checkpoint has two checksums")
    assert changed != english
    (said,) = stale(name, source, korean, changed, recorded())
    assert "'Long runs'" in said


def test_what_was_not_translated_anew_is_not_recorded():
    before = {NAMES[1]: state(KOREAN, ENGLISH)}
    changed = ENGLISH.replace("One", "Two")
    assert untouched(before, {NAMES[1]: state(KOREAN, changed)}) == ["docs/page.md: Title"]
    assert untouched(before, {NAMES[1]: state(KOREAN.replace("하나", "둘"), changed)}) == []
