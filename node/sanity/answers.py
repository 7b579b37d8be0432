"""Checks of the answers: their form, and what init states."""

import os

from node.host import file_events
from node.sanity.check import (
    ADVICE,
    BREAKS,
    After,
    Fault,
    NotJudged,
    Topic,
    Words,
)
from node.sanity.life import capability, go_json, mounted_paths
from shared.caller import Garbled
from shared.protocol import FAILURE, NOT_SUPPORTED, SUCCESS, Capabilities, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from node.sanity.life import Life

TOPIC = Topic()
_UNKNOWN_CALL = "sanitycheck"
_KEYS = (
    "status",
    "message",
    "device",
    "volumeName",
    "attached",
    "capabilities",
    "volumeNewSize",
    # For the provisioner, which takes no other case for the same key.
    "reason",
    "volume",
    "volumes",
    "pools",
)
# init answers from memory.
_INIT_SECONDS = 1
# A busy machine holds one call up, but not init alone for so many times.
_INIT_TRIES = 3
_GARBLED = "MountVolume.SetUp failed: invalid character ... looking for beginning of value"


@TOPIC.check(
    "one-document",
    BREAKS,
    Words(
        "each call prints one JSON object and nothing else",
        _GARBLED,
        "kubelet reads stdout and stderr as one text, which must be exactly one JSON object. A "
        "word before it, a warning of a tool on stderr, a second object or no output at all fail "
        "the call, whatever the driver has done, and hide the driver's own message.",
    ),
    traps=(10,),
)
def one_document(life: "Life") -> None:
    told: "List[str]" = []
    callouts: "List[str]" = []
    for call in life.whole():
        if not call.hangs and call.document() is None and call.callout not in callouts:
            callouts.append(call.callout)
            told.append(call.told())
    if told:
        raise Fault("; ".join(told))


@TOPIC.check(
    "value-types",
    BREAKS,
    Words(
        "the values of an answer have the contract's types",
        "the driver is not found, or each call fails: cannot unmarshal string into Go ... of type "
        "bool",
        'kubelet refuses the whole answer if one value has another type, such as "attach": "false" '
        "in place of false, or a number as a text in volumeNewSize.",
    ),
)
def value_types(life: "Life") -> None:
    for call in life.whole():
        if call.document() is not None and isinstance(call.failure, Garbled):
            raise Fault(call.failure.message)


@TOPIC.check(
    "capabilities-null",
    BREAKS,
    Words(
        "capabilities is an object, or left out",
        "kubelet and kube-controller-manager crash when they find the driver",
        '"capabilities": null sets a pointer that NewFlexVolumePlugin follows.',
    ),
    needs=(After("value-types"),),
)
def capabilities_null(life: "Life") -> None:
    document = life.begin().document() or {}
    for key, value in document.items():
        if key.lower() == "capabilities" and value is None:
            raise Fault("init: capabilities is null")


@TOPIC.check(
    "status-words",
    BREAKS,
    Words(
        "status is Success, Failure or Not supported, in these letters",
        "a mount that was made is reported as failed, and is retried for ever",
        "The values of status are compared letter by letter. Any other word is a failure: success, "
        "SUCCESS, OK, Not Supported.",
    ),
)
def status_words(life: "Life") -> None:
    for call in life.whole():
        has_word = not call.hangs and call.document() is not None
        if has_word and call.word() not in (SUCCESS, FAILURE, NOT_SUPPORTED):
            raise Fault("{}: status is {}".format(call.callout, shown(call.word())))


@TOPIC.check(
    "key-case",
    ADVICE,
    Words(
        "the keys of an answer are written as in the contract",
        "nothing with kubelet; other programs do not find the value",
        "kubelet matches keys in any case, as Go does. The provisioner and people's scripts do "
        "not.",
    ),
)
def key_case(life: "Life") -> None:
    known = {key.lower(): key for key in _KEYS}
    for call in life.whole():
        for key in call.document() or {}:
            meant = known.get(key.lower(), key)
            if key != meant:
                raise Fault("{}: the key {} means {}".format(call.callout, shown(key), meant))
    for key in _capabilities(life):
        if key != capability(key):
            raise Fault("init: the key {} means {}".format(shown(key), capability(key)))


@TOPIC.check(
    "exit-status-of-success",
    BREAKS,
    Words(
        "an answer of Success has the exit status 0",
        "MountVolume.SetUp failed, though the volume is mounted",
        "kubelet takes Success with another exit status for a bug of the driver, and so for a "
        "failure.",
    ),
)
def exit_status_of_success(life: "Life") -> None:
    for call in life.whole():
        if call.word() == SUCCESS and call.status not in (0, None):
            raise Fault("{}: Success with exit status {}".format(call.callout, call.status))


@TOPIC.check(
    "init",
    BREAKS,
    Words(
        "init succeeds",
        "no volume plugin matched: pods with the driver's volumes stay in ContainerCreating",
        "kubelet and kube-controller-manager load a driver only if init answers Success. A driver "
        "that fails while kubelet starts is not tried again before its file changes.",
    ),
    traps=(11, 12),
)
def init(life: "Life") -> None:
    life.expect_success(life.begin())


