"""flexvol help: what there is, or one callout or command explained, with a line to try it by
hand."""

import json
import shlex

from node import callouts
from node.commands import COMMANDS
from node.commands import main as main_of
from node.drivers import Driver
from shared import protocol
from shared.options import (
    CLAIM_NAME,
    CLAIM_NAMESPACE,
    CLAIM_UID,
    FS_TYPE,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    READ_WRITE,
    REQUEST_BYTES,
    VOLUME,
)
from shared.protocol import CALLOUTS, InvalidArgument, shown, similar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Tuple

_VOLUME = "pvc-1"
# Argument of a callout -> what it is, and an example. The options' example is made of _KEYS.
_ARGUMENTS = {
    "options": ("one JSON object, every value a string", ""),
    "mount_dir": (
        "the pod's directory for the volume; kubelet makes it",
        "/var/lib/kubelet/pods/UID/volumes/flexvol~loop/" + _VOLUME,
    ),
    "device_dir": (
        "the directory on the node where the device is mounted once for all pods",
        "/var/lib/kubelet/plugins/kubernetes.io/flexvolume/flexvol/loop/mounts/" + _VOLUME,
    ),
    "device": ("what attach and waitforattach found; empty if nothing is attached", "/dev/sdx"),
    "volume": ("the PV's name", _VOLUME),
    "node": ("the node's name", "node-1"),
    "new_bytes": ("the size it shall have", str(2 << 30)),
    "old_bytes": ("the size it had", str(1 << 30)),
}
_KEYS = {
    VOLUME: ("the PV's name", _VOLUME),
    FS_TYPE: ("its file system; empty for the driver's choice", "ext4"),
    READ_WRITE: ("rw or ro", "rw"),
    POD_NAMESPACE: ("the pod, as kubelet knows it", "default"),
    POD_NAME: ("", "web"),
    POD_UID: ("", "UID"),
    CLAIM_NAMESPACE: ("the claim that owns the volume", "default"),
    CLAIM_NAME: ("", "data"),
    CLAIM_UID: ("", "UID"),
    REQUEST_BYTES: ("the size asked for", str(1 << 30)),
}
_FROM_KUBELET = (VOLUME, FS_TYPE, READ_WRITE)
_POD = (POD_NAMESPACE, POD_NAME, POD_UID)
_CLAIM = (VOLUME, CLAIM_NAMESPACE, CLAIM_NAME, CLAIM_UID)
# Callout -> the keys of its options, if they are not those that kubelet always gives; and where the
# others are from.
_OF_THE_PV = "the PV's flexVolume.options, which `list` tells too"
_OPTIONS: "Dict[str, Tuple[Tuple[str, ...], str]]" = {
    "mount": (_FROM_KUBELET + _POD, _OF_THE_PV),
    "provision": (_CLAIM + (FS_TYPE, REQUEST_BYTES), "the class's parameters"),
    "delete": (_CLAIM, _OF_THE_PV),
    "adopt": (_CLAIM, _OF_THE_PV),
}
_ANSWER = """
The answer is one JSON object on stdout: "status" is Success, Failure or Not supported, and
"message" and "reason" say why. The exit status is 0 whatever it is. On a terminal the
message follows as a sentence on stderr."""


def main(words: "List[str]") -> int:
    if not words:
        print(_overview())
    elif words[0] in CALLOUTS and words[0] in COMMANDS:
        from node.commands import delete  # the one word that is both

        print(delete.parser().format_help())
        print("The callout of the same name:\n")
        print(_callout(words[0]))
    elif words[0] in CALLOUTS:
        print(_callout(words[0]))
    elif words[0] in COMMANDS and words[0] != "help":
        return main_of(words[0], ["--help"])
    else:
        meant = similar(words[0], [*COMMANDS, *CALLOUTS])
        advice = meant + " may be meant" if meant else "see: flexvol help"
        raise InvalidArgument(
            "there is no callout or command {}; {}".format(shown(words[0]), advice)
        )
    return 0


def _overview() -> str:
    lines = ["flexvol {}: a FlexVolume driver for kubelet, in one file".format(protocol.VERSION)]
    lines += ["", "Commands for a person; `flexvol help COMMAND` has more:"]
    lines += ["  {:11} {}".format(name, about) for name, about in COMMANDS.items()]
    lines += [
        "",
        (
            "Callouts, each answered by one JSON object; `flexvol help CALLOUT` has their "
            "arguments explained:"
        ),
    ]
    for name, row in CALLOUTS.items():
        lines += [
            "  {}".format(_usage(name)),
            "      {} (called by {})".format(row.about, row.caller),
        ]
    return "\n".join(lines)


def _usage(callout: str) -> str:
    return " ".join([callout] + ["<" + argument + ">" for argument in CALLOUTS[callout].arguments])


def _callout(name: str) -> str:
    row, driver = CALLOUTS[name], callouts.load(callouts.DEFAULT_DRIVER)
    lines = [
        "flexvol " + _usage(name),
        "",
        "{}. Called by {}; it may take {} s.".format(row.about, row.caller, row.seconds),
    ]
    if getattr(type(driver), name) is getattr(Driver, name) and name != "init":
        lines += ["The driver {} does not support it.".format(callouts.DEFAULT_DRIVER)]
    lines += [""] if row.arguments else []
    keys, rest = _OPTIONS.get(name, (_FROM_KUBELET, _OF_THE_PV))
    for argument in row.arguments:
        lines += ["  {:11} {}".format(argument, _ARGUMENTS[argument][0])]
        if argument == "options":
            lines += ["    {:30} {}".format(key, _KEYS[key][0]).rstrip() for key in keys]
            lines += ["    and {}".format(rest)]
    own = driver.EXAMPLE if rest == _OF_THE_PV else {}
    options = json.dumps(dict({key: _KEYS[key][1] for key in keys}, **own))
    example = [
        options if argument == "options" else _ARGUMENTS[argument][1] for argument in row.arguments
    ]
    return "\n".join(
        lines
        + [
            _ANSWER,
            "",
            "By hand, for example:",
            "  flexvol " + " ".join([name] + [shlex.quote(word) for word in example]),
        ]
    )
