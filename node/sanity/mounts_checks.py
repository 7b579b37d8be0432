"""Checks of what is mounted, and of what is left."""

import os
import stat

from node.sanity import written
from node.sanity.check import (
    ADVICE,
    BREAKS,
    DATA_LOSS,
    LEAK,
    PROVISION,
    SECURITY,
    After,
    Fault,
    NotAsked,
    Topic,
    Words,
)
from node.sanity.life import mounted_paths, mounts_at
from shared import options as keys
from shared.protocol import SUCCESS, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.sanity.life import Life

TOPIC = Topic()
_GROUP = 2000
_CYCLES = 3


@TOPIC.check(
    "mount",
    BREAKS,
    Words(
        "mount succeeds",
        "the pod stays in ContainerCreating, with the event FailedMount",
        "The mount that was asked for, with the options that were given to this program.",
    ),
    needs=(After("init"),),
)
def mount(life: "Life") -> None:
    life.begin()
    life.expect_success(life.mount(life.pod()))


@TOPIC.check(
    "mounted",
    DATA_LOSS,
    Words(
        "after Success the pod's directory is a mount point",
        "the pod writes to the node's disk; its data is not in the volume, and the pod stays in "
        "Terminating for ever",
        "kubelet does not look whether anything is mounted after a Success.",
    ),
    traps=(2,),
    needs=(After("init"), After("mount")),
)
def mounted(life: "Life") -> None:
    life.begin()
    path = life.pod()
    call = life.mount(path)
    if (call.succeeded or call.word() == SUCCESS) and not mounts_at(path):
        raise Fault("mount answered Success, and nothing is mounted at the pod's directory")
    life.must(call)


