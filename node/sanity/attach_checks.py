"""Checks of the calls of a driver that attaches, and of mounting a device once for all pods."""

import os

from node.sanity import kills
from node.sanity.check import (
    ADVICE,
    ATTACH,
    BREAKS,
    DATA_LOSS,
    LEAK,
    After,
    Fault,
    NotAsked,
    Topic,
    Words,
)
from node.sanity.doubtful import refused_device_mount
from node.sanity.life import NODE, finish_all, go_json, mounts_at
from shared import options as keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.sanity.life import Life
    from node.sanity.runner import Call

TOPIC = Topic()


@TOPIC.check(
    "attach",
    BREAKS,
    Words(
        "attach succeeds",
        "the pod stays in ContainerCreating, with the event FailedAttachVolume",
        "kube-controller-manager, or kubelet, attaches the volume to the node before any mount.",
    ),
    needs=(ATTACH, After("init")),
)
def attach(life: "Life") -> None:
    life.expect_success(_attach(life))


@TOPIC.check(
    "attach-twice",
    BREAKS,
    Words(
        "attach can be repeated, with the same device",
        "after a restart of the controller the volume is not attached",
        "The controller attaches again whenever it does not know whether the volume is attached.",
    ),
    traps=(18,),
    needs=("attach",),
)
def attach_twice(life: "Life") -> None:
    first = _attach(life)
    second = _attach(life)
    if not second.succeeded:
        raise Fault("for the second time: {}".format(second.told()))
    if life.must(first).device != life.must(second).device:
        raise Fault("for the second time attach names another device: {}".format(second.told()))


@TOPIC.check(
    "waitforattach",
    BREAKS,
    Words(
        "waitforattach succeeds, and repeats the device",
        "mountdevice gets no device, and mounts nothing",
        "What waitforattach answers takes the place of attach's device, also if it is nothing.",
    ),
    traps=(7,),
    needs=("attach",),
)
def wait_for_attach(life: "Life") -> None:
    device = life.must(_attach(life)).device or ""
    call = life.runner.run("waitforattach", [device, _options(life)])
    if call.is_unsupported:
        raise NotAsked("the driver has no waitforattach; kubelet keeps attach's device")
    life.expect_success(call)
    if device and not life.must(call).device:
        raise Fault("waitforattach was given {}, and answers no device".format(device))
    # kubelet calls it for each pod, and after each restart.
    again = life.runner.run("waitforattach", [device, _options(life)])
    if not again.succeeded:
        raise Fault("for the second time: {}".format(again.told()))
    if life.must(again).device != life.must(call).device:
        raise Fault("for the second time it names another device: {}".format(again.told()))


@TOPIC.check(
    "isattached",
    DATA_LOSS,
    Words(
        "isattached says attached: true of a volume that is attached",
        "the volume is attached again every minute, also while it moves to another node",
        "Success without attached: true means that the volume is not attached.",
    ),
    traps=(7,),
    needs=("attach",),
)
def is_attached(life: "Life") -> None:
    life.must(_attach(life))
    call = life.runner.run("isattached", [_options(life), NODE])
    if call.is_unsupported:
        raise NotAsked("the driver has no isattached")
    if not call.succeeded or not life.must(call).attached:
        raise Fault("after attach: {}".format(call.told()))
    again = life.runner.run("isattached", [_options(life), NODE])
    if not again.succeeded or not life.must(again).attached:
        raise Fault("for the second time: {}".format(again.told()))


@TOPIC.check(
    "detach",
    BREAKS,
    Words(
        "detach gets the PV's name and the node, and succeeds",
        "the volume cannot move to another node, and no event says why",
        "detach gets neither options nor the device: the driver must find the volume by its name.",
    ),
    traps=(13,),
    needs=("attach",),
)
def detach(life: "Life") -> None:
    life.must(_attach(life))
    life.expect_success(_detach(life))


@TOPIC.check(
    "isattached-after-detach",
    BREAKS,
    Words(
        "after detach isattached succeeds, and does not say attached: true",
        "a pod waits for a device that is not there",
        "The controller believes isattached, and does not attach the volume. It only logs a "
        "failure, and a volume that somebody else detached would never be attached again.",
    ),
    needs=("isattached", "detach"),
)
def is_attached_after_detach(life: "Life") -> None:
    life.must(_attach(life))
    life.must(_detach(life))
    call = life.runner.run("isattached", [_options(life), NODE])
    if not call.is_unsupported and (not call.succeeded or life.must(call).attached):
        raise Fault("after detach: {}".format(call.told()))


