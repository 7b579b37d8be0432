"""The pages in docs name files that exist, and everything that flexvol keeps on disks and in the
API."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.drivers.loop import sweeping, volumes
from tests.sources import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
ARCHITECTURE = ROOT / "docs/architecture.md"
# A path in the tree begins with one of these names, or ends like a file of it.
TOP = {path.name for path in ROOT.iterdir() if path.name != "dist"}
# Names of files on a node's disks, which have the form of a path in the tree.
ON_A_NODE = {"pool.json", "volume.json", "work.json", "undo.json"}


def is_file_name(word: str) -> bool:
    """Whether the word names a file of the tree without a folder that TOP knows."""
    if word[0] in "/." or word in ON_A_NODE:
        return False
    return re.fullmatch(r"[\w/.-]+\.(py|md|yaml|sh|toml|json|txt)", word) is not None


def named_paths(text: str) -> Iterator[str]:
    """The paths of the tree that a page names in its code spans and links."""
    without_blocks = re.sub(r"```.*?```", "", text, flags=re.S)
    for span in re.findall(r"`([^`]+)`", without_blocks):
        for word in span.split():
            if word.split("/")[0] in TOP | {"."} or is_file_name(word):
                yield word
    for target in re.findall(r"\]\(([^)#:]+)\)", without_blocks):
        yield "docs/" + target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    paths = set(named_paths(page.read_text()))

    missing = sorted(path for path in paths if not (ROOT / path).exists())

    assert paths
    assert missing == [], f"correct {page.relative_to(ROOT)}: it names files that do not exist"


def test_the_readme_leads_to_the_pages() -> None:
    readme = (ROOT / "README.md").read_text()

    assert [page.name for page in PAGES if f"(docs/{page.name})" not in readme] == []


def strings(folder: str) -> Iterator[str]:
    """The texts of the sources in a folder, docstrings among them."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_architecture_names_every_annotation_and_label_of_ours() -> None:
    text = ARCHITECTURE.read_text()
    drivers = {"flexvol/loop", "flexvol/shared"}
    named = {word for word in strings("cluster") if re.fullmatch(r"flexvol/[a-z-]+", word)}

    assert named - drivers
    assert sorted(word for word in named - drivers if f"`{word}`" not in text) == []


def test_the_architecture_names_every_hidden_name() -> None:
    text = ARCHITECTURE.read_text()
    prefixes = [hidden.prefix for hidden in sweeping.HIDDEN]

    assert prefixes
    assert [prefix for prefix in prefixes if f"`{prefix}" not in text] == []
    assert [name for name in volumes.FILES if f"`{name}`" not in text] == []
