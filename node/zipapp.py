"""The one file that this program is: a sh header, and behind it a zip of the sources, and of their
bytecode once `flexvol precompile` has added that."""

import os
import zipfile

from shared.protocol import Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Tuple


def path() -> str:
    """The path of the file that is running.

    :raises Internal: in a source tree"""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.isfile(root):
        return root
    sentence = "{} is a source tree; build the one file first: ./build.sh build"
    raise Internal(sentence.format(root))


def read(path: str) -> "Tuple[bytes, Dict[str, bytes]]":
    """Returns the header of a zipapp, and its sources by name.

    :raises Internal: if the zipapp is damaged"""
    try:
        with zipfile.ZipFile(path) as packed:
            damaged = packed.testzip()
            if damaged:
                sentence = "{} is damaged at {}; install it again"
                raise Internal(sentence.format(path, damaged))
            names = [name for name in packed.namelist() if not name.endswith(".pyc")]
            header_length = min(entry.header_offset for entry in packed.infolist())
            sources = {name: packed.read(name) for name in names}
    except zipfile.BadZipFile as error:
        raise Internal("{} is damaged: {}".format(path, error)) from None
    with open(path, "rb") as file:
        return file.read(header_length), sources


def bytecode_magic(path: str) -> bytes:
    """The magic number of the Python whose bytecode is in a zipapp; b"" if it holds none."""
    with zipfile.ZipFile(path) as packed:
        for name in packed.namelist():
            if name.endswith(".pyc"):
                return packed.read(name)[:4]
    return b""
