"""The mount options of a volume: those of its record, but without those that no class may have and
those that the kernel of this node refuses.

The data matters more than how the data is cached, so a refused option does not keep a volume from
its pod. Another kernel may know the option, or an older flexvol may have let a class have it."""

import errno

from node.host import config, mount_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List

    from node.drivers.loop.volumes import Volume

    MountWith = Callable[[List[str]], None]

# Why a record cannot be written: the pool's disk is full, a quota is used up, it is read-only.
_NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def flags(volume: "Volume", read_only: bool) -> "List[str]":
    """The flags of one pod's mount: from the node's config, the class and the pod, sorted."""
    banned = not_allowed(volume)
    wanted = set(config.mount_flags())
    for option in volume.record.mount_options:
        if option in mount_calls.FLAGS and option not in banned:
            wanted.add(option)
    if read_only:
        wanted.add("ro")
    return sorted(wanted)


def of_file_system(volume: "Volume") -> "List[str]":
    """The options of the record that are the file system's, and no flags of one mount."""
    banned = not_allowed(volume)
    return [
        option
        for option in volume.record.mount_options
        if option not in mount_calls.FLAGS and option not in banned
    ]


def not_allowed(volume: "Volume") -> "List[str]":
    """The options of the record that no class may have: the record, too, may have been copied in
    from elsewhere, or be of an older flexvol."""
    file_system = volume.file_system
    return [
        option
        for option in volume.record.mount_options
        if not file_system.allows_mount_option(option)
    ]


def without_refused(mount_with: "MountWith", options: "List[str]") -> None:
    """Calls `mount_with` with as many of the options as the kernel takes.

    Where the kernel names the option that it refuses, that option is left out. Where the kernel
    names none, each option is left out in turn, and at last all of them. Raises the first refusal
    if the options are not the reason."""
    try:
        mount_with(options)
        return
    except mount_calls.OptionRefused as refusal:
        if not options:
            raise
        first = refusal
    if first.option in options:
        rest = [option for option in options if option != first.option]
        without_refused(mount_with, rest)
        return
    for fewer in _each_with_fewer(options):
        try:
            mount_with(fewer)
            return
        except mount_calls.OptionRefused:
            continue
    raise first


def _each_with_fewer(options: "List[str]") -> "List[List[str]]":
    """The options without the first, without the second, and so on; and at last none of them."""
    attempts = []
    for left_out in range(len(options)):
        attempts.append([option for n, option in enumerate(options) if n != left_out])
    attempts.append([])
    return attempts


def note_left_out(volume: "Volume", left_out: "List[str]") -> None:
    """Writes into the record which options the volume is mounted without, for status and the log. A
    disk that cannot be written to does not keep the volume from its pod."""
    if volume.record.left_out == left_out:
        return
    try:
        volume.save(left_out=left_out)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
