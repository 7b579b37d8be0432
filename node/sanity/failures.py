"""Checks of mounts and unmounts that fail."""

import os

from node.sanity import written
from node.sanity.check import (
    ADVICE,
    BREAKS,
    DATA_LOSS,
    LEAK,
    SECURITY,
    After,
    Fault,
    NotAsked,
    Topic,
    Words,
)
from node.sanity.doubtful import (
    doubtful_mounts,
    powerless,
    refused_calls,
    refused_mount,
    refused_unmounts,
    repeated_detaches,
    tried_mounts,
)
from node.sanity.life import mounted_paths, mounts_at
from shared.caller import Garbled
from shared.protocol import FAILURE, NOT_SUPPORTED, SUCCESS, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from node.sanity.life import Life

TOPIC = Topic()
_CYCLES = 3
# Nobody remembers that these are not supported.
_OF_PROVISIONER = ("provision", "delete", "list", "adopt")
_UNKNOWN_OPTION = "flexvol-sanity"


@TOPIC.check(
    "one-document-of-failure",
    BREAKS,
    Words(
        "a call that fails prints one JSON object and nothing else",
        "the event of the pod shows a JSON error in place of the driver's reason",
        "The words of a tool that failed, such as mount, come before the driver's object if the "
        "driver does not catch them, and kubelet reads neither. The same goes for a message that "
        "is no text.",
    ),
    traps=(10,),
    needs=(After("init"), After("one-document"), After("value-types")),
)
def one_document_of_failure(life: "Life") -> None:
    life.begin()
    path = life.pod()
    calls = doubtful_mounts(life, path)
    calls += refused_unmounts(life, path)
    calls += refused_calls(life)
    for call in calls:
        is_garbled = call.document() is None or isinstance(call.failure, Garbled)
        if is_garbled and not call.hangs:
            raise Fault(call.told())


@TOPIC.check(
    "exit-status-of-failure",
    SECURITY,
    Words(
        "a mount that fails has the exit status 0",
        "kubelet's log has the driver's arguments, with all values of the Secret",
        "kubelet logs the command line of a driver that fails with an exit status other than 0. "
        "The Secret is a part of it, as base64. A Failure with exit status 0 is a failure all the "
        "same.",
    ),
    traps=(10,),
    needs=(After("init"),),
)
def exit_status_of_failure(life: "Life") -> None:
    life.begin()
    for call in doubtful_mounts(life, life.pod()):
        # kubelet logs the words of each such call, whatever the call printed, but for these two.
        is_logged = not call.is_unsupported and call.word() != SUCCESS
        if is_logged and call.status not in (0, None):
            raise Fault(call.told())


@TOPIC.check(
    "failure-message",
    ADVICE,
    Words(
        "a mount that fails has a message",
        "the pod's event names no reason",
        "The message of a failure stands in the pod's event FailedMount, the only place where the "
        "pod's owner looks.",
    ),
    needs=(After("init"),),
)
def failure_message(life: "Life") -> None:
    life.begin()
    for call in doubtful_mounts(life, life.pod()):
        document = {key.lower(): value for key, value in (call.document() or {}).items()}
        if call.is_proper_failure and not document.get("message"):
            raise Fault(call.told())


@TOPIC.check(
    "failure-word",
    ADVICE,
    Words(
        "a call that fails has the status Failure",
        "nothing with kubelet; other programs take the answer for none of the contract's",
        "kubelet takes each word but Success and Not supported for a failure, as it does Failed. "
        "The provisioner, schemas and people's scripts know Failure only.",
    ),
    needs=(After("init"), After("status-words")),
)
def failure_word(life: "Life") -> None:
    life.begin()
    path = life.pod()
    calls = doubtful_mounts(life, path)
    calls += refused_unmounts(life, path)
    calls += refused_calls(life)
    for call in calls:
        has_word = not call.hangs and call.document() is not None
        if has_word and call.word() not in (SUCCESS, FAILURE, NOT_SUPPORTED):
            raise Fault(call.told())


