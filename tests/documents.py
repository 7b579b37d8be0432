"""README.md and the pages of docs, as the tests read them.

A test asks for a chapter by its heading, and for a table by its first heading, so that the text may
move from a page to another. Where two pages have it, the one in docs is read before the README."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from tests.sources import ROOT

README = ROOT / "README.md"
# The pages that README.md names, and those in folders, which the page of the folder's name names.
CHIEF = sorted((ROOT / "docs").glob("*.md"))
IN_FOLDERS = sorted((ROOT / "docs").glob("*/*.md"))
PAGES = [*CHIEF, *IN_FOLDERS]
ALL = [*PAGES, README]


def text() -> str:
    """The text of all pages."""
    return "\n".join(page.read_text() for page in ALL)


def commands_in(text: str) -> list[str]:
    """The lines of console blocks that a person types, without their comments."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [
        line[2:] for block in blocks for line in block.splitlines() if line[:2] in ("$ ", "# ")
    ]
    return [re.sub(r"\s{2,}# .*", "", line) for line in lines]


def blocks(language: str, page: Path) -> list[str]:
    """The code blocks of a language, such as `yaml`, in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def command(beginning: str) -> str:
    """The one command that begins so. It may stand in several pages."""
    found = {line for line in commands_in(text()) if line.startswith(beginning)}
    (line,) = found
    return line


def chapter(heading: str) -> str:
    """The text below the first heading that has these words, up to the next of its level.

    :param heading: words of the heading, in any case"""
    for page in ALL:
        lines = without_blocks(page.read_text()).splitlines()
        for number, line in enumerate(lines):
            if re.match(r"#+ ", line) and heading.lower() in line.lower():
                end = end_of_chapter(lines, number)
                return "\n".join(page.read_text().splitlines()[number + 1 : end])
    raise LookupError(f"no page has a chapter with {heading!r} in its heading")


def end_of_chapter(lines: list[str], begin: int) -> int:
    """The number of the line after the chapter whose heading is the line `begin`."""
    level = len(lines[begin].split()[0])
    for number in range(begin + 1, len(lines)):
        marks = re.match(r"(#+) ", lines[number])
        if marks and len(marks[1]) <= level:
            return number
    return len(lines)


def without_blocks(text: str) -> str:
    """The text with empty lines in the place of its code blocks, which have their own `#`."""
    return re.sub(
        r"^```.*?^```",
        lambda block: "\n" * block[0].count("\n"),
        text,
        flags=re.DOTALL | re.MULTILINE,
    )


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the table whose first heading this is, by the first cell of each row. The row of
    headings is among them."""
    for page in ALL:
        lines = page.read_text().splitlines()
        for number, (line, below) in enumerate(itertools.pairwise(lines)):
            if line.startswith(f"| {heading} |") and below.startswith("|-"):
                return dict(rows(lines[number:]))
    raise LookupError(f"no page has a table that begins with {heading!r}")


def rows(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The rows of the table that begins in the first line."""
    for line in lines:
        if not line.startswith("|"):
            return
        first, *others = [cell.strip() for cell in line.strip("|").split("|")]
        if set(first) != {"-"}:
            yield first, others


def anchors(page: Path) -> set[str]:
    """The names by which a link reaches the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The targets of a page's links that are no web addresses."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text()))
    targets += re.findall(r"(?:src|srcset|href)=\"([^\"]+)\"", page.read_text())
    return [target for target in targets if not re.match(r"[a-z]+:", target)]
