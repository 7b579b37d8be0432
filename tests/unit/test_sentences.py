"""Every sentence of a failure says what is wrong and what to do: all places of the driver side that
raise one are listed here by their source, so a new one without a remedy is found.

That the sentence names the volume is for flexvol.py to do: tests/node/test_sentences.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle import pack
from shared import protocol

ROOT = Path(__file__).resolve().parents[2]
# Longer messages are cut: an event's message ends at 1024 characters.
LONGEST = 600
# Sentences that are complete without a remedy, each with the reason.
COMPLETE = {
    "NotSupported": "kubelet only reads that the callout is not there",
}


class Site:
    """A place that raises a failure. sentence: its text, with {} for what is filled in; None if
    the text is made elsewhere, by a function that is listed where it raises or returns."""

    def __init__(self, place: str, kind: str, sentence: str | None) -> None:
        self.place = place
        self.kind = kind
        self.sentence = sentence


def sources() -> list[Path]:
    found = [ROOT / name for name in pack.CONTENTS]
    return sorted(f for path in found for f in (path.rglob("*.py") if path.is_dir() else [path]))


def sites(path: Path) -> Iterator[Site]:
    tree = ast.parse(path.read_text())
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                kind = ast.unparse(node.exc.func)
                if kind in protocol.FAILURES and node.exc.args:
                    place = f"{path.relative_to(ROOT)}:{node.lineno}"
                    yield Site(place, kind, text(node.exc.args[0], function))


def text(node: ast.AST, function: ast.FunctionDef) -> str | None:
    """The literal parts of an expression that makes a sentence; None if it has none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [text(part, function) for part in node.values]
        return "".join("{}" if part is None else part for part in parts)
    if isinstance(node, ast.BinOp):
        left = text(node.left, function)
        right = text(node.right, function)
        return None if left is None and right is None else (left or "{}") + (right or "{}")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return text(node.func.value, function) if node.func.attr == "format" else None
    if isinstance(node, ast.Name):
        return assigned(node.id, function)
    return None


def assigned(name: str, function: ast.FunctionDef) -> str | None:
    """The text that a variable of the function was given, if that is one text."""
    given = [
        text(node.value, function)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and [ast.unparse(target) for target in node.targets] == [name]
        and not isinstance(node.value, ast.Name)
    ]
    return given[0] if len(given) == 1 else None


def without_remedy(site: Site) -> bool:
    """A remedy, or what becomes of the volume, follows a semicolon or, as a command, a colon."""
    if site.sentence is None or site.kind in COMPLETE:
        return False
    return not any(mark in site.sentence for mark in ("; ", ": ", ":\n"))


def all_sites() -> list[Site]:
    return [site for path in sources() for site in sites(path)]


def test_every_sentence_says_what_to_do() -> None:
    found = all_sites()

    assert len(found) > 100, "the sources are not where this test looks"
    assert [f"{site.place} {site.sentence}" for site in found if without_remedy(site)] == []


def test_every_sentence_fits_into_an_event() -> None:
    too_long = [site.place for site in all_sites() if len(site.sentence or "") > LONGEST]

    assert too_long == []


@pytest.mark.parametrize(
    ("source", "is_wrong"),
    [
        pytest.param('raise Busy("volume {} is away".format(v))', True, id="no remedy"),
        pytest.param('raise Busy("volume {} is away; wait".format(v))', False, id="a remedy"),
        pytest.param('raise Busy(f"{v} is away")', True, id="no remedy in an f-string"),
        pytest.param('raise Busy("a" + v)', True, id="no remedy in a sum"),
        pytest.param('raise NotSupported("attach")', False, id="not supported needs none"),
        pytest.param(
            'words = "it is away"\n    raise Busy(words.format(v))', True, id="a variable"
        ),
    ],
)
def test_the_rule_finds_what_is_wrong(source: str, is_wrong: bool) -> None:
    path = ROOT / "shared/protocol.py"
    function = ast.parse(f"def f(v):\n    {source}\n").body[0]
    assert isinstance(function, ast.FunctionDef)
    (raised,) = [node for node in ast.walk(function) if isinstance(node, ast.Raise)]
    assert isinstance(raised.exc, ast.Call)
    kind = ast.unparse(raised.exc.func)

    site = Site(path.name, kind, text(raised.exc.args[0], function))

    assert without_remedy(site) == is_wrong