@TOPIC.check(
    "detach-twice",
    BREAKS,
    Words(
        "detach can be repeated",
        "the controller tries to detach for ever, and the volume cannot move",
        "A detach of which the controller did not see the end is repeated.",
    ),
    traps=(18,),
    needs=("detach",),
)
def detach_twice(life: "Life") -> None:
    life.must(_attach(life))
    life.must(_detach(life))
    call = _detach(life)
    if not call.succeeded:
        raise Fault("for the second time: {}".format(call.told()))


@TOPIC.check(
    "detach-never-attached",
    BREAKS,
    Words(
        "detach of a volume that was never attached succeeds",
        "a volume whose attach failed cannot go to another node",
        "The controller detaches after an attach that failed.",
    ),
    traps=(3,),
    needs=("detach-twice",),
)
def detach_never_attached(life: "Life") -> None:
    life.begin()
    life.device_options()  # makes the volume
    call = _detach(life)
    if not call.succeeded:
        raise Fault(call.told())


@TOPIC.check(
    "attach-killed",
    BREAKS,
    Words(
        "an attach that was killed can be repeated, and undone",
        "after a restart of the controller the volume is attached nowhere",
        "A restart of the controller kills the driver at any line.",
    ),
    traps=(18,),
    needs=("attach-twice", "detach-twice"),
)
def attach_killed(life: "Life") -> None:
    life.begin()
    words = [_options(life), NODE]
    whole = life.runner.run("attach", words, kills.traced())
    if whole.is_unsupported:
        raise NotAsked("the driver has no attach")
    life.must(_detach(life))
    for kill in kills.of(whole):
        kill.end(life.runner.start("attach", words, kills.traced()))
        again = life.runner.run("attach", words)
        if not again.succeeded:
            raise Fault("after an attach that {}: {}".format(kill.told(), again.told()))
        undone = _detach(life)
        if not undone.succeeded:
            raise Fault("after an attach that {}: {}".format(kill.told(), undone.told()))
        # The pod is deleted meanwhile: no attach comes before the detach.
        kill.end(life.runner.start("attach", words, kills.traced()))
        undone = _detach(life)
        if not undone.succeeded:
            raise Fault("after an attach that {}: {}".format(kill.told(), undone.told()))


@TOPIC.check(
    "attaches-at-once",
    BREAKS,
    Words(
        "attach may run twice at once",
        "the volume is half attached, and no pod gets it",
        "Two controllers may believe for a moment that they are the one that works.",
    ),
    needs=("attach-twice", "detach-twice"),
)
def attaches_at_once(life: "Life") -> None:
    life.begin()
    words = [_options(life), NODE]
    with life.runner.at_once():
        running = [life.runner.start("attach", words) for _ in range(3)]
    for call in finish_all(running):
        life.must_be_in_form(call)
    for after in (life.unless_unsupported(life.runner.run("attach", words)), _detach(life)):
        if not after.succeeded:
            raise Fault("after three attaches at once: {}".format(after.told()))


@TOPIC.check(
    "detach-killed",
    BREAKS,
    Words(
        "a detach that was killed can be repeated, and the volume attached again",
        "after a restart of the controller the volume cannot move",
        "A restart of the controller kills the driver at any line.",
    ),
    traps=(18,),
    needs=("attach-twice", "detach-twice"),
)
def detach_killed(life: "Life") -> None:
    words = [life.volume(), NODE]
    life.must(_attach(life))
    whole = life.runner.run("detach", words, kills.traced())
    if whole.is_unsupported:
        raise NotAsked("the driver has no detach")
    life.must(whole)
    for kill in kills.of(whole):
        life.must(_attach(life))
        kill.end(life.runner.start("detach", words, kills.traced()))
        for after in (_detach(life), _attach(life)):
            if not after.succeeded:
                raise Fault("after a detach that {}: {}".format(kill.told(), after.told()))


@TOPIC.check(
    "mountdevice",
    BREAKS,
    Words(
        "mountdevice succeeds",
        "the pod stays in ContainerCreating, with the event FailedMount",
        "kubelet mounts the device once on the node, before the mounts of its pods.",
    ),
    needs=("attach",),
)
def mount_device(life: "Life") -> None:
    life.begin()
    call = life.mount_device()
    if call.is_unsupported:
        raise NotAsked("the driver has no mountdevice")
    life.expect_success(call)


