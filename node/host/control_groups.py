"""Control groups (cgroups(7)) of a command's own, with limits of memory and processes.

For commands that run a foreign program apart from this machine; no callout imports this module. A
machine may have either version of control groups or both, or lets nobody make one: then there is no
limit, and the caller does without."""

import contextlib
import os

from node.host import mount_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Sequence

_MEMORY = "memory"
_PROCESSES = "pids"
_VERSION_1 = "cgroup"
_VERSION_2 = "cgroup2"


class Limits:
    """memory_bytes: also of files in memory; none of it is swapped out. processes: with threads."""

    def __init__(self, memory_bytes: int, processes: int) -> None:
        self.memory_bytes = memory_bytes
        self.processes = processes

    def files(self, version: str) -> "Dict[str, Dict[str, int]]":
        """What is written into the files of a group, by controller. A kernel without swap, or that
        does not count it, lacks the last file of memory."""
        if version == _VERSION_2:
            memory = {"memory.max": self.memory_bytes, "memory.swap.max": 0}
        else:
            memory = {
                "memory.limit_in_bytes": self.memory_bytes,
                "memory.memsw.limit_in_bytes": self.memory_bytes,
            }
        return {_MEMORY: memory, _PROCESSES: {"pids.max": self.processes}}


class Groups:
    """Groups of one name in all hierarchies that have a limit for us.

    paths: their directories. limited: what is limited, "memory" and "pids"."""

    def __init__(self) -> None:
        self.paths: "List[str]" = []
        self.limited: "List[str]" = []

    def enter(self) -> None:
        """Moves this process into the groups, as far as this machine lets us move."""
        for path in self.paths:
            with contextlib.suppress(OSError):  # we do without this limit, too
                _write(os.path.join(path, "cgroup.procs"), 0)

    def remove(self) -> None:
        """Removes the groups, whose processes have all ended. Raises OSError."""
        for path in self.paths:
            os.rmdir(path)


def make(name: str, limits: Limits) -> Groups:
    """Makes groups of that name, as far as this machine lets us make them."""
    groups = Groups()
    for mount in list(mount_table.table()):
        if mount.fs_type not in (_VERSION_1, _VERSION_2):
            continue
        parent = _parent(mount)
        wanted = [each for each in _controllers(mount, parent) if each not in groups.limited]
        if parent and wanted and _make(os.path.join(parent, name), mount.fs_type, wanted, limits):
            groups.paths.append(os.path.join(parent, name))
            groups.limited += wanted
    return groups


def _parent(mount: "mount_table.Mount") -> str:
    """The directory in which a group of ours can have limits: our own group's, or in version 2,
    where no group with processes has groups with limits below itself, the one above; "" if the
    mount does not show that directory."""
    words = mount.super_flags.split(",")
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if mount.fs_type == _VERSION_2 and not controllers:
                own = os.path.dirname(path)
                break
            if controllers and set(controllers.split(",")) <= set(words):
                own = path
                break
        else:
            return ""
    root = mount.root.rstrip("/")
    if own.startswith("/.."):  # outside of this control group namespace
        return ""
    if own != root and not own.startswith(root + "/"):
        return ""
    return mount.path + own[len(root) :].rstrip("/")


def _controllers(mount: "mount_table.Mount", parent: str) -> "Sequence[str]":
    """Which of the two limits a group in that directory can have."""
    if mount.fs_type == _VERSION_1:
        words = mount.super_flags.split(",")
    else:
        try:
            with open(os.path.join(parent, "cgroup.subtree_control")) as file:
                words = file.read().split()
        except OSError:  # this container does not see its groups
            return ()
    return [each for each in (_MEMORY, _PROCESSES) if each in words]


def _make(path: str, version: str, controllers: "Sequence[str]", limits: Limits) -> bool:
    """Makes one group. Returns whether the group is there, with its limits."""
    try:
        os.mkdir(path, 0o755)
    except OSError:  # a container may see its groups only
        return False
    try:
        for controller in controllers:
            _limit(path, limits.files(version)[controller])
        return True
    except OSError:
        os.rmdir(path)
        return False


def _limit(path: str, values: "Dict[str, int]") -> None:
    for name, value in values.items():
        file = os.path.join(path, name)
        if os.path.exists(file):
            _write(file, value)


def _write(path: str, value: int) -> None:
    with open(path, "w") as file:
        file.write(str(value))
