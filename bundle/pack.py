"""Packs the driver side into dist/flexvol: a sh header and behind it a zip, the same bytes for the
same sources."""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The driver side; tests/unit/test_layers.py says what it may import.
CONTENTS = ("flexvol.py", "node", "shared")
# The file that defines DEFAULT_DRIVER.
CALLOUTS = "node/callouts.py"
# Whose docstrings are the help that a person on a node gets.
COMMANDS = "node/commands/"
# python3 dist/flexvol works as well, only slower than through the header.
MAIN = "import sys\n\nimport flexvol\n\nsys.exit(flexvol.main(sys.argv))\n"
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold
FILE_MODE = 0o100644  # as stat(2) has it: a file that its owner may write and all may read
OLDEST_PYTHON = (3, 6)  # that a node may have
UNIX = 3  # the system that an entry's mode is of, as the format of zip has it


def sources(drivers: list[Path]) -> dict[str, bytes]:
    """What goes into the zipapp, by name: the driver side, and each of `drivers` as
    node/drivers/NAME.py."""
    contents = {"__main__.py": MAIN.encode()}
    for file in _files():
        name = file.relative_to(ROOT).as_posix()
        content = file.read_bytes()
        is_command = name.startswith(COMMANDS)
        contents[name] = content if is_command else without_docstrings(content)
    for driver in drivers:
        name = driver.stem
        module = f"node/drivers/{name}.py"
        package = f"node/drivers/{name}/__init__.py"
        if not name.isidentifier() or module in contents or package in contents:
            raise SystemExit(
                f"pack.py: {driver}: the file's name is the driver's: a new Python name "
                "in lower case"
            )
        contents[module] = driver.read_bytes()
    if drivers:
        source = contents[CALLOUTS].decode()
        contents[CALLOUTS] = _with_default(source, drivers[0].stem).encode()
    for name, content in contents.items():
        # A syntax error shows here, and not on a node.
        ast.parse(content, name, feature_version=OLDEST_PYTHON)
    return contents


def _files() -> Iterator[Path]:
    """The sources of the driver side."""
    for name in CONTENTS:
        path = ROOT / name
        if path.is_dir():
            yield from sorted(path.rglob("*.py"))
        else:
            yield path


def without_docstrings(source: bytes) -> bytes:
    """The source with an empty string for each docstring. Nobody reads them on a node, and they are
    a quarter of the sources. Every other line stays where it is, for what a traceback says."""
    lines = source.split(b"\n")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            continue
        if ast.get_docstring(node) is None:
            continue
        docstring = node.body[0]
        first = docstring.lineno - 1
        last = (docstring.end_lineno or docstring.lineno) - 1
        rest = lines[last][docstring.end_col_offset :]
        lines[first] = lines[first][: docstring.col_offset] + b'""' + rest
        for number in range(first + 1, last + 1):
            lines[number] = b""
    return b"\n".join(lines)


def _with_default(source: str, driver: str) -> str:
    line = f'DEFAULT_DRIVER = "{driver}"'
    changed, count = re.subn(r'^DEFAULT_DRIVER = ".*"$', line, source, flags=re.MULTILINE)
    if count != 1:
        raise SystemExit(f"pack.py: {CALLOUTS} does not define DEFAULT_DRIVER once")
    return changed


def pack(target: Path, drivers: list[Path]) -> None:
    """Writes the zipapp to `target`, replacing it in one step."""
    target.parent.mkdir(exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")  # two may build at once
    with aside.open("w+b") as file:
        file.write((ROOT / "bundle/header.sh").read_bytes())
        # Stored: a start is quicker, and the bytes do not depend on the version of zlib.
        with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as zipapp:
            for name, content in sorted(sources(drivers).items()):
                entry = zipfile.ZipInfo(name, EARLIEST)
                entry.external_attr = FILE_MODE << 16
                entry.create_system = UNIX
                zipapp.writestr(entry, content)
    aside.chmod(0o755)
    os.replace(aside, target)


def add_driver_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --driver, for what builds dist/flexvol."""
    parser.add_argument(
        "--driver",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a file with a Driver subclass, which becomes part of dist/flexvol; the first "
        "one becomes the default driver; repeatable",
    )


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="build.sh build", description="Build dist/flexvol.")
    add_driver_argument(parser)
    pack(ROOT / "dist/flexvol", parser.parse_args(words).driver)


if __name__ == "__main__":
    main(sys.argv[1:])
