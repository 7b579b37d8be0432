"""docs/kubectl-plugin.md has every command and every state, and what the page shows as printed has
the headings and the sentences of the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from cluster import kubectl
from cluster.controller import inventory
from cluster.kubectl.inventory import tables
from tests import documents
from tests.sources import ROOT

PAGE = ROOT / "docs/kubectl-plugin.md"
SOURCES = ("cluster", "node")
# In the place of a value, in a text of the sources and in a line of the page.
VALUE = "%"
# The values in what the page shows: names, sizes and numbers.
VALUES = re.compile(
    r"pvc-[0-9a-f-]{36}|node\d|shop/data|shop|\bdata(?=,)|films|before-upgrade|flexvol-loop|"
    r"available|snapshot(?= \d)|"
    r"default|playground|https?://\S+(?=\))|[\d.]+ ?[KMG]i?B?|\b\d+"
)
# A command in a sentence is a person's to run, and has braces of its own.
COMMAND = re.compile(r"kubectl -n .*")
# A clause of the sources with fewer letters would fit too much, its values being anything.
LETTERS = 9
# Whatever of a line its last words are: a clause ends here.
ENDS = re.compile(r"[,;:.](?: |$)")


def examples() -> dict[str, list[str]]:
    """The lines that the page shows as printed, by the command that printed them."""
    found: dict[str, list[str]] = {}
    for block in documents.blocks("console", PAGE):
        command = ""
        for line in block.splitlines():
            if line.startswith(("$ ", "# ")):
                command = re.sub(r"\s{2,}# .*", "", line[2:])
                found[command] = []
            elif line:
                found[command].append(line)
    return found


def is_table(line: str) -> bool:
    """Whether it is a line of a table: its columns are two blanks apart."""
    return "  " in line


def clauses(text: str) -> Iterator[str]:
    """The parts of a sentence between its commas, colons, semicolons and full stops."""
    for clause in ENDS.split(text):
        yield re.sub(rf"(?:{VALUE} ?)+", VALUE, clause.strip("- \n"))


def known_clauses() -> Iterator[str]:
    """The clauses of all texts of the sources, with VALUE where a value is filled in."""
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                yield from clauses(template(node))


def template(node: ast.AST) -> str:
    """The text that the node is; empty if the node is none."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else VALUE for part in node.values]
        return "".join(map(str, parts))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{[^{}]*\}", VALUE, node.value)
    return ""


def is_known(clause: str) -> bool:
    """Whether the sources have the clause."""
    return clause in KNOWN or any(pattern.fullmatch(clause) for pattern in PATTERNS)


KNOWN = set(known_clauses())
# A value of the sources may be words of the page, such as "the claim shop/data".
PATTERNS = [
    re.compile(".+".join(map(re.escape, clause.split(VALUE))))
    for clause in KNOWN
    if len(clause) >= LETTERS
]
SENTENCES = [
    pytest.param(line, id=f"{command}: {line[:40]}")
    for command, lines in examples().items()
    for line in lines
    if not is_table(line)
]


def test_the_page_shows_every_command() -> None:
    shown = {command.split()[2] for command in examples() if command.startswith("kubectl flexvol ")}

    assert shown == set(kubectl.COMMANDS)


def test_the_page_has_every_state() -> None:
    rows = documents.table("state")
    named = {name for cell in rows for name in re.findall(r"`(\w+)`", cell)}

    words = {name: value for name, value in vars(inventory).items() if name.isupper()}
    del words["MOVING"]  # of a driver's entry, not of a row
    assert named == {word for word in words.values() if isinstance(word, str) and word.isalpha()}


@pytest.mark.parametrize(
    ("command", "headings"),
    [
        pytest.param("kubectl flexvol inventory", tables.HEADINGS, id="volumes"),
        pytest.param("kubectl flexvol inventory --pools", tables.POOL_HEADINGS, id="pools"),
    ],
)
def test_the_tables_of_the_page_have_the_columns_of_the_command(
    command: str, headings: tuple[str, ...]
) -> None:
    shown = re.split(r" {2,}", examples()[command][0])

    assert [heading for heading in headings if heading in shown] == shown


@pytest.mark.parametrize("line", SENTENCES)
def test_each_sentence_of_the_page_is_one_of_the_sources(line: str) -> None:
    said = VALUES.sub(VALUE, COMMAND.sub(VALUE, line))

    assert [clause for clause in clauses(said) if not is_known(clause)] == []
