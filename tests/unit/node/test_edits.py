"""The texts that tests replace in the sources are there: whoever changes such a line sees at once
which edit has to follow, and not an hour later on a node."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bundle import pack
from tests.cluster import prometheus
from tests.node import edits

ROOT = Path(__file__).resolve().parents[3]
SOURCES = {name: content.decode() for name, content in pack.sources([]).items()}
SPOTS = {name: value for name, value in vars(edits).items() if isinstance(value, edits.Spot)}


def files_that_edit() -> dict[str, str]:
    """The files of the tests that run the built file, and their text."""
    texts = {}
    for folder in ("node", "vm", "cluster", "playground", "bench"):
        for path in (ROOT / "tests" / folder).rglob("*.py"):
            texts[path.relative_to(ROOT).as_posix()] = path.read_text()
    return texts


def users(name: str) -> list[str]:
    """The test files that use the edit of that name."""
    word = re.compile(rf"\bedits\.{name}\b")
    return sorted(file for file, text in files_that_edit().items() if word.search(text))


@pytest.mark.parametrize("name", SPOTS)
def test_the_text_that_an_edit_replaces_stands_once_in_its_file(name: str) -> None:
    spot = SPOTS[name]
    count = SOURCES.get(spot.file, "").count(spot.text)
    elsewhere = [file for file, text in SOURCES.items() if spot.text in text]

    assert count == 1, (
        f"{spot.file} has this text {count} times, and must have it once: {spot.text!r}. "
        f"(Files that have it: {', '.join(elsewhere) or 'none'}.)\n"
        f"Correct {name} in tests/node/edits.py so that the test's own code still stands at the "
        "same moment, and run\n"
        f"  ./build.sh test tests/unit/node/test_edits.py {' '.join(users(name))}"
    )


@pytest.mark.parametrize("name", SPOTS)
def test_an_edit_is_used_and_changes_its_text(name: str) -> None:
    change = SPOTS[name].to("something else")

    assert "something else" in change.new
    assert users(name), f"no test uses {name}: delete it from tests/node/edits.py"


def test_no_test_edits_the_sources_by_itself() -> None:
    writing = {file for file, text in files_that_edit().items() if ".writestr(" in text}

    assert writing == {"tests/node/edits.py"}, "edit the driver by a Spot of tests/node/edits.py"


def test_the_thresholds_that_a_test_replaces_stand_once_in_the_shipped_rules() -> None:
    assert prometheus.quick_rules()