@TOPIC.check(
    "unsupported-for-one-volume",
    BREAKS,
    Words(
        "a call that fails, or has nothing to do, is never Not supported",
        "after the failure of one volume no pod of the node gets any volume of the driver, or none "
        "is unmounted by the driver any more",
        "kubelet remembers Not supported for the call, for all volumes, until the driver is probed "
        "again or kubelet restarts.",
    ),
    traps=(9,),
    needs=(After("init"),),
)
def unsupported_for_one_volume(life: "Life") -> None:
    life.begin()
    path = life.pod()
    first = life.mount(path)
    life.clear(path)
    if not first.is_unsupported:
        doubtful_mounts(life, path)
        life.mount(path, dict(life.mount_options(), **{_UNKNOWN_OPTION: "value"}))
        life.clear(path)
    life.unmount(life.pod("pod-2"))
    repeated_detaches(life)
    _expect_supported_always(life)


def _expect_supported_always(life: "Life") -> None:
    """A fault if one of kubelet's calls had an answer once, and is not supported another time."""
    calls = [call for call in life.runner.calls if call.callout not in _OF_PROVISIONER]
    answered = [call.callout for call in calls if call.is_in_form and not call.is_unsupported]
    for call in calls:
        if call.is_unsupported and call.callout in answered:
            raise Fault(call.told())


@TOPIC.check(
    "failed-mount-is-failure",
    DATA_LOSS,
    Words(
        "a mount that mounts nothing is a Failure",
        "the pod runs, and its data goes to the node's disk",
        "A driver that does not look at the outcome of its tools answers Success whatever "
        "happened, and kubelet does not look either.",
    ),
    traps=(2,),
    needs=(After("init"), After("mounted")),
)
def failed_mount_is_failure(life: "Life") -> None:
    life.begin()
    for tried in tried_mounts(life, life.pod()):
        if tried.call.succeeded and not tried.is_mounted:
            raise Fault(tried.told())


@TOPIC.check(
    "failed-mount-leaves-mount",
    DATA_LOSS,
    Words(
        "a mount that fails leaves nothing mounted",
        "the pod starts with a volume that is not as it should be",
        "kubelet takes a mount point at the pod's directory for success at its next attempt, and "
        "does not call the driver again. No unmount follows a failed mount.",
    ),
    traps=(1, 3),
    needs=(After("init"), After("mounted")),
)
def failed_mount_leaves_mount(life: "Life") -> None:
    life.begin()
    for tried in tried_mounts(life, life.pod()):
        if tried.call.is_proper_failure and tried.is_mounted:
            raise Fault(tried.told())


@TOPIC.check(
    "failed-mount-leaves-files",
    LEAK,
    Words(
        "a mount that fails leaves the pod's directory empty",
        "the pod stays in Terminating: directory not empty",
        "After a failed mount kubelet removes the directory by rmdir.",
    ),
    traps=(3,),
    needs=(After("init"), After("nothing-below-the-mount"), After("empty-after-unmount")),
)
def failed_mount_leaves_files(life: "Life") -> None:
    life.begin()
    for tried in tried_mounts(life, life.pod()):
        if tried.call.is_proper_failure and tried.left:
            raise Fault("{}; {} is left".format(tried.told(), shown(tried.left[0])))


