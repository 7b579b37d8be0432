"""Checks of what is mounted, and of what is left."""

import os

from node.sanity.check import BREAKS, DATA_LOSS, Fault, Topic, Words
from node.sanity.life import mounts_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.sanity.life import Life

TOPIC = Topic()


@TOPIC.check(
    "mount",
    BREAKS,
    Words(
        "mount succeeds",
        "the pod stays in ContainerCreating, with the event FailedMount",
        "The mount that was asked for, with the options that were given to this program.",
    ),
    needs=("init",),
)
def mount(life: "Life") -> None:
    life.begin()
    call = life.mount(life.pod())
    if call.status is None:
        raise Fault(call.told())
    life.must_be_in_form(call)
    if not call.succeeded:
        raise Fault(call.told())


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
    needs=("mount",),
)
def mounted(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must(life.mount(path))
    if not mounts_at(path):
        raise Fault("mount answered Success, and nothing is mounted at the pod's directory")


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
    call = life.unmount(path)
    if call.status is None:
        raise Fault(call.told())
    life.must_be_in_form(call)
    if not call.succeeded:
        raise Fault(call.told())


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
    "empty-after-unmount",
    BREAKS,
    Words(
        "after unmount the pod's directory is empty or gone",
        "the pod stays in Terminating: directory not empty",
        "kubelet removes the directory by rmdir, never with what is in it. Files that a driver "
        "writes there, below its own mount, keep the pod for ever.",
    ),
    traps=(2,),
    needs=("unmounted",),
)
def empty_after_unmount(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    life.must_unmount(path)
    if os.path.isdir(path) and os.listdir(path):
        raise Fault("{} is left in the pod's directory".format(os.listdir(path)[0]))
