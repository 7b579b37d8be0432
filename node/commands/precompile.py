"""flexvol precompile: adds this interpreter's bytecode to the file itself.

A zipapp is compiled from source at every start, which is more than half of a callout's time.
Bytecode belongs to one version of Python, so it is made on the node by the node's own interpreter;
another version ignores it and is as slow
as before. The file stays what it is: a header and a zip that holds every source.
"""

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
    from typing import List


def main(words: "List[str]") -> int:
    argparse.ArgumentParser(prog="flexvol precompile", description=__doc__).parse_args(words)
    archive = zipapp.path()
    header, entries = zipapp.read(archive)
    aside = archive + ".new"
    with open(aside, "w+b") as file:
        os.fchmod(file.fileno(), 0o755)
        file.write(header)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as packed:
            for name, source in entries.items():
                entry = zipfile.ZipInfo(name, date_time=_DATE)
                packed.writestr(entry, source)
                if name.endswith(".py"):
                    packed.writestr(
                        zipfile.ZipInfo(name + "c", date_time=_DATE), _bytecode(name, source)
                    )
        file.flush()
        os.fsync(file.fileno())
    os.rename(aside, archive)
    return 0


_DATE = (1980, 1, 1, 0, 0, 0)


def _bytecode(name: str, source: bytes) -> bytes:
    code = marshal.dumps(compile(source, name, "exec", dont_inherit=True))
    if sys.version_info >= (3, 7):
        unchecked = 1  # PEP 552: the source is in the same file and cannot have changed
        return (
            importlib.util.MAGIC_NUMBER
            + struct.pack("<I", unchecked)
            + importlib.util.source_hash(source)
            + code
        )
    modified = int(time.mktime(_DATE + (0, 0, -1)))  # Python 3.6 compares the entry's date
    return (
        importlib.util.MAGIC_NUMBER + struct.pack("<II", modified & 0xFFFFFFFF, len(source)) + code
    )
