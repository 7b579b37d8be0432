"""Checks of calls that are repeated, killed, or made at once."""

import os
import shutil

from node.host import namespaces
from node.sanity import kills
from node.sanity.check import (
    ADVICE,
    BREAKS,
    DATA_LOSS,
    After,
    Fault,
    NotAsked,
    NotJudged,
    Topic,
    Words,
)
from node.sanity.life import (
    VOLUME_BYTES,
    SetupFailed,
    finish_all,
    is_block_device,
    mounted_paths,
    mounts_at,
    size_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Tuple

    from node.host import mount_table
    from node.sanity.life import Life
    from node.sanity.runner import Call

TOPIC = Topic()
_KEPT = "kept"
# A volume grows by so much at each kill.
_STEP_BYTES = 8 << 20


@TOPIC.check(
    "mount-again",
    BREAKS,
    Words(
        "a volume that was unmounted can be mounted again",
        "the pod starts once on a node, and not a second time",
        "Pods of a volume come and go on a node.",
    ),
    needs=("unmounted",),
)
def mount_again(life: "Life") -> None:
    life.begin()
    for pod in ("pod-1", "pod-2", "pod-1"):
        path = life.pod(pod)
        call = life.mount(path)
        if not call.succeeded or not mounts_at(path):
            raise Fault("after an unmount: {}".format(call.told()))
        life.must_unmount(path)


@TOPIC.check(
    "mount-twice",
    BREAKS,
    Words(
        "mount can be repeated where the volume is mounted",
        "the pod stays in ContainerCreating, though its volume is mounted",
        "kubelet does not see each mount point, such as a bind within one file system, and calls "
        "mount again after a restart.",
    ),
    traps=(18,),
    needs=("mounted",),
)
def mount_twice(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    call = life.mount(path)
    if not call.succeeded:
        raise Fault("at a mount point: {}".format(call.told()))
    if not mounts_at(path):
        raise Fault("a second mount unmounted the volume")


@TOPIC.check(
    "mounts-stacked",
    BREAKS,
    Words(
        "one unmount is enough after repeated mounts",
        "the pod stays in Terminating: device or resource busy",
        "Each mount of a driver that does not look lies on the one before, and one unmount takes "
        "one of them away.",
    ),
    traps=(18,),
    needs=("mount-twice", "unmounted"),
)
def mounts_stacked(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    life.must(life.mount(path))
    life.must(life.unmount(path))
    if mounts_at(path):
        raise Fault("after two mounts and an unmount the pod's directory is still mounted")


@TOPIC.check(
    "unmount-twice",
    BREAKS,
    Words(
        "unmount can be repeated",
        "the pod stays in Terminating for ever",
        "kubelet repeats unmount until the directory is gone, also if it was killed between the "
        "driver's work and its own.",
    ),
    traps=(18,),
    needs=("unmounted",),
)
def unmount_twice(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    life.must_unmount(path)
    os.makedirs(path, 0o750, exist_ok=True)
    call = life.unmount(path)
    if not call.succeeded:
        raise Fault("for the second time: {}".format(call.told()))


@TOPIC.check(
    "unmount-never-mounted",
    BREAKS,
    Words(
        "unmount of a directory that was never mounted succeeds",
        "a pod whose mount failed stays in Terminating for ever",
        "kubelet calls unmount for each pod directory that exists, mounted or not.",
    ),
    needs=(
        After("init"),
        After("status-words"),
        After("exit-status-of-success"),
        After("unmount"),
        After("unmount-twice"),
    ),
)
def unmount_never_mounted(life: "Life") -> None:
    life.begin()
    path = life.pod()
    call = life.unmount(path)
    if not call.succeeded:
        raise Fault(call.told())


@TOPIC.check(
    "unmount-after-reboot",
    BREAKS,
    Words(
        "unmount succeeds after the node was restarted",
        "pods that ran while the node crashed stay in Terminating for ever",
        "After a restart of the node nothing is mounted, and /run and /tmp are empty; kubelet "
        "unmounts what pods had before.",
    ),
    traps=(16,),
    needs=("unmount-twice",),
)
def unmount_after_reboot(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    _expect_after_restart(life, lambda: life.unmount(path))


@TOPIC.check(
    "mount-after-reboot",
    BREAKS,
    Words(
        "mount succeeds after the node was restarted",
        "pods do not start again after the node crashed",
        "What a driver notes about a mount in /var outlives the mount itself.",
    ),
    traps=(2, 16),
    needs=("mounted",),
)
def mount_after_reboot(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    if life.request.attach:
        raise NotAsked("with --attach the device is made anew after a restart")
    _expect_after_restart(life, lambda: life.mount(path))
    if not mounts_at(path):
        raise Fault("mount answered Success after a restart of the node, and mounted nothing")


@TOPIC.check(
    "other-pod-stays",
    DATA_LOSS,
    Words(
        "unmount for one pod leaves the other pod's mount and files alone",
        "a running pod loses its volume when another pod ends",
        "Several pods of a node may use one volume, also a ReadWriteOnce volume, and each has a "
        "directory of its own. A driver that clears away behind the last pod must count the pods "
        "rightly.",
    ),
    needs=("unmounted",),
)
def other_pod_stays(life: "Life") -> None:
    life.begin()
    first = life.pod("pod-1")
    second = life.pod("pod-2")
    life.must_mount(first)
    life.must_mount(second, life.mount_options("pod-2"))
    kept = os.path.join(second, _KEPT)
    is_kept = life.wrote(kept)
    life.must(life.unmount(first))
    if not mounts_at(second):
        raise Fault("the unmount for one pod unmounted the other pod's directory")
    if is_kept and not os.path.exists(kept):
        raise Fault("the unmount for one pod deleted a file of the other pod")
    life.must(life.unmount(second))
    if mounts_at(second):
        raise Fault("the last unmount left the pod's directory mounted")


@TOPIC.check(
    "two-pods",
    BREAKS,
    Words(
        "two pods of one node can have the volume",
        "the second pod stays in ContainerCreating, as during a rolling update",
        "ReadWriteOnce means one node, and not one pod.",
    ),
    needs=("mounted",),
)
def two_pods(life: "Life") -> None:
    life.begin()
    life.must_mount(life.pod("pod-1"))
    path = life.pod("pod-2")
    call = life.mount(path, life.mount_options("pod-2"))
    if not call.succeeded or not mounts_at(path):
        raise Fault("for a second pod: {}".format(call.told()))


@TOPIC.check(
    "mounts-at-once",
    BREAKS,
    Words(
        "mounts for several pods may run at once",
        "pods that start together fail now and then",
        "Without attach each pod's volume is one of its own to kubelet, and mounts of one PV run "
        "at the same time: the driver must lock and count by itself. A count that is read and "
        "written without a lock is wrong afterwards.",
    ),
    needs=("two-pods", After("mounts-left"), After("other-pod-stays")),
)
def mounts_at_once(life: "Life") -> None:
    life.begin()
    before = mounted_paths()
    life.reach_device()
    life.device_options()  # makes the volume
    paths = [life.pod("pod-{}".format(number)) for number in range(4)]
    with life.runner.at_once():
        running = [
            life.start_mount(path, life.mount_options("pod-{}".format(number)))
            for number, path in enumerate(paths)
        ]
    for path, call in zip(paths, finish_all(running)):
        if call.is_unsupported:
            raise NotAsked("the driver leaves mount to kubelet")
        if not call.succeeded or not mounts_at(path):
            raise Fault("of four mounts at once: {}".format(call.told()))
    for path in paths:
        call = life.unmount(path)
        if not call.succeeded or mounts_at(path):
            raise Fault("after four mounts at once: {}".format(call.told()))
    _expect_nothing_left(life, before, "four mounts at once")


@TOPIC.check(
    "unmounts-at-once",
    BREAKS,
    Words(
        "unmounts for several pods may run at once",
        "pods that end together stay in Terminating now and then",
        "kubelet unmounts different pods at the same time.",
    ),
    needs=("two-pods", "unmounted", After("mounts-left"), After("other-pod-stays")),
)
def unmounts_at_once(life: "Life") -> None:
    life.begin()
    before = mounted_paths()
    paths = [life.pod("pod-{}".format(number)) for number in range(4)]
    for number, path in enumerate(paths):
        life.must_mount(path, life.mount_options("pod-{}".format(number)))
    with life.runner.at_once():
        running = [life.runner.start("unmount", [path]) for path in paths]
    for path, call in zip(paths, finish_all(running)):
        if call.is_unsupported:
            raise NotAsked("the driver leaves unmount to kubelet")
        if not call.succeeded or mounts_at(path):
            raise Fault("of four unmounts at once: {}".format(call.told()))
    _expect_nothing_left(life, before, "four unmounts at once")


def _expect_nothing_left(life: "Life", before: "List[Tuple[str, str]]", after: str) -> None:
    """A fault if the driver has anything mounted when the last pod has gone.

    before: what was mounted before the first pod. after: for a person, what was before"""
    life.leave_device()
    left = [place for place in mounted_paths() if place not in before]
    if left:
        raise Fault("after {}: {} is still mounted".format(after, left[0][0]))


@TOPIC.check(
    "mount-killed",
    BREAKS,
    Words(
        "a mount that was killed can be repeated, and undone",
        "after a restart of kubelet the pod neither starts nor ends",
        "A restart of kubelet's control group kills the driver at any line. Locks and notes that "
        "it leaves must not stop the next call. If anything is mounted at the pod's directory "
        "kubelet takes it for the volume, and makes no next call.",
    ),
    traps=(1, 18),
    needs=("mount-again",),
)
def mount_killed(life: "Life") -> None:
    life.begin()
    first = life.pod("pod-first")
    whole = life.mount(first, None, kills.traced())
    if whole.is_unsupported:
        raise NotAsked("the driver leaves mount to kubelet")
    life.must(whole)
    life.must_be_mounted(first)
    keeps_data = life.request.provision and _keeps_data(life, first)
    life.must_unmount(first)
    for number, kill in enumerate(kills.of(whole)):
        path = life.pod("pod-{}".format(number))
        kill.end(life.start_mount(path, None, kills.traced()))
        _expect_mounted_again(life, path, "after a mount that {}".format(kill.told()))
        if keeps_data and not os.path.exists(os.path.join(path, _KEPT)):
            raise Fault(
                "after a mount that {} something else than the volume is mounted".format(
                    kill.told()
                )
            )
        _expect_undone(life, path, kill)
        # The pod is deleted while kubelet restarts: no mount comes before the unmount.
        kill.end(life.start_mount(path, None, kills.traced()))
        _expect_undone(life, path, kill)


def _expect_undone(life: "Life", path: str, kill: kills.Kill) -> None:
    os.makedirs(path, 0o750, exist_ok=True)
    undone = life.unmount(path)
    if not undone.succeeded or mounts_at(path):
        raise Fault("after a mount that {}: {}".format(kill.told(), undone.told()))


@TOPIC.check(
    "unmount-killed",
    BREAKS,
    Words(
        "an unmount that was killed can be repeated",
        "after a restart of kubelet the pod stays in Terminating for ever",
        "A restart of kubelet's control group kills the driver at any line.",
    ),
    traps=(18,),
    needs=("unmount-twice",),
)
def unmount_killed(life: "Life") -> None:
    life.begin()
    first = life.pod("pod-first")
    life.must_mount(first)
    whole = life.unmount(first, kills.traced())
    if whole.is_unsupported:
        raise NotAsked("the driver leaves unmount to kubelet")
    life.must(whole)
    for number, kill in enumerate(kills.of(whole)):
        path = life.pod("pod-{}".format(number))
        life.must_mount(path)
        kill.end(life.runner.start("unmount", [path], kills.traced()))
        os.makedirs(path, 0o750, exist_ok=True)
        again = life.unmount(path)
        if not again.succeeded or mounts_at(path):
            raise Fault("after an unmount that {}: {}".format(kill.told(), again.told()))


@TOPIC.check(
    "expandfs",
    BREAKS,
    Words(
        "expandfs to a size that the volume has succeeds, also repeatedly",
        "the claim stays in FileSystemResizePending, and new pods of it do not start",
        "kubelet calls expandfs for each pod of the volume, and until it succeeds; an expandfs "
        "that fails keeps a new pod from starting.",
    ),
    traps=(13, 18),
    needs=("mounted",),
)
def expandfs(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    size_bytes = life.claimed_bytes(path)
    for time_word in ("first", "second"):
        call = life.expand(path, size_bytes, size_bytes)
        if call.is_unsupported:
            raise NotAsked("the driver has no expandfs")
        if not call.succeeded and not namespaces.may_grow():
            raise NotAsked("here nobody has CAP_SYS_RESOURCE, which growing takes")
        life.expect_success(call, "for the {} time: ".format(time_word))


@TOPIC.check(
    "expandfs-of-own-device",
    BREAKS,
    Words(
        "a driver that mounts a device by itself grows it in expandfs",
        "the claim shows its new size, and the pod has no more room than before",
        "Where expandfs is not supported kubelet grows the file system on the device that "
        "waitforattach answered. Without such a device it grows nothing, and takes the expansion "
        "for done. No data is lost.",
    ),
    traps=(14,),
    needs=("init", After("mounted")),
)
def expandfs_of_own_device(life: "Life") -> None:
    life.begin()
    path = life.pod()
    reason = _left_to_kubelet(life, path)
    if reason and any(_is_of_device(mount) for mount in mounts_at(path)):
        raise Fault("{}; the driver mounts {}".format(reason, mounts_at(path)[-1].source))


@TOPIC.check(
    "expandfs-without-device",
    ADVICE,
    Words(
        "expandfs is supported where kubelet has no device to grow",
        "nothing where volumes have no limit; else a claim that shows more than the pod has",
        "Unless init states requiresFSResize: false, kubelet calls expandfs for a claim that has "
        "grown. Where that is not supported, and there is no block device, kubelet grows nothing "
        "and takes the expansion for done. That is right for a share without a limit, and no data "
        "is lost elsewhere. A driver that answers expandfs says so itself: Success where there is "
        "no limit, and a larger volume where there is one. requiresFSResize: false is no way out, "
        "as the expansion of a claim then never ends.",
    ),
    traps=(14,),
    needs=("init", After("mounted"), After("expandfs-of-own-device")),
)
def expandfs_without_device(life: "Life") -> None:
    life.begin()
    reason = _left_to_kubelet(life, life.pod())
    if reason:
        raise Fault(reason)


@TOPIC.check(
    "expandfs-killed",
    BREAKS,
    Words(
        "an expandfs that was killed can be repeated",
        "the claim stays in FileSystemResizePending after a restart of kubelet",
        "A restart of kubelet's control group kills the driver at any line; kubelet then calls "
        "expandfs again, with the same sizes, after mount if nothing is mounted any more.",
    ),
    traps=(18,),
    needs=("expandfs", "unmounted"),
)
def expandfs_killed(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    size_bytes = life.claimed_bytes(path)
    grown_bytes = size_of(path)
    step_bytes = 0
    whole = life.start_expand(path, size_bytes, size_bytes, kills.traced()).finish()
    life.must(whole)
    if life.request.provision and size_bytes <= 2 * VOLUME_BYTES:
        step_bytes = _STEP_BYTES
        size_bytes = VOLUME_BYTES + step_bytes
        whole = life.start_expand(path, size_bytes, VOLUME_BYTES, kills.traced()).finish()
        if not whole.succeeded:
            raise NotAsked("here the driver grows no volume that is in use")
    is_larger = size_of(path) > grown_bytes
    grown_bytes = size_of(path)
    for kill in kills.of(whole):
        new_bytes = size_bytes + step_bytes
        kill.end(life.start_expand(path, new_bytes, size_bytes, kills.traced()))
        _expect_mounted_again(life, path, "after an expandfs that {}".format(kill.told()))
        again = life.expand(path, new_bytes, size_bytes)
        if not again.succeeded:
            raise Fault("after an expandfs that {}: {}".format(kill.told(), again.told()))
        if is_larger and size_of(path) <= grown_bytes:
            raise Fault("after an expandfs that {} none grows the volume".format(kill.told()))
        size_bytes = new_bytes
        grown_bytes = size_of(path)


def _left_to_kubelet(life: "Life", path: str) -> str:
    """Why kubelet grows nothing when a claim has grown, as the driver leaves that to kubelet; "" if
    the driver has an expandfs, or kubelet has a block device. Raises NotAsked if kubelet does not
    call expandfs.

    path: where the volume is mounted, if that succeeds"""
    if life.capabilities.get("requiresFSResize") is False:
        raise NotAsked("init states requiresFSResize: false")
    life.mount(path)  # may fail: a call that is not supported is so for all volumes
    call = life.expand(path, VOLUME_BYTES, VOLUME_BYTES)
    if not call.is_unsupported:
        return ""
    if not life.device:
        return "expandfs is not supported, and there is no device"
    if not life.has_block_device:
        return "expandfs is not supported, and {} is no block device".format(life.device)
    return ""


def _is_of_device(mount: "mount_table.Mount") -> bool:
    """Whether the mount shows a whole file system of a disk, which has a size of its own: a
    directory of a disk is mounted with a root below the file system's."""
    return mount.root == "/" and is_block_device(mount.source)


def _keeps_data(life: "Life", path: str) -> bool:
    """Whether a file in the volume, which is mounted at the path before and afterwards, is there
    after an unmount and a mount. If not, another check names that."""
    if not life.wrote(os.path.join(path, _KEPT)):
        return False
    life.must_unmount(path)
    life.must_mount(path)
    return os.path.exists(os.path.join(path, _KEPT))


def _expect_mounted_again(life: "Life", path: str, after: str) -> None:
    """As a kubelet that was restarted does: mounts the volume unless anything is mounted there. A
    fault if the mount fails.

    after: for a person, what was before"""
    if mounts_at(path):
        return
    again = life.mount(path)
    if not again.succeeded or not mounts_at(path):
        raise Fault("{}: {}".format(after, again.told()))


def _expect_after_restart(life: "Life", step: "Callable[[], Call]") -> None:
    """A fault if the call fails after a restart of the node; NotJudged if that may be because the
    setup could be made once only."""
    reason = _restart(life)
    call = step()
    if call.succeeded:
        return
    if reason:
        raise NotJudged("after a restart of the node {}".format(reason))
    raise Fault("after a restart of the node: {}".format(call.told()))


def _restart(life: "Life") -> str:
    """As a restart of the node does: no process, no mount and nothing in memory is left. Then the
    setup is made again; returns why it failed, if it did, as what it makes is there from before."""
    life.runner.end_all(also_kept=True)
    life.take_all_away()
    for directory in ("/dev/shm", "/run", "/tmp"):
        for name in os.listdir(directory):
            entry = os.path.join(directory, name)
            if os.path.isdir(entry) and not os.path.islink(entry):
                shutil.rmtree(entry)
            else:
                os.unlink(entry)
    os.makedirs("/run/lock", 0o755, exist_ok=True)
    try:
        life.set_up()
    except SetupFailed as failure:
        return str(failure)
    return ""
