"""What a tool overwrites in an ext4 is kept beside the image until the tool is done, and is put
back if the tool was killed.

Two files lie in the volume's directory meanwhile. `undo` is e2fsprogs' own (option -z). `undo.json`
says of which image it is, and in which state that image was when the tool began: both may have
changed since. A backup may be restored, or a person may mount or repair the image by hand, and
blocks of an earlier state would then ruin a later one."""

import os
import struct

from node.host import files
from shared import process
from shared.protocol import Internal, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Sequence, Tuple

FILE = "undo"
OF = "undo.json"
FILES = (FILE, "." + FILE + ".new", OF, "." + OF + ".new")
IMAGE = "image"
_MAGIC = b"E2UNDO02"
# How much of e2undo's words a message has.
_WORDS_CHARACTERS = 200
# Offsets and bits: fs/ext4/ext4.h, struct ext4_super_block.
_SUPERBLOCK_BYTES = 1024
_VALID = 1  # s_state
_ERRORS = 2
_LOG_TO_REPLAY = 4  # EXT4_FEATURE_INCOMPAT_RECOVER
# What comparing the image with undo.json gives.
_SAME = "same"
_OTHER = "other"
_UNSURE = "unsure"


class Target:
    """What a tool works on. device: the path of the image's loop device. directory: the open
    directory of the volume. lock: the descriptor of a lock that the tool holds as long as the tool
    lives."""

    def __init__(self, device: str, directory: int, lock: int) -> None:
        self.device = device
        self.directory = directory
        self.lock = lock

    def superblock(self) -> bytes:
        """The 1024 bytes of an ext4's superblock."""
        with open(self.device, "rb") as device:
            return os.pread(device.fileno(), _SUPERBLOCK_BYTES, _SUPERBLOCK_BYTES)


def is_left(directory: int) -> bool:
    """Whether a tool works on the image in the open directory, or was stopped while it did."""
    return files.exists(directory, FILE) or files.exists(directory, OF)


def _note(target: Target, tool: str) -> None:
    """Writes on which image, in which state, a tool begins to work; on disk when it returns."""
    import json

    content = _state(target.superblock())
    content.update(image=_identity(target.directory), tool=tool)
    files.write(target.directory, OF, json.dumps(content).encode("ascii"))


