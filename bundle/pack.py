"""Packs the driver side into dist/flexvol: a sh header and behind it a zip, the same bytes for the
same sources."""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The driver side as the table in design and tests/unit/test_layers.py have it.
CONTENTS = ("flexvol.py", "node", "shared")
# The file that defines DEFAULT_DRIVER.
CALLOUTS = "node/callouts.py"
# python3 dist/flexvol works as well, only slower than through the header.
MAIN = "import sys\n\nimport flexvol\n\nsys.exit(flexvol.main(sys.argv))\n"
EARLIEST = (1980, 1, 1, 0, 0, 0)


def sources(drivers: list[Path]) -> dict[str, bytes]:
    """What goes into the archive, by name: the driver side, and each of
    `drivers` as node/drivers/NAME.py."""
    found: dict[str, bytes] = {"__main__.py": MAIN.encode()}
    for entry in CONTENTS:
        path = ROOT / entry
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found[file.relative_to(ROOT).as_posix()] = file.read_bytes()
    for driver in drivers:
        name = driver.stem
        if (
            not name.isidentifier()
            or f"node/drivers/{name}.py" in found
            or f"node/drivers/{name}/__init__.py" in found
        ):
            raise SystemExit(
                f"pack.py: {driver}: the file's name is the driver's: a new Python name in "
                "lower case"
            )
        found[f"node/drivers/{name}.py"] = driver.read_bytes()
    if drivers:
        found[CALLOUTS] = _with_default(found[CALLOUTS].decode(), drivers[0].stem).encode()
    for name, content in found.items():
        ast.parse(content, name)  # a syntax error shows here, not on a node
    return found


def _with_default(source: str, driver: str) -> str:
    changed, count = re.subn(
        r'^DEFAULT_DRIVER = ".*"$', f'DEFAULT_DRIVER = "{driver}"', source, flags=re.MULTILINE
    )
    if count != 1:
        raise SystemExit(f"pack.py: {CALLOUTS} does not define DEFAULT_DRIVER once")
    return changed


def pack(target: Path, drivers: list[Path]) -> None:
    """Writes the archive to `target`, replacing it in one step."""
    target.parent.mkdir(exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")  # two may build at once
    with aside.open("w+b") as file:
        file.write((ROOT / "bundle/header.sh").read_bytes())
        with zipfile.ZipFile(
            file, "a"
        ) as archive:  # stored: quicker to start, and no zlib's version in the bytes
            for name, content in sorted(sources(drivers).items()):
                entry = zipfile.ZipInfo(name, EARLIEST)
                entry.external_attr = 0o100644 << 16
                entry.create_system = 3
                archive.writestr(entry, content)
    aside.chmod(0o755)
    os.replace(aside, target)


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="build.sh build", description="Build dist/flexvol.")
    parser.add_argument(
        "--driver",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help=(
            "a file with a Driver subclass that becomes "
            "part of "
            "it; the "
            "first one "
            "becomes the "
            "default driver"
        ),
    )
    pack(ROOT / "dist/flexvol", parser.parse_args(words).driver)


if __name__ == "__main__":
    main(sys.argv[1:])
