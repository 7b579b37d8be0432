"""What every file system of ours can do: be made, identified, checked, copied and grown.

Every file system is made for 4096-byte sectors, so that an image mounts on every disk, and with the
features that kernel 4.18 knows and no newer ones, because the tools in the container are newer than
the node's kernel may be."""

import os

from node.host import mount_calls
from node.host.filesystems import features
from node.host.filesystems.option_values import NO_VALUE
from shared import process
from shared.protocol import Internal, InvalidArgument, Unavailable, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Optional, Tuple

    from node.host.filesystems.features import Word
    from node.host.filesystems.option_values import Value
    from node.host.undo import Target

BLOCK_BYTES = 4096
# mkfs takes seconds; on a slow disk a thick image of many GiB takes minutes.
_MAKE_SECONDS = 300
# A tool tells its version at once.
VERSION_SECONDS = 10
# A tool that checks, grows or changes what is in an image may take hours. The tool is killed, and
# its work undone, after so long without progress.
IDLE_SECONDS = 600
# modprobe reads one file.
_MODPROBE_SECONDS = 10
# How much of mkfs's words about a refused option a message has.
_REFUSAL_CHARACTERS = 200
_VERSION_CHARACTERS = 80


class NotPermitted(Unavailable):
    """Growth while mounted needs a capability that this process does not have."""


