"""docs/troubleshooting.md quotes sentences as flexvol prints them: each quotation in the first
column of its tables is a part of a text in the sources. What Kubernetes and others print stands
there in code spans."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.sources import ROOT

PAGE = ROOT / "docs/troubleshooting.md"
SOURCES = ("cluster", "node", "shared")


def quotations() -> list[str]:
    """Three dots in one stand for what differs."""
    cells = [row.split("|")[1] for row in PAGE.read_text().splitlines() if row.startswith("| ")]
    return [quoted for cell in cells for quoted in re.findall(r'"([^"]+)"', cell)]


def texts() -> Iterator[str]:
    """The texts of the sources, without what is filled in."""
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


ALL = "\n".join(texts())


def test_the_page_quotes() -> None:
    assert len(quotations()) > 30


@pytest.mark.parametrize("quotation", quotations())
def test_each_quotation_is_in_the_sources(quotation: str) -> None:
    parts = [part.strip() for part in quotation.split("...")]

    assert [part for part in parts if part not in ALL] == []
