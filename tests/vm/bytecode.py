"""The built file as a node has it after installation, with the bytecode of its Python. A Python of
this machine that has the same version makes that bytecode, in half a second; an emulated processor
takes seven."""

from __future__ import annotations

import functools
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from bundle import interpreters
from node import zipapp
from tests.vm.image import NEW, OLD
from tests.vm.machine import Machine

CompileFor = Callable[[Path, str], Path]
# The name of Debian's release -> its Python.
PYTHONS = {OLD: (3, 9), NEW: (3, 13)}
_PRECOMPILE = """
import sys
sys.path.insert(0, sys.argv[1])
import flexvol
sys.exit(flexvol.main([sys.argv[1], "precompile"]))
"""


def compiled(built: Path, suite: str, directory: Path) -> Path:
    """Makes a copy of a built file, with the bytecode of a release's Python if this machine has a
    Python of that version.

    :param directory: in which the copy is made"""
    copy = directory / built.name
    shutil.copy(built, copy)
    python = _pythons().get(PYTHONS[suite])
    if python:
        subprocess.run([python, "-I", "-S", "-c", _PRECOMPILE, copy], check=True)
    return copy


@functools.cache
def _pythons() -> dict[tuple[int, int], Path]:
    """The Pythons of this machine by version. Asking all of them takes seconds."""
    return interpreters.find()


def complete(machine: Machine, files: dict[str, Path]) -> None:
    """Lets the machine's own Python add the bytecode that built files lack.

    :param files: what lies in /payload there, by name"""
    for name, file in files.items():
        if zipfile.is_zipfile(file) and not zipapp.bytecode_magic(str(file)):
            machine.must(f"/payload/{name}", "precompile")