class FileSystem:
    """The interface; a subclass has an entry in filesystems.TABLE.

    A `device` is the open image or loop device that carries the file system; a `root` is the open
    directory at which the file system is mounted. `recover`, `repair`, `set_uuid` and
    `grow_unmounted`, and no other method, run tools on an image that may hold data."""

    # As in mount -t.
    name = ""
    # The smallest image in which the file system is made.
    minimum_bytes = 0
    # The smallest size to which the file system can be grown.
    minimum_grown_bytes = 0
    # The programs that a node needs to mount every volume with this file system.
    mount_tools: "Tuple[str, ...]" = ()
    # What a class may ask for: options of mkfs, and options of the mounted file system. Values
    # beyond these are refused by every mkfs, or by every kernel from 4.18 on.
    make_options: "Dict[str, Value]" = {}
    mount_options: "Dict[str, Value]" = {}
    # The features that a new file system may have.
    allowed_features: "Tuple[Word, ...]" = ()

    def make(self, image: int, uuid: str, thick: bool, options: "List[str]", lock: int) -> None:
        """Makes the file system in the open file `image`.

        uuid: what the file system is known by from now on. thick: gives nothing of the image back
        to the pool. options: checked words for mkfs. lock: the descriptor of a lock that the tool
        must hold as long as the tool lives. Raises InvalidArgument if mkfs refuses the options for
        an image of this size; Internal, with the tool's words, if mkfs cannot make the file system
        at all, or makes it with features that are not allowed."""
        line = self._make_line(uuid, thick)
        target = ["/proc/self/fd/{}".format(image)]
        made = process.run(line + options + target, _MAKE_SECONDS, (image, lock))
        if made.status != 0 and options:
            without = process.run(line + target, _MAKE_SECONDS, (image, lock))
            if without.status == 0:
                raise InvalidArgument(
                    "mkfsOptions {}: {} refuses them for a volume of {} MiB: {}".format(
                        shown(" ".join(options)),
                        line[0],
                        os.fstat(image).st_size >> 20,
                        _refusal(made),
                    )
                )
        made.check()
        self._check_features(image, line[0])

    def _check_features(self, image: int, tool: str) -> None:
        surplus = features.surplus(self.allowed_features, image)
        if not surplus:
            return
        version = process.run([tool, "-V"], VERSION_SECONDS).text
        raise Internal(
            "{} ({}) makes {} with {}, which is none of the features of kernel {} that "
            "volumes have; nothing was left; use an older version of that tool, or a newer "
            "flexvol".format(
                tool,
                version[:_VERSION_CHARACTERS],
                self.name,
                ", ".join(surplus),
                features.KERNEL,
            )
        )

    def _make_line(self, uuid: str, thick: bool) -> "List[str]":
        """The command line of mkfs, without the class's options and without the image."""
        raise NotImplementedError

    def check_make_options(self, words: "List[str]") -> None:
        """Raises InvalidArgument unless the words are pairs of an option and its value that a class
        may ask for."""
        for number in range(0, len(words), 2):
            pair = words[number : number + 2]
            option = " ".join(pair)
            value = "".join(pair[1:])
            about = "mkfs option {}".format(shown(option))
            self._check(about, pair[0], value, self.make_options)

    def check_mount_option(self, option: str) -> None:
        """Raises InvalidArgument unless a class may ask for the option: an option of the file
        system, or a flag of each mount."""
        name, equals, value = option.partition("=")
        if equals and not value:
            value = equals  # so that "nodelalloc=" is refused as well as "commit="
        about = "mount option {}".format(shown(option))
        self._check(about, name, value, self._known_mount_options())

    def allows_mount_option(self, option: str) -> bool:
        """Whether a class may ask for the option."""
        try:
            self.check_mount_option(option)
            return True
        except InvalidArgument:
            return False

    def knows_mount_option(self, option: str) -> bool:
        """Whether a class may ask for an option of that name, with whatever value."""
        return option.partition("=")[0] in self._known_mount_options()

    def _known_mount_options(self) -> "Dict[str, Value]":
        flags = {flag: NO_VALUE for flag in mount_calls.FLAGS if flag != "ro"}
        return dict(self.mount_options, **flags)

    def _check(self, about: str, name: str, value: str, known: "Dict[str, Value]") -> None:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise InvalidArgument(
                "{} is not one that a class may have for {}: {}".format(about, self.name, names)
            )
        if not known[name].holds(value):
            raise InvalidArgument(
                "{}: {} of {} {}".format(about, name, self.name, known[name].says)
            )

    def in_kernel(self) -> bool:
        """Whether the kernel has the file system, or a module that a mount loads."""
        with open("/proc/filesystems") as known:
            if self.name in known.read().split():
                return True
        line = ["modprobe", "--dry-run", "--quiet", "fs-" + self.name]
        try:
            return process.run(line, _MODPROBE_SECONDS).status == 0
        except Internal:  # no modprobe, no modules
            return False

    def discard_options(self, thick: bool) -> "List[str]":
        """The mount options that let a thin volume give back to the pool what the pod frees, and a
        thick one keep it."""
        return [] if thick else ["discard"]

    def uuid(self, device: int) -> str:
        """The UUID with which the file system was made."""
        raise NotImplementedError

    def size_bytes(self, device: int) -> "Optional[int]":
        """The size that the superblock states; None if this file system is not on the device."""
        raise NotImplementedError

    def mounted_bytes(self, root: int) -> int:
        """The size that the kernel knows of the mounted file system, where that may be newer than
        the superblock's; else 0."""
        return 0

    def has_errors(self, device: int) -> bool:
        """Whether the kernel noted in the superblock that it found errors."""
        return False

    def recover(self, target: "Target") -> bool:
        """Undoes what a tool that was killed on its way has left, by what lies in the volume's
        directory, if the image is what that tool left. Returns whether the file system needs a full
        check."""
        return False

    def repair(self, target: "Target", everything: bool = False) -> None:
        """Repairs what needs no decision, before the first mount.

        everything: looks also where nothing is noted. Raises work.NeedsDecision for anything
        worse."""

    def set_uuid(self, target: "Target", uuid: str) -> None:
        """Gives a copy that was never mounted another UUID than its source's; `recover` deals with
        what was cut short. The copy may be of a file system in use, so that there is a log to
        replay."""
        raise NotImplementedError

    def grow_unmounted(self, target: "Target") -> None:
        """Fills the grown device while the file system is not mounted, after `grow` was
        NotPermitted."""
        raise NotImplementedError

    def grow(self, root: int, size_bytes: int) -> None:
        """Fills the grown device, `size_bytes` long, through the mounted root. Does nothing if the
        file system fills the device already. Raises NotPermitted if the kernel lets only a tool do
        that."""
        raise NotImplementedError


def _refusal(failed: "process.Result") -> str:
    """The first words in which mkfs says what it does not take; how mkfs is called comes after
    them, and what btrfs has to tell of its defaults before them."""
    words = failed.text.partition("Usage:")[0]
    _, _, error = words.rpartition("ERROR: ")
    return error.strip()[:_REFUSAL_CHARACTERS]
