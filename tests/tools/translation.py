"""Keeps docs/ko in step with its English sources: what differs, and which sections were translated when.

    python tests/tools/translation.py             # say what is out of step
    python tests/tools/translation.py --record    # note the sections as they are, after mending a translation

docs/ko/sources.json holds a hash of each English section and of its translation.
"""

import argparse
import hashlib
import json
import posixpath
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "docs" / "ko" / "sources.json"
PAGES = {"docs/ko/README.md": "README.md", "docs/ko/tutorial.md": "docs/tutorial.md"}  # translation: source

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
WRITTEN = re.compile("<!-- results: .*?<!-- end of results -->", re.DOTALL)
Record = dict[str, dict[str, list[str]]]  # source: heading: hashes of the section and of its translation


class Section(NamedTuple):
    """A heading and what follows it up to the next one; `level` is the number of #."""

    level: int
    heading: str
    text: str

    @property
    def hash(self) -> str:
        """Of heading and text, apart from white space and the tables that docs/results writes."""
        words = " ".join([self.heading, *WRITTEN.sub("", self.text).split()])
        return hashlib.sha256(words.encode()).hexdigest()[:16]

    @property
    def code(self) -> list[str]:
        """Blocks of code."""
        return FENCE.findall(self.text)

    @property
    def prose(self) -> str:
        """What is no block of code."""
        return FENCE.sub("", self.text)

    @property
    def spans(self) -> Counter[str]:
        """Code within lines."""
        return Counter(re.findall(r"`([^`]+)`", self.prose))

    @property
    def links(self) -> list[str]:
        """Targets of links and pictures."""
        return re.findall(r"\]\(([^)\s]+)\)", self.prose)

    @property
    def rows(self) -> list[Counter[str]]:
        """Numbers in each row of the tables."""
        lines = self.prose.splitlines()
        return [numbers(line) for line in lines if line.startswith("|")]

    @property
    def figures(self) -> Counter[str]:
        """Numbers outside of code and links."""
        return numbers(re.sub(r"`[^`]+`|\]\([^)]*\)", " ", self.prose))


def numbers(text: str) -> Counter[str]:
    """Return the numbers of a text as they are written, with how often each stands there."""
    return Counter(re.findall(r"-?\d+(?:[.,]\d+)*", text))


def sections(page: str) -> list[Section]:
    """Cut a page at its headings; a # within a block of code is none."""
    blocks = [match.span() for match in FENCE.finditer(page)]
    found = [
        match
        for match in re.finditer(r"^(#+) (.+)$", page, re.MULTILINE)
        if not any(start <= match.start() < end for start, end in blocks)
    ]
    ends = [*(match.start() for match in found[1:]), len(page)]
    return [
        Section(len(match[1]), match[2], page[match.end() : end])
        for match, end in zip(found, ends, strict=True)
    ]


def target(link: str, page: str) -> str:
    """Return where a link leads, from the root and without its anchor; a translation counts as its source."""
    if link.startswith("http"):
        return link
    path = link.partition("#")[0]
    full = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
    return PAGES.get(full, full)


def anchor(heading: str) -> str:
    """Return a heading's anchor as GitHub makes it.

    >>> anchor("Posteriors q(z|x)"), anchor("결과 보기")
    ('posteriors-qzx', '결과-보기')
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def differences(translation: str, source: str, korean: str, english: str) -> list[str]:
    """Compare the structure of two pages, given by name and text; a sentence for each difference."""
    here, there = sections(korean), sections(english)
    if [s.level for s in here] != [s.level for s in there]:
        return [f"{translation} must have the {len(there)} headings of {source}; it has {len(here)}."]
    said = []
    for mine, theirs in zip(here, there, strict=True):
        pairs = {
            "blocks of code": (mine.code, theirs.code),
            "code within lines": (mine.spans, theirs.spans),
            "links": _targets(mine, theirs, translation, source),
            "numbers in tables": (mine.rows, theirs.rows),
            "numbers": (theirs.figures, theirs.figures & mine.figures),
        }
        for what, (a, b) in pairs.items():
            if a != b:
                said.append(f"{translation}: the {what} of {mine.heading!r} differ from {theirs.heading!r}.")
    return said


def _targets(
    mine: Section, theirs: Section, translation: str, source: str
) -> tuple[Counter[str], Counter[str]]:
    """Return where the links lead, without those from one language to the other."""
    return (
        Counter(t for link in mine.links if (t := target(link, translation)) != source),
        Counter(t for link in theirs.links if (t := target(link, source)) != source),
    )


def stale(translation: str, source: str, korean: str, english: str, record: Record) -> list[str]:
    """Return a sentence for each section of the source that has changed since it was translated."""
    known = record.get(source, {})
    now = state(korean, english)
    said = [
        f"{translation}: the section {heading!r} of {source} has changed since it was translated: mend its "
        "translation, then run python tests/tools/translation.py --record."
        for heading, (theirs, _) in now.items()
        if known.get(heading, [""])[0] != theirs
    ]
    gone = ", ".join(map(repr, known.keys() - now.keys()))
    return [*said, *([f"{translation}: {source} has no section {gone} any more."] if gone else [])]


def state(korean: str, english: str) -> dict[str, list[str]]:
    """Return the hashes of each section and its translation, by English heading."""
    return {
        theirs.heading: [theirs.hash, mine.hash]
        for mine, theirs in zip(sections(korean), sections(english), strict=True)
    }


def untouched(before: Record, after: Record) -> list[str]:
    """Return the sections whose source has changed and whose translation has not."""
    return [
        f"{source}: {heading}"
        for source, found in after.items()
        for heading, (theirs, mine) in found.items()
        if heading in before.get(source, {})
        and before[source][heading][0] != theirs
        and before[source][heading][1] == mine
    ]


def read(name: str) -> str:
    """Return the text of a page."""
    return (ROOT / name).read_text(encoding="utf-8")


def recorded() -> Record:
    """Return what docs/ko/sources.json holds."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Compare docs/ko with its English sources.")
    parser.add_argument("--record", action="store_true", help="note the sections as they are now")
    parser.add_argument(
        "--still-right",
        action="store_true",
        help="with --record: also where the translation needed no change",
    )
    chosen = parser.parse_args()
    texts = {name: (read(name), read(source)) for name, source in PAGES.items()}
    said = [s for name, (k, e) in texts.items() for s in differences(name, PAGES[name], k, e)]
    if chosen.record and not said:
        now = {PAGES[name]: state(*pair) for name, pair in texts.items()}
        said = [
            f"{where} has changed and its translation has not: mend it, or say --still-right."
            for where in untouched(recorded(), now)
            if not chosen.still_right
        ]
        if not said:
            RECORD.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    elif not said:
        said = [s for name, pair in texts.items() for s in stale(name, PAGES[name], *pair, recorded())]
    for sentence in said:
        print(sentence, file=sys.stderr)
    sys.exit(bool(said))


if __name__ == "__main__":
    main()
