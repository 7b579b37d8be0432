"""README.md and the pages of docs: their links and the files that they name exist, they have the
form that their readers know, and they name all that flexvol keeps on disks and in the API."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from node.drivers.loop import sweeping, volumes
from tests import documents
from tests.documents import PAGES, README
from tests.elsewhere import TESTS
from tests.sources import ROOT

ARCHITECTURE = ROOT / "docs/architecture.md"
# A path in the tree begins with one of these names, or ends like a file of it.
TOP = {path.name for path in ROOT.iterdir()} - {"dist", "drivers"}
# Pages for people who know the tree name a file of it without its folder, too.
FOR_DEVELOPERS = {"architecture.md", "contributing.md"}
LINES_OF_A_PAGE = 200
LINES_OF_THE_README = 150
# Commands that begin so are no node's, so tests/elsewhere names the test that runs them.
NOT_OF_A_NODE = ("kubectl", "./build.sh", "dist/")
# Names of files on a node, which have the form of a path in the tree.
ON_A_NODE = {"./loop", "pool.json", "volume.json", "work.json", "undo.json"}


def is_file_name(word: str) -> bool:
    """Whether the word names a file of the tree without a folder that TOP knows."""
    if word[0] in "/.":
        return False
    return re.fullmatch(r"[\w/.-]+\.(py|md|yaml|sh|toml|json|txt)", word) is not None


def named_paths(page: Path) -> Iterator[str]:
    """The paths of the tree that a page names in its code spans."""
    knows_files = page.name in FOR_DEVELOPERS
    for span in re.findall(r"`([^`]+)`", documents.without_blocks(page.read_text())):
        for word in span.split():
            if word in ON_A_NODE:
                continue
            if word.split("/")[0] in TOP | {"."} or (knows_files and is_file_name(word)):
                yield word


by_page = pytest.mark.parametrize("page", documents.ALL, ids=lambda page: page.name)
by_page_of_docs = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@by_page_of_docs
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    paths = set(named_paths(page))

    missing = sorted(path for path in paths if not (ROOT / path).exists())

    assert missing == [], f"correct {page.relative_to(ROOT)}: it names files that do not exist"


def test_the_architecture_names_files() -> None:
    assert set(named_paths(ARCHITECTURE))


def is_there(page: Path, link: str) -> bool:
    """Whether the file of a page's link exists, and has the heading that the link names."""
    file, _, anchor = link.partition("#")
    target = page.parent / file if file else page
    if not target.exists():
        return False
    return not anchor or anchor in documents.anchors(target)


@by_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = [link for link in documents.links(page) if not is_there(page, link)]

    assert broken == [], f"correct these links of {page.relative_to(ROOT)}"


def test_the_readme_leads_to_the_pages() -> None:
    linked = documents.links(README)

    assert [page.name for page in documents.CHIEF if f"docs/{page.name}" not in linked] == [], (
        "name these pages in README.md"
    )


@pytest.mark.parametrize("page", documents.IN_FOLDERS, ids=lambda page: page.name)
def test_the_page_of_a_folder_leads_to_the_pages_in_the_folder(page: Path) -> None:
    above = page.parent.with_suffix(".md")

    assert f"{page.parent.name}/{page.name}" in documents.links(above)


@by_page_of_docs
def test_a_page_begins_with_who_needs_it(page: Path) -> None:
    title, empty, first, *_ = page.read_text().splitlines()

    assert title.startswith("# ")
    assert empty == ""
    assert first.startswith("For "), "the first paragraph says for whom the page is: For ..."


@by_page_of_docs
def test_a_page_is_short_enough_to_be_read(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= LINES_OF_A_PAGE


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.read_text().splitlines()) <= LINES_OF_THE_README


@by_page
def test_every_command_that_is_no_nodes_has_its_test(page: Path) -> None:
    lines = documents.commands_in(page.read_text())
    elsewhere = [line for line in lines if line.startswith(NOT_OF_A_NODE)]

    untested = [line for line in elsewhere if not line.startswith(tuple(TESTS))]

    assert untested == [], "name the tests that run these commands in a module of tests/elsewhere"


def test_the_tests_that_run_the_commands_exist() -> None:
    for test in TESTS.values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), test


def test_no_test_is_named_for_a_command_that_no_page_has() -> None:
    lines = documents.commands_in(documents.text())

    unused = [known for known in TESTS if not any(line.startswith(known) for line in lines)]

    assert unused == []


def test_the_kustomization_is_the_same_wherever_it_stands() -> None:
    """The playground's tests apply one of them."""
    texts = re.findall(
        r"^\$ cat > kustomization.yaml <<\.\n(.*?)\n\.$", documents.text(), re.DOTALL | re.MULTILINE
    )

    first, *others = [yaml.safe_load(text) for text in texts]

    assert others
    assert all(other == first for other in others)


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