@TOPIC.check(
    "unmount",
    BREAKS,
    Words(
        "unmount succeeds",
        "the pod stays in Terminating; no event says why",
        "The unmount of a pod's directory that was mounted just before.",
    ),
    needs=("mounted",),
)
def unmount(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    life.expect_success(life.unmount(path))


@TOPIC.check(
    "unmounted",
    BREAKS,
    Words(
        "after Success nothing is mounted at the pod's directory",
        "the pod stays in Terminating: device or resource busy",
        "kubelet removes the directory after a Success, and retries while it is a mount point.",
    ),
    needs=("unmount",),
)
def unmounted(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    life.must(life.unmount(path))
    if mounts_at(path):
        raise Fault("unmount answered Success, and the pod's directory is still mounted")


@TOPIC.check(
    "nothing-below-the-mount",
    BREAKS,
    Words(
        "mount writes nothing into the pod's directory below the mount",
        "the pod stays in Terminating: directory not empty",
        "What is written there before the mount appears again after unmount, and kubelet removes "
        "the directory by rmdir, never with what is in it.",
    ),
    traps=(2,),
    needs=("unmounted",),
)
def nothing_below_the_mount(life: "Life") -> None:
    life.begin()
    path = life.pod()
    below = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        life.must_mount(path)
        names = os.listdir(below)
    finally:
        os.close(below)
    if names:
        raise Fault("mount left {} below its mount".format(shown(names[0])))


@TOPIC.check(
    "nothing-beside-the-mount",
    LEAK,
    Words(
        "mount writes nothing beside the pod's directory",
        "the directory of a pod that has ended stays on the node, and kubelet's log repeats: "
        "orphaned pod found",
        "kubelet takes each name beside the pod's directory for a further volume of the pod: after "
        "a restart it calls unmount for that, and removes it by rmdir, never with what is in it. "
        "Keep notes and passwords in a directory of /run.",
    ),
    traps=(3, 16),
    needs=(After("init"), After("mounted")),
)
def nothing_beside_the_mount(life: "Life") -> None:
    life.begin()
    path = life.pod()
    call = life.mount(path)
    directory, volume = os.path.split(path)
    beside = sorted(name for name in os.listdir(directory) if name != volume)
    if beside:
        raise Fault("mount made {} beside the pod's directory".format(shown(beside[0])))
    life.must(call)


@TOPIC.check(
    "empty-after-unmount",
    BREAKS,
    Words(
        "after unmount the pod's directory is empty or gone",
        "the pod stays in Terminating: directory not empty",
        "kubelet removes the directory by rmdir, never with what is in it. Files that a driver "
        "writes there, below its own mount, keep the pod for ever.",
    ),
    traps=(2,),
    needs=("nothing-below-the-mount",),
)
def empty_after_unmount(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    life.must_unmount(path)
    if os.path.isdir(path) and os.listdir(path):
        raise Fault("{} is left in the pod's directory".format(os.listdir(path)[0]))


@TOPIC.check(
    "mounts-left",
    LEAK,
    Words(
        "after the last unmount the driver has nothing mounted anywhere",
        "mounts pile up on the node, and the volume's storage stays in use",
        "A mount that the driver made for itself, to stage the volume for example, must go with "
        "the last pod.",
    ),
    traps=(5,),
    needs=("unmounted",),
)
def mounts_left(life: "Life") -> None:
    life.begin()
    before = mounted_paths()
    path = life.pod()
    life.must_mount(path)
    life.must_unmount(path)
    life.leave_device()
    left = [place for place in mounted_paths() if place not in before]
    if left:
        raise Fault("{} is still mounted".format(left[0][0]))


@TOPIC.check(
    "processes-left",
    LEAK,
    Words(
        "after the last unmount no process of the driver is left",
        "processes pile up on the node",
        "A process that serves a mount ends with the mount.",
    ),
    needs=("unmounted",),
)
def processes_left(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    life.must_unmount(path)
    life.leave_device()
    left = life.processes_left()
    if left:
        raise Fault("a process is left: {}".format(shown(left[0])))


@TOPIC.check(
    "loop-devices-left",
    LEAK,
    Words(
        "after the last unmount no loop device of the driver is left",
        "loop devices run out, and the volume's file stays in use",
        "A loop device without autoclear stays attached until somebody detaches it.",
    ),
    needs=("unmounted",),
)
def loop_devices_left(life: "Life") -> None:
    if not life.inside.settings.loop_devices:
        raise NotAsked("give --loop-devices")
    life.begin()
    path = life.pod()
    life.must_mount(path)
    life.must_unmount(path)
    life.leave_device()
    left = life.loop_devices_left()
    if left:
        raise Fault("{} is still attached".format(left[0]))


@TOPIC.check(
    "files-pile-up",
    LEAK,
    Words(
        "mounts and unmounts leave no more and more files",
        "the node's disk fills with the driver's files",
        "A temporary file of each call, with a name of its own, is never removed by anybody.",
    ),
    needs=("unmounted",),
)
def files_pile_up(life: "Life") -> None:
    life.begin()
    counts = []
    for number in range(_CYCLES):
        path = life.pod("pod-{}".format(number))
        life.must_mount(path)
        life.must_unmount(path)
        counts.append(set(written.paths(life.inside)))
    left = life.files_left([after - before for before, after in zip(counts, counts[1:])])
    if left:
        raise Fault("each mount and unmount leaves a file, such as {}".format(shown(left[0])))


@TOPIC.check(
    "read-only",
    BREAKS,
    Words(
        "a read-only volume is mounted read-only",
        "a volume that several nodes may only read is written to by each of them",
        "readwrite is ro for a PV or a pod that says readOnly. kubelet makes the container's view "
        "read-only, and not the mount itself.",
    ),
    needs=("mounted",),
)
def read_only(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path, life.mount_options(read_only=True))
    if not os.statvfs(path).f_flag & os.ST_RDONLY:
        raise Fault("mount with readwrite: ro made a mount that can be written to")


@TOPIC.check(
    "read-only-beside-writable",
    BREAKS,
    Words(
        "a read-only pod leaves the volume writable for another pod",
        "the database of one pod stops when a second pod reads the volume",
        "A bind has flags of its own, and a remount without bind changes the whole file system. "
        "What is mounted for all pods must not be read-only because the first pod is.",
    ),
    needs=("read-only",),
)
def read_only_beside_writable(life: "Life") -> None:
    life.begin()
    writer = life.pod("pod-1")
    reader = life.pod("pod-2")
    life.must_mount(writer)
    life.write(os.path.join(writer, "before"), "data")
    life.must_mount(reader, life.mount_options("pod-2", read_only=True))
    if not os.statvfs(reader).f_flag & os.ST_RDONLY:
        raise Fault("the second pod's mount, with readwrite: ro, can be written to")
    if os.statvfs(writer).f_flag & os.ST_RDONLY:
        raise Fault("a read-only mount for one pod made the other pod's mount read-only too")
    life.must_unmount(writer)
    life.must_unmount(reader)
    # Now the reader comes first.
    life.must_mount(life.pod("pod-2"), life.mount_options("pod-2", read_only=True))
    life.must_mount(life.pod("pod-1"))
    if os.statvfs(writer).f_flag & os.ST_RDONLY:
        raise Fault("as a read-only pod came first, the other pod's mount is read-only too")


@TOPIC.check(
    "fs-group",
    BREAKS,
    Words(
        "a volume takes the pod's fsGroup, if init states fsGroup",
        "pods that do not run as root cannot write, and no event says why",
        "After mount kubelet gives the files to the pod's fsGroup, and ignores all errors of that. "
        "Where the storage knows no owners, state fsGroup: false.",
    ),
    needs=("mounted",),
)
def fs_group(life: "Life") -> None:
    life.begin()
    if life.capabilities.get("fsGroup") is False:
        raise NotAsked("init states fsGroup: false")
    path = life.pod()
    options = life.mount_options()
    options[keys.FS_GROUP] = str(_GROUP)
    life.must_mount(path, options)
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise NotAsked("the volume is read-only")
    try:
        os.chown(path, -1, _GROUP)
        os.chmod(path, os.stat(path).st_mode | stat.S_ISGID | stat.S_IWGRP)
    except OSError as error:
        raise Fault(
            "the group of the mounted directory cannot be changed: {}".format(error)
        ) from None
    if os.stat(path).st_gid != _GROUP:
        raise Fault("the mounted directory does not keep its group")


@TOPIC.check(
    "similar-names",
    DATA_LOSS,
    Words(
        "a directory is not taken for another one whose name begins alike",
        "a pod writes to the node's disk, as its volume is believed to be mounted; or the volume "
        "of a running pod is unmounted",
        "A driver that searches the mounts, or its notes of them, for a path finds that of pvc-1 "
        "in that of pvc-10 too.",
    ),
    needs=("unmounted",),
)
def similar_names(life: "Life") -> None:
    life.begin()
    longer_name = life.volume() + "0"
    longer = life.pod(volume=longer_name)
    path = life.pod()
    first = life.mount(longer, life.options_of_another(longer_name))
    if first.is_proper_failure and not life.request.provision:
        raise NotAsked("the options are of one volume; give --provision")
    life.must(first)
    life.must_be_mounted(longer)
    kept = os.path.join(longer, "kept")
    is_kept = life.wrote(kept)
    life.must(life.mount(path))
    if not mounts_at(path):
        raise Fault("mount at .../VOLUME mounts nothing while .../VOLUME0 is mounted")
    life.must(life.unmount(path))
    if not mounts_at(longer):
        raise Fault("unmount of .../VOLUME unmounted .../VOLUME0")
    if is_kept and not os.path.exists(kept):
        raise Fault("unmount of .../VOLUME deleted a file in .../VOLUME0")
    if mounts_at(path):
        raise Fault("unmount of .../VOLUME left it mounted, as .../VOLUME0 is mounted")


@TOPIC.check(
    "path-with-blank",
    ADVICE,
    Words(
        "kubelet's directory may have a blank in its path",
        "nothing, unless kubelet's --root-dir has a blank",
        "A path that a shell script does not quote falls into words. The kernel writes a blank in "
        "a path as \\040 in the list of mounts.",
    ),
    needs=("unmounted",),
)
def path_with_blank(life: "Life") -> None:
    life.begin()
    path = life.pod("pod with blanks")
    call = life.mount(path)
    if not call.succeeded or not mounts_at(path):
        raise Fault("at a path with blanks: {}".format(call.told()))
    call = life.unmount(path)
    if not call.succeeded or mounts_at(path):
        raise Fault("at a path with blanks: {}".format(call.told()))


@TOPIC.check(
    "data-kept",
    DATA_LOSS,
    Words(
        "what a pod wrote is there for the next pod",
        "the volume is empty after a restart of the pod",
        "A volume keeps its data until delete. A driver that gives each pod a volume of its own, "
        "as an empty one for notes, is not asked, unless provision makes its volumes.",
    ),
    needs=("unmounted",),
)
def data_kept(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    life.write(os.path.join(path, "kept"), "data")
    if not life.request.provision:
        _must_be_shared(life, "kept")
    life.must_unmount(path)
    again = life.pod("pod-2")
    life.must_mount(again)
    if not os.path.exists(os.path.join(again, "kept")):
        raise Fault("a file is gone after unmount and mount")


def _must_be_shared(life: "Life", name: str) -> None:
    """Raises NotAsked unless a second pod sees the file of the first one."""
    path = life.pod("pod-beside")
    life.must_mount(path, life.mount_options("pod-beside"))
    is_seen = os.path.exists(os.path.join(path, name))
    life.must_unmount(path)
    if not is_seen:
        raise NotAsked("each pod gets a volume of its own")


@TOPIC.check(
    "volumes-apart",
    SECURITY,
    Words(
        "two volumes do not share their data",
        "a pod reads and deletes what belongs to another claim",
        "Each claim gets a volume of its own.",
    ),
    needs=(PROVISION, "mounted"),
)
def volumes_apart(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    life.write(os.path.join(path, "private"), "data")
    other_name = life.new_name()
    other = life.pod("pod-2", other_name)
    life.must_mount(other, life.options_of_another(other_name))
    if os.path.exists(os.path.join(other, "private")):
        raise Fault("a second volume shows the first one's file")
