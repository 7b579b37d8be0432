"""Two runs share the files of tests between them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.halves import Half


def items_of(*files: str, last: str = "") -> list[Any]:
    """Two tests of each file."""
    return [
        SimpleNamespace(
            path=Path(file),
            name=name,
            get_closest_marker=lambda mark, file=file: mark if file == last else None,
        )
        for file in files
        for name in ("first", "second")
    ]


def order(half: Half, items: list[Any]) -> list[str]:
    half.order(items)
    return [f"{item.path}:{item.name}" for item in items]


def test_every_file_is_in_one_of_two_runs_whoever_comes_first(tmp_path: Path) -> None:
    runs = [Half(str(tmp_path), is_second=False), Half(str(tmp_path), is_second=True)]

    assert [runs[0].has(Path("a.py")), runs[1].has(Path("c.py"))] == [True, True]
    assert [runs[1].has(Path("b.py")), runs[0].has(Path("b.py"))] == [True, False]
    assert [runs[1].has(Path("a.py")), runs[0].has(Path("c.py"))] == [False, False]
    assert [runs[1].has(Path("b.py")), runs[0].has(Path("a.py"))] == [True, True]


def test_a_run_by_itself_has_every_file() -> None:
    half = Half("", is_second=False)

    assert half.has(Path("a.py"))
    assert order(half, items_of("a", "b")) == ["a:first", "a:second", "b:first", "b:second"]


def test_the_second_run_begins_with_the_last_file() -> None:
    half = Half("", is_second=True)

    assert order(half, items_of("a", "b")) == ["b:first", "b:second", "a:first", "a:second"]


def test_what_is_to_come_last_does_in_both_runs() -> None:
    for is_second in (False, True):
        half = Half("", is_second=is_second)

        assert order(half, items_of("a", "b", "c", last="b"))[-2:] == ["b:first", "b:second"]