def _noted(target: Target) -> "Dict[str, Any]":
    """What `_note` wrote; empty if an older flexvol began the work, which wrote nothing."""
    import json

    try:
        content = json.loads(files.read(target.directory, OF).decode("ascii"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _identity(directory: int) -> str:
    with files.open_file(directory, IMAGE, os.O_RDONLY) as image:
        return files.identity(image)


def forget(directory: int) -> None:
    """Removes what is kept, for good: what is mounted after it must never be undone."""
    for name in (FILE, OF):  # in this order: nobody would know of which image FILE alone is
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            continue
        os.fsync(directory)


def run(
    line: "List[str]",
    good: "Tuple[int, ...]",
    target: Target,
    seconds: int,
    last: "Sequence[str]" = (),
) -> "process.Result":
    """Runs a tool that keeps what it overwrites.

    line: the command, without the device. good: the exit statuses of success. seconds: how long the
    tool may make no progress. last: the words after the device. A tool that is killed in between,
    or fails for want of space, leaves what neither the kernel nor e2fsck -p takes: a superblock
    without its checksum, half a resize. Unless the tool ends with a `good` status its work is
    undone."""
    _note(target, line[0])
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    with files.open_file(target.directory, FILE, flags) as kept:
        words = [*line, "-z", "/proc/self/fd/{}".format(kept), target.device, *last]
        result = process.run(words, seconds, (kept, target.lock), while_at_work=True)
    if result.status in good:
        forget(target.directory)
    else:
        recover(target, seconds)
    return result


def recover(target: Target, seconds: int) -> bool:
    """Puts back what a stopped tool has changed, if the image is as that tool left it.

    Returns whether the file system needs a full check, because what was kept is of another state
    and was not used. Raises Unavailable, and changes nothing, where nobody can tell."""
    if not is_left(target.directory):
        return False
    if not _holds_blocks(target.directory) or _is_sound(target, seconds):
        forget(target.directory)
        return False
    before = _noted(target)
    verdict = _compare(before, _state(target.superblock()))
    if verdict == _OTHER:
        forget(target.directory)
        return True
    is_same_file = before.get("image") == _identity(target.directory)
    if before and (verdict == _UNSURE or not is_same_file):
        raise Unavailable(
            "{} was stopped while it worked on its ext4, and the image is not the one, or not in "
            "the state, that {} worked on, so nothing is undone by itself; in a copy of the "
            "volume's directory run: e2undo -f undo image, and e2fsck -f image; when that copy of "
            "the image is sound put it in place of the image, or put a backup of the image "
            "there".format(before.get("tool"), before.get("tool"))
        )
    _put_back(target, bool(before), seconds)
    forget(target.directory)
    return False


def _holds_blocks(directory: int) -> bool:
    """Whether the tool had begun: a tool writes the head of FILE before anything to the device."""
    try:
        return files.read(directory, FILE, len(_MAGIC)) == _MAGIC
    except FileNotFoundError:
        return False


def _is_sound(target: Target, seconds: int) -> bool:
    """Whether the image can be mounted as it is; only looks."""
    block = target.superblock()
    if has_errors(block) or _state(block)["log"]:
        return False
    line = ["e2fsck", "-f", "-n", target.device]
    check = process.run(line, seconds, (target.lock,), while_at_work=True)
    return check.status == 0


def has_errors(superblock: bytes) -> bool:
    """Whether the kernel or a tool noted that the file system has errors. resize2fs notes that
    while it works."""
    (state,) = struct.unpack_from("<H", superblock, 0x3A)
    return not state & _VALID or bool(state & _ERRORS)


def _put_back(target: Target, is_compared: bool, seconds: int) -> None:
    """Has e2undo put back what was kept.

    e2undo refuses what a killed tool kept, because that has no end, unless -f is given. The
    comparison with undo.json has shown that what was kept is of this image in this state. Without
    undo.json, which an older flexvol did not write, e2undo itself compares the superblock, and is
    not forced."""
    force = ["-f"] if is_compared else []
    with files.open_file(target.directory, FILE, os.O_RDWR) as kept:
        line = ["e2undo", *force, "/proc/self/fd/{}".format(kept), target.device]
        undone = process.run(line, seconds, (kept, target.lock), while_at_work=True)
    if undone.status != 0 and not _is_sound(target, seconds):
        raise Internal(
            "a check or growth of its ext4 was cut short and cannot be undone; run e2fsck on a "
            "copy of the image, put that in its place, and then remove undo and undo.json beside "
            "it, or restore a backup: {}".format(undone.text[-_WORDS_CHARACTERS:])
        )


def _state(superblock: bytes) -> "Dict[str, Any]":
    """What tells one state of an ext4 from another.

    made: when the ext4 was made. uuid: its UUID, which is tune2fs's to change. mounted: when the
    kernel mounted it last, to be written to. mounts: how often, since e2fsck ran. mountedAt: the
    last mount's directory. checked: when e2fsck ended. written: when the superblock was written.
    log: whether the journal is to be replayed."""
    block = superblock.ljust(_SUPERBLOCK_BYTES, b"\0")
    mounted, written, mounts = struct.unpack_from("<IIH", block, 0x2C)
    (checked,) = struct.unpack_from("<I", block, 0x40)
    (incompatible,) = struct.unpack_from("<I", block, 0x60)
    (made,) = struct.unpack_from("<I", block, 0x108)
    return {
        "made": made,
        "uuid": block[0x68:0x78].hex(),
        "mounted": mounted,
        "mounts": mounts,
        "mountedAt": block[0x88:0xC8].hex(),
        "checked": checked,
        "written": written,
        "log": bool(incompatible & _LOG_TO_REPLAY),
    }


def _compare(before: "Dict[str, Any]", now: "Dict[str, Any]") -> str:
    """Whether an image in state `now` may be what the tool, which began in state `before`, left."""
    if not before:
        return _SAME  # an older flexvol began; e2undo compares
    if any(before.get(key) != now[key] for key in _kept_by(before)):
        return _OTHER
    if now["mounts"] not in (before.get("mounts"), 0):  # e2fsck begins to count anew
        return _OTHER
    if now["log"] and not before.get("log"):
        return _OTHER
    if now["written"] < int(before.get("written", 0)):
        return _UNSURE  # an older state of the same mount, or a clock that was set back
    return _SAME


def _kept_by(before: "Dict[str, Any]") -> "List[str]":
    """The parts of the state that the tool does not change."""
    kept = ["made", "mounted"]
    if before.get("tool") != "tune2fs":
        kept.append("uuid")
    if before.get("tool") != "e2fsck":
        kept.append("checked")
    if not before.get("log"):  # the journal may hold it, and e2fsck replays that
        kept.append("mountedAt")
    return kept