@TOPIC.check(
    "mountdevice-mounts",
    LEAK,
    Words(
        "after Success of mountdevice its directory is a mount point",
        "unmountdevice is never called, and what mountdevice did stays for ever",
        "kubelet removes a directory that is no mount point by itself, and does not call "
        "unmountdevice.",
    ),
    traps=(4,),
    needs=("mountdevice",),
)
def mount_device_mounts(life: "Life") -> None:
    life.begin()
    life.must(life.mount_device())
    if not mounts_at(life.global_directory()):
        raise Fault("mountdevice answered Success, and nothing is mounted at its directory")


@TOPIC.check(
    "mountdevice-twice",
    BREAKS,
    Words(
        "mountdevice can be repeated",
        "the pod stays in ContainerCreating, though its device is mounted",
        "kubelet does not see each mount point, and repeats mountdevice.",
    ),
    traps=(18,),
    needs=("mountdevice-mounts",),
)
def mount_device_twice(life: "Life") -> None:
    life.begin()
    life.must(life.mount_device())
    call = life.mount_device()
    if not call.succeeded:
        raise Fault("for the second time: {}".format(call.told()))


@TOPIC.check(
    "failed-mountdevice-leaves-mount",
    DATA_LOSS,
    Words(
        "a mountdevice that fails leaves nothing mounted, and is a Failure",
        "pods start with a device that is not mounted as it should be",
        "kubelet takes a mount point for success at its next attempt; unmountdevice is not called "
        "after a failure.",
    ),
    traps=(1, 3),
    needs=("mountdevice-mounts",),
)
def failed_mount_device_leaves_mount(life: "Life") -> None:
    life.begin()
    call = refused_device_mount(life)
    is_mounted = bool(mounts_at(life.global_directory()))
    if call.succeeded and not is_mounted:
        raise Fault("the kernel refuses to mount: {}".format(call.told()))
    strange = life.device_options()
    strange[keys.FS_TYPE] = "no-such-filesystem"
    call = life.mount_device(strange)
    is_mounted = bool(mounts_at(life.global_directory()))
    if call.is_proper_failure and is_mounted:
        raise Fault("an unknown fsType: {}".format(call.told()))


@TOPIC.check(
    "private-staging",
    BREAKS,
    Words(
        "the device's mount is the only one outside of kubelet's directories",
        "unmountdevice is never called: still mounted by other references",
        "Before unmountdevice kubelet looks for other mounts of the same directory, and waits for "
        "ever for a private one that the driver keeps.",
    ),
    traps=(5,),
    needs=("mountdevice-mounts",),
)
def private_staging(life: "Life") -> None:
    life.begin()
    life.must(life.mount_device())
    path = life.global_directory()
    shown = mounts_at(path)[-1]
    for mount in life.mounts():
        is_same = (mount.device, mount.root) == (shown.device, shown.root)
        if is_same and mount.path != path:
            raise Fault("{} shows the same as mountdevice's directory".format(mount.path))


@TOPIC.check(
    "unmountdevice",
    BREAKS,
    Words(
        "unmountdevice succeeds, and unmounts",
        "the volume stays in use on the node, and cannot move",
        "unmountdevice gets the directory only. Afterwards kubelet removes the directory.",
    ),
    needs=("mountdevice-mounts",),
)
def unmount_device(life: "Life") -> None:
    life.begin()
    life.must(life.mount_device())
    life.expect_success(life.unmount_device())
    if mounts_at(life.global_directory()):
        raise Fault("unmountdevice answered Success, and its directory is still mounted")


@TOPIC.check(
    "unmountdevice-twice",
    BREAKS,
    Words(
        "unmountdevice can be repeated",
        "the volume cannot move after a restart of kubelet",
        "kubelet repeats unmountdevice if it was killed between the driver's work and its own.",
    ),
    traps=(18,),
    needs=("unmountdevice",),
)
def unmount_device_twice(life: "Life") -> None:
    life.begin()
    life.must(life.mount_device())
    life.must(life.unmount_device())
    os.makedirs(life.global_directory(), 0o750, exist_ok=True)
    call = life.unmount_device()
    if not call.succeeded:
        raise Fault("for the second time: {}".format(call.told()))


