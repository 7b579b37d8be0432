"""Mounts that cannot succeed, or need not: what a driver does when something fails."""

import errno
import os

from node.host import namespaces
from node.sanity.life import NODE, go_json, mounts_at, take_away
from node.sanity.runner import Surroundings
from shared import options as keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator, List, Optional

    from node.sanity.life import Life
    from node.sanity.runner import Call

# No disk has so many.
HUGE_BYTES = 1 << 60
# Where drivers keep their notes.
_PLACES_OF_NOTES = ("/run", "/tmp", "/var", "/")


class Tried:
    """A mount that was tried. is_mounted: whether something was mounted at the pod's directory
    afterwards. left: the names of files in the directory."""

    def __init__(self, what: str, call: "Call", path: str) -> None:
        self.what = what
        self.call = call
        self.is_mounted = bool(mounts_at(path))
        self.left: "List[str]" = []
        if not self.is_mounted and os.path.isdir(path):
            self.left = os.listdir(path)

    def told(self) -> str:
        """The mount and its outcome as words for a person."""
        return "{}: {}".format(self.what, self.call.told())


def doubtful_mounts(life: "Life", path: str) -> "List[Call]":
    """The calls of `tried_mounts`."""
    return [tried.call for tried in tried_mounts(life, path)]


def refused_mount(
    life: "Life",
    path: str,
    options: "Optional[Dict[str, str]]" = None,
    is_traced: bool = False,
) -> Tried:
    """A mount that the kernel refuses."""
    around = powerless()
    around.is_traced = is_traced
    return Tried("the kernel refuses to mount", life.mount(path, options, around), path)


def refused_device_mount(life: "Life") -> "Call":
    """A mountdevice that the kernel refuses. The volume is attached before."""
    return life.mount_device(None, powerless())


def refused_unmounts(life: "Life", path: str) -> "List[Call]":
    """An unmount that the kernel refuses, if a mount succeeds before; none otherwise."""
    if not life.mount(path).succeeded or not mounts_at(path):
        return []
    return [life.unmount(path, powerless())]


def refused_calls(life: "Life") -> "List[Call]":
    """Calls other than mount and unmount that most drivers refuse: an attach without options, and
    those of the provisioner for a volume without a name, or larger than any disk."""
    calls = []
    if life.request.attach:
        options = {keys.FS_TYPE: "", keys.READ_WRITE: "rw", keys.VOLUME: life.volume()}
        calls.append(life.runner.run("attach", [go_json(options), NODE]))
    if life.request.provision:
        calls.append(life.provision(""))
        calls.append(life.provision(life.new_name(), HUGE_BYTES))
        calls.append(life.delete(""))
    return calls


def repeated_detaches(life: "Life") -> None:
    """With --attach: detaches the volume, and then twice what is not attached any more."""
    if life.request.attach:
        life.reach_device()
        life.leave_device()
        for name in (life.volume(), life.new_name()):
            life.runner.run("detach", [name, NODE])


def powerless() -> Surroundings:
    """For a call in which the kernel refuses to mount and to unmount, as the driver lacks
    CAP_SYS_ADMIN."""
    around = Surroundings()
    around.without = ("SYS_ADMIN",)
    return around


def tried_mounts(life: "Life", path: str) -> "Iterator[Tried]":
    """Mounts of which most fail in most drivers, one after the other. What one mounts is taken away
    before the next one."""
    yield _cleared(refused_mount(life, path), life, path)
    for what, options in _strange_options(life).items():
        yield _cleared(Tried(what, life.mount(path, options), path), life, path)
    # A mount that succeeded before was undone, which may have removed the pod's directory.
    os.makedirs(path, 0o750, exist_ok=True)
    # kubelet made the directory before the disk became read-only; an unmount may have removed it.
    os.makedirs(path, 0o750, exist_ok=True)
    _set_read_only(True)
    try:
        tried = Tried("the node's disk is read-only", life.mount(path), path)
    finally:
        _set_read_only(False)
    yield _cleared(tried, life, path)


def _cleared(tried: Tried, life: "Life", path: str) -> Tried:
    if tried.is_mounted:
        life.unmount(path)
        take_away(path)
    return tried


def _strange_options(life: "Life") -> "Dict[str, Dict[str, str]]":
    """Options that a driver may refuse, or fail with half-way."""
    options = life.mount_options()
    own = life.pv_options()
    strange = {
        "the volume has no options": {
            key: value for key, value in options.items() if key not in own
        }
    }
    if keys.FS_TYPE not in own:
        strange["an unknown fsType"] = dict(options)
        strange["an unknown fsType"][keys.FS_TYPE] = "no-such-filesystem"
    strange["a FsGroup that is no number"] = dict(options)
    strange["a FsGroup that is no number"][keys.FS_GROUP] = "no-such-group"
    strange["read-only"] = dict(options)
    strange["read-only"][keys.READ_WRITE] = "ro"
    return strange


def _set_read_only(is_read_only: bool) -> None:
    for path in _PLACES_OF_NOTES:
        try:
            namespaces.set_read_only(path, is_read_only)
        except OSError as error:
            if error.errno != errno.EBUSY:  # the driver has a file open for writing there
                raise
