"""Makes this file start faster with this machine's Python; install does that by itself.

The interpreter adds its bytecode to the file. Without bytecode a zipapp is compiled from source at
every start, which is more than half of a callout's time. Bytecode belongs to one version of Python,
so the node's own interpreter makes it; another version ignores it and is as slow as before. The
file stays a header and a zip that holds every source.

The new file is made beside the old one, as FILE.new, and then renamed. A FILE.new that was left
when this was killed can be deleted; the next run replaces it."""

import argparse
import importlib.util
import marshal
import os
import struct
import sys
import time
import zipfile

from node import zipapp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict

NEEDS_ROOT = False
_DATE = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the same sources give the same bytes
_UNCHECKED = 1  # PEP 552: the source is in the same file, so it cannot have changed


def arguments(parser: argparse.ArgumentParser) -> None:
    """Takes no arguments."""


def run(_: argparse.Namespace) -> int:
    path = zipapp.path()
    header, sources = zipapp.read(path)
    aside = path + ".new"
    try:
        _write(aside, header, sources)
        os.rename(aside, path)
    except BaseException:  # the disk is full, or a person stops the command
        if os.path.exists(aside):
            os.unlink(aside)
        raise
    return 0


def _write(path: str, header: bytes, sources: "Dict[str, bytes]") -> None:
    with open(path, "w+b") as file:
        os.fchmod(file.fileno(), 0o755)
        file.write(header)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as packed:
            for name, source in sources.items():
                packed.writestr(zipfile.ZipInfo(name, date_time=_DATE), source)
                if name.endswith(".py"):
                    compiled = zipfile.ZipInfo(name + "c", date_time=_DATE)
                    packed.writestr(compiled, _bytecode(name, source))
        file.flush()
        os.fsync(file.fileno())


def _bytecode(name: str, source: bytes) -> bytes:
    code = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
    return importlib.util.MAGIC_NUMBER + _validity(source) + code


def _validity(source: bytes) -> bytes:
    """The part of a .pyc by which the interpreter knows that it belongs to the source."""
    if sys.version_info >= (3, 7):
        return struct.pack("<I", _UNCHECKED) + importlib.util.source_hash(source)
    modified = int(time.mktime(_DATE + (0, 0, -1)))  # Python 3.6 compares the entry's date
    return struct.pack("<II", modified & 0xFFFFFFFF, len(source))