@TOPIC.check(
    "failed-mount-leaks",
    LEAK,
    Words(
        "a mount that fails leaves nothing outside of the pod's directory",
        "mounts, processes or files pile up on the node",
        "No unmount follows a failed mount. What the driver mounted or started for itself before "
        "the failure, to stage the volume for example, is for the failing call to take away.",
    ),
    traps=(3,),
    needs=(
        After("init"),
        After("mounts-left"),
        After("processes-left"),
        After("files-pile-up"),
        After("failed-mount-leaves-files"),
    ),
)
def failed_mount_leaks(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.reach_device()
    life.device_options()  # makes the volume
    before = mounted_paths()
    for tried in tried_mounts(life, path):
        if tried.call.is_proper_failure and not tried.is_mounted:
            left = [mounted for mounted, root in mounted_paths() if (mounted, root) not in before]
            if left:
                raise Fault("{}; {} is still mounted".format(tried.told(), left[0]))
            processes = life.processes_left()
            if processes:
                raise Fault("{}; a process is left: {}".format(tried.told(), shown(processes[0])))
    _expect_no_pile(life, path)


def _expect_no_pile(life: "Life", path: str) -> None:
    """A fault if each of some mounts that the kernel refuses leaves a file."""
    new = []
    before = set(written.paths(life.inside))
    for _ in range(_CYCLES):
        refused = refused_mount(life, path)
        after = set(written.paths(life.inside))
        if not refused.call.is_proper_failure:
            return
        new.append(after - before)
        before = after
    left = life.files_left(new)
    if left:
        words = "{}; each time it leaves a file such as {}"
        raise Fault(words.format(refused.told(), shown(left[0])))


@TOPIC.check(
    "failed-mount-leaks-loop-devices",
    LEAK,
    Words(
        "a mount that fails leaves no loop device",
        "loop devices run out, and the volume's file stays in use",
        "No unmount follows a failed mount: a device that was taken for the mount is for the "
        "failing call to give back.",
    ),
    traps=(3,),
    needs=("loop-devices-left",),
)
def failed_mount_leaks_loop_devices(life: "Life") -> None:
    life.begin()
    life.reach_device()
    before = life.loop_devices()
    for tried in tried_mounts(life, life.pod()):
        if tried.call.is_proper_failure and not tried.is_mounted:
            left = life.loop_devices_left(before)
            if left:
                raise Fault("{}; {} is still attached".format(tried.told(), left[0]))


@TOPIC.check(
    "failed-mount-keeps-data",
    DATA_LOSS,
    Words(
        "a mount that fails deletes nothing of a volume in use",
        "a running pod loses its data when another pod cannot start",
        "A driver that clears away behind a failed mount what the mount has made must know that "
        "nobody else uses that: a directory that another pod has mounted is no leftover.",
    ),
    traps=(3,),
    needs=("mounted",),
)
def failed_mount_keeps_data(life: "Life") -> None:
    life.begin()
    path = life.pod("pod-1")
    life.must_mount(path)
    kept = os.path.join(path, "kept")
    life.write(kept, "data")
    refused = refused_mount(life, life.pod("pod-2"), life.mount_options("pod-2"))
    if mounts_at(path) and not os.path.exists(kept):
        raise Fault("{}; a file of another pod is gone".format(refused.told()))


@TOPIC.check(
    "failed-unmount-is-failure",
    BREAKS,
    Words(
        "an unmount that unmounts nothing is a Failure",
        "the pod stays in Terminating, and the log names another reason",
        "kubelet removes the directory after a Success, and finds it busy.",
    ),
    needs=("unmounted",),
)
def failed_unmount_is_failure(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    call = life.unmount(path, powerless())
    if call.done_by_kubelet:
        raise NotAsked("the driver leaves unmount to kubelet")
    if call.succeeded and mounts_at(path):
        raise Fault("the kernel refuses to unmount: {}".format(call.told()))


@TOPIC.check(
    "failed-unmount-keeps-data",
    DATA_LOSS,
    Words(
        "an unmount that fails deletes nothing",
        "all data of the volume is gone when a pod ends whose volume is still in use",
        "A driver that removes the pod's directory with all that is in it, though the volume is "
        "still mounted there, removes the volume's data.",
    ),
    needs=("unmounted",),
)
def failed_unmount_keeps_data(life: "Life") -> None:
    life.begin()
    path = life.pod()
    life.must_mount(path)
    kept = os.path.join(path, "kept")
    life.write(kept, "data")
    life.unmount(path, powerless())
    if mounts_at(path) and not os.path.exists(kept):
        raise Fault("the kernel refused to unmount, and unmount deleted the volume's file")