@TOPIC.check(
    "mountdevice-killed",
    BREAKS,
    Words(
        "a mountdevice that was killed can be repeated, and undone",
        "after a restart of kubelet the pod neither starts nor ends",
        "A restart of kubelet's control group kills the driver at any line.",
    ),
    traps=(18,),
    needs=("mountdevice-twice", "unmountdevice-twice"),
)
def mount_device_killed(life: "Life") -> None:
    life.begin()
    path = life.global_directory()
    whole = life.mount_device(None, kills.traced())
    life.must(whole)
    life.must(life.unmount_device())
    for kill in kills.of(whole):
        kill.end(life.start_mount_device(None, kills.traced()))
        if not mounts_at(path):
            again = life.mount_device()
            if not again.succeeded or not mounts_at(path):
                raise Fault("after a mountdevice that {}: {}".format(kill.told(), again.told()))
        undone = life.unmount_device()
        if not undone.succeeded or mounts_at(path):
            raise Fault("after a mountdevice that {}: {}".format(kill.told(), undone.told()))


@TOPIC.check(
    "unmountdevice-killed",
    BREAKS,
    Words(
        "an unmountdevice that was killed can be repeated",
        "after a restart of kubelet the volume stays in use on the node",
        "A restart of kubelet's control group kills the driver at any line. If nothing is mounted "
        "any more, unmountdevice is not called again.",
    ),
    traps=(4, 18),
    needs=("mountdevice-twice", "unmountdevice-twice"),
)
def unmount_device_killed(life: "Life") -> None:
    life.begin()
    path = life.global_directory()
    life.must(life.mount_device())
    whole = life.unmount_device(kills.traced())
    if whole.is_unsupported:
        raise NotAsked("the driver leaves unmountdevice to kubelet")
    life.must(whole)
    for kill in kills.of(whole):
        life.must(life.mount_device())
        kill.end(life.runner.start("unmountdevice", [path], kills.traced()))
        if mounts_at(path):
            again = life.unmount_device()
            if not again.succeeded or mounts_at(path):
                raise Fault("after an unmountdevice that {}: {}".format(kill.told(), again.told()))
        call = life.mount_device()
        if not call.succeeded or not mounts_at(path):
            raise Fault("after an unmountdevice that {}: {}".format(kill.told(), call.told()))
        life.must(life.unmount_device())


@TOPIC.check(
    "device-in-use",
    DATA_LOSS,
    Words(
        "detach takes no device away that is mounted",
        "two nodes write to one file system",
        "After six minutes without a node's heartbeat the controller detaches by force, though the "
        "node may be alive. Busy is the right answer while the driver can see that the volume is "
        "in use.",
    ),
    needs=("unmountdevice", "detach"),
)
def device_in_use(life: "Life") -> None:
    life.begin()
    life.must(life.mount_device())
    path = life.global_directory()
    life.write(os.path.join(path, "kept"), "data")
    _detach(life)
    try:
        names = os.listdir(path)
    except OSError as error:
        raise Fault("detach took the mounted device away: {}".format(error)) from None
    if mounts_at(path) and "kept" not in names:
        raise Fault("detach took the mounted device away, with a file in it")


@TOPIC.check(
    "getvolumename",
    BREAKS,
    Words(
        "getvolumename is Not supported, or succeeds whatever the options",
        "volumes cannot be cleared after a restart of kubelet",
        "The answer is not used, and a failure stops all that kubelet does with the volume. After "
        "a restart of kubelet the options are a stub, without those of the PV.",
    ),
    traps=(6,),
    needs=(ATTACH, "init"),
)
def get_volume_name(life: "Life") -> None:
    life.begin()
    stub = {keys.FS_TYPE: "", keys.READ_WRITE: "rw", keys.VOLUME: life.volume()}
    call = life.runner.run("getvolumename", [go_json(stub)])
    if not call.succeeded and not call.is_unsupported:
        raise Fault("with the options of a restarted kubelet: {}".format(call.told()))


@TOPIC.check(
    "getvolumename-supported",
    ADVICE,
    Words(
        "getvolumename is Not supported",
        "kubelet is slow, as it calls getvolumename very often and holds locks meanwhile",
        "The answer is not used. Not supported is remembered, so that the call is made once.",
    ),
    traps=(6,),
    needs=("getvolumename",),
)
def get_volume_name_supported(life: "Life") -> None:
    life.begin()
    call = life.runner.run("getvolumename", [_options(life)])
    if not call.is_unsupported:
        raise Fault(call.told())


def _options(life: "Life") -> str:
    return go_json(life.device_options())


def _attach(life: "Life") -> "Call":
    if not life.runner.calls:
        life.begin()
    return life.unless_unsupported(life.runner.run("attach", [_options(life), NODE]))


def _detach(life: "Life") -> "Call":
    return life.unless_unsupported(life.runner.run("detach", [life.volume(), NODE]))
