"""Copies of the driver in which a line is edited: a test cannot wait for every limit, and cannot
see every moment from outside.

Each text of the sources that a test replaces is a `Spot` below, and nowhere else. Whoever changes
such a line in the sources changes its `Spot` too; tests/unit/node/test_edits.py says so within a
second."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
import zipfile
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Change:
    """A text of a source file, and the text that replaces it in the copy."""

    file: str
    old: str
    new: str


@dataclasses.dataclass(frozen=True)
class Spot:
    """A text that stands exactly once in a source file.

    file: the file's path in the source tree, which is its name in the zipapp.
    text: what stands there.
    replacement: what stands there in the copy; NEW is what the test chooses."""

    file: str
    text: str
    replacement: str

    def to(self, new: object) -> Change:
        return Change(self.file, self.text, self.replacement.replace("NEW", str(new)))


# How long the driver waits: a test makes the limit shorter, or so long that it never ends.
LOCK_SECONDS = Spot(
    "node/drivers/loop/locks.py",
    "LOCK_SECONDS = 20",
    "LOCK_SECONDS = NEW",
)
IN_USE_SECONDS = Spot(
    "node/drivers/loop/volumes.py",
    "_IN_USE_SECONDS = 2",
    "_IN_USE_SECONDS = NEW",
)
FROZEN_SECONDS = Spot(
    "node/drivers/loop/by_hand/frozen.py",
    "_FROZEN_SECONDS = 30",
    "_FROZEN_SECONDS = NEW",
)
TRIMMED_BYTES = Spot(
    "node/drivers/loop/by_hand/trimming.py",
    "_PIECE_BYTES = 1 << 30",
    "_PIECE_BYTES = NEW",
)
QUIET_SECONDS = Spot(
    "node/host/apart.py",
    "QUIET_SECONDS = 15",
    "QUIET_SECONDS = NEW",
)
IDLE_SECONDS = Spot(
    "node/host/filesystems/base.py",
    "IDLE_SECONDS = 600",
    "IDLE_SECONDS = NEW",
)
PATIENCE_SECONDS = Spot(
    "node/host/work.py",
    "_PATIENCE_SECONDS = 30",
    "_PATIENCE_SECONDS = NEW",
)
PROVISION_SECONDS = Spot(
    "shared/protocol.py",
    '("options",), 600, _PROVISIONER, "create a volume',
    '("options",), NEW, _PROVISIONER, "create a volume',
)

# A statement in front of which the test's own expression is evaluated.
SHARE_BLOCKS_OF_A_FROZEN_FILE_SYSTEM = Spot(
    "node/drivers/loop/by_hand/frozen.py",
    "done = work()",
    "done = (NEW, work())[-1]",
)
TRIM_A_PIECE = Spot(
    "node/drivers/loop/by_hand/trimming.py",
    "fcntl.ioctl(root, _FITRIM",
    "(NEW, fcntl.ioctl)[-1](root, _FITRIM",
)
# A statement behind which the test's own statements stand.
IMPORT_TIME = Spot("node/callouts.py", "import time\n", "import time\nNEW\n")
LOOKED_AT_POOLS = Spot(
    "node/host/apart.py",
    "    answers = children.side_by_side(works, quiet_seconds, seconds)\n",
    "    answers = children.side_by_side(works, quiet_seconds, seconds)\nNEW\n",
)

# What the driver knows of the kernel and of the options of a file system.
DIRECT_IO_IS_SOUND_SINCE = Spot(
    "node/host/copy_on_write.py",
    "_SOUND_DIRECT_IO = (6, 15)",
    "_SOUND_DIRECT_IO = NEW",
)
LOOP_CONFIGURE = Spot(
    "node/host/loopdev.py",
    "_CONFIGURE = 0x4C0A",
    "_CONFIGURE = NEW",
)
LARGEST_COMMIT = Spot(
    "node/host/filesystems/option_values.py",
    "COMMIT_SECONDS = 2147483",
    "COMMIT_SECONDS = NEW",
)
SIZE_OPTION_IS_VALID = Spot(
    "node/host/filesystems/option_values.py",
    "least <= size <= most and size & size - 1 == 0",
    "NEW",
)

VERSION = Spot("shared/protocol.py", 'VERSION = "0.1.0"', 'VERSION = "NEW"')


def waiting_for(path: str) -> str:
    """An expression for an edit that waits until the file is there. It needs no import of the
    edited file."""
    exists = f"__import__('os').path.exists({path!r})"
    return f"[__import__('time').sleep(0.05) for _ in iter(lambda: {exists}, True)]"


def edited(source: Path, target: Path, *changes: Change) -> list[str]:
    """Makes an edited copy of the driver.

    source: the file as built, without bytecode, which would count and not the text.
    target: the copy.
    Returns the words that run the copy."""
    shutil.copy(source, target)
    with zipfile.ZipFile(target, "a") as zipapp:
        texts: dict[str, str] = {}
        for change in changes:
            text = texts.get(change.file) or zipapp.read(change.file).decode()
            assert text.count(change.old) == 1, change
            texts[change.file] = text.replace(change.old, change.new)
        with warnings.catch_warnings():
            # zipfile warns of a name that is there twice. The last one counts.
            warnings.simplefilter("ignore")
            for name, text in texts.items():
                zipapp.writestr(name, text)
    return [str(target)]