@TOPIC.check(
    "init-fast",
    ADVICE,
    Words(
        "init answers at once",
        "no volume of the node is mounted or unmounted while init runs",
        "init runs while kubelet holds the lock of all volume plugins, without a time limit, and "
        "again at each change in the driver's directory.",
    ),
    traps=(12,),
    needs=("init",),
)
def init_fast(life: "Life") -> None:
    for _ in range(_INIT_TRIES):
        call = life.begin()
        if call.seconds <= _INIT_SECONDS:
            return
        # A busy machine takes its time to start the interpreter.
        start = life.runner.run(_UNKNOWN_CALL, [])
        if call.seconds <= _INIT_SECONDS + 2 * start.seconds:
            return
    raise Fault("init took {:.1f} s".format(call.seconds))


@TOPIC.check(
    "init-changes-nothing",
    ADVICE,
    Words(
        "init mounts nothing and starts nothing",
        "mounts and processes pile up, as init is called again and again",
        "kubelet and kube-controller-manager call init at their start and at each change in the "
        "driver's directory, where no volume is wanted yet.",
    ),
    traps=(12,),
    needs=("init",),
)
def init_changes_nothing(life: "Life") -> None:
    before = mounted_paths()
    life.begin()
    new = [path for path, _ in mounted_paths() if path not in dict(before)]
    if new:
        raise Fault("init mounted {}".format(new[0]))
    left = life.runner.left()
    if left:
        raise Fault("init left a process: {}".format(shown(left[0])))


@TOPIC.check(
    "attach-stated",
    BREAKS,
    Words(
        "init states attach",
        "pods wait for ever: the volume is not yet in node's status; or the pod gets an empty "
        "directory of the node's disk",
        "attach is true where it is left out. Then kube-controller-manager needs the driver too, "
        "and calls that are not supported count as done: at last the pod gets a bind of an empty "
        "directory.",
    ),
    traps=(8,),
    needs=(After("init"), After("capabilities-null")),
)
def attach_stated(life: "Life") -> None:
    if "attach" not in _stated(life):
        raise Fault('init does not state attach, which means true; state "attach": false')


@TOPIC.check(
    "capabilities-stated",
    ADVICE,
    Words(
        "init states all capabilities",
        "a capability that the driver has not is used, or one that it has is not",
        "Where they are left out, selinuxRelabel, fsGroup and requiresFSResize are true, and "
        "supportsMetrics is false.",
    ),
    needs=(After("init"), After("capabilities-null")),
)
def capabilities_stated(life: "Life") -> None:
    stated = _stated(life)
    missing = [name for name in Capabilities.NAMES if name not in (*stated, "attach")]
    if missing:
        raise Fault("init does not state {}".format(", ".join(missing)))


@TOPIC.check(
    "requires-fs-resize",
    ADVICE,
    Words(
        "requiresFSResize is true, so that claims can grow",
        "an expanded claim stays in FileSystemResizePending for ever",
        "The controller does not know the driver and takes requiresFSResize for true. If the "
        "driver says false, kubelet never completes the expansion.",
    ),
    traps=(14,),
    needs=("init",),
)
def requires_fs_resize(life: "Life") -> None:
    life.begin()
    if life.capabilities.get("requiresFSResize") is False:
        raise Fault("init states requiresFSResize: false")


@TOPIC.check(
    "unknown-call",
    BREAKS,
    Words(
        "a call that the driver does not know is Not supported",
        "newer calls fail with garbled output in kubelet's log",
        "Not supported makes kubelet do what it can by itself, and not ask again. Usage text, an "
        "empty output or Failure makes it fail and retry.",
    ),
    needs=(After("init"),),
)
def unknown_call(life: "Life") -> None:
    life.begin()
    # Each call but init has an argument; some drivers look at the number of words first.
    call = life.runner.run(_UNKNOWN_CALL, [go_json(life.mount_options())])
    if not call.is_unsupported:
        raise Fault(call.told())


def _stated(life: "Life") -> "List[str]":
    """The capabilities that init states, by the contract's names."""
    return [capability(key) for key in _capabilities(life)]


def _capabilities(life: "Life") -> "List[str]":
    """The keys of the capabilities as init writes them."""
    document = life.begin().spoiled_document()
    if document is None:
        raise NotJudged("init answered with no object; see init")
    for key, value in document.items():
        if key.lower() == "capabilities":
            return list(value or ())
    return []


@TOPIC.check(
    "driver-directory",
    BREAKS,
    Words(
        "no call writes in the driver's own directory",
        "kubelet calls init again and again, and volumes wait",
        "kubelet watches the directory and all below it: whatever is made, written, renamed, "
        "removed or given another mode there, be it for a moment, has the driver probed anew. Only "
        "names that begin with a dot are passed over.",
    ),
    traps=(11,),
    needs=("init",),
)
def driver_directory(life: "Life") -> None:
    life.runner.directory = "/"  # where kubelet works: a relative path means another place
    with file_events.Watch(os.path.dirname(os.path.dirname(life.inside.executable))) as watch:
        life.whole()
        for path, word in watch.events():
            if not os.path.basename(path).startswith("."):
                raise Fault("{} was {}".format(path, word))
