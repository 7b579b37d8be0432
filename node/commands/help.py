"""Explains a callout or a command, with a line to try a callout by hand.

Without a word it names all callouts and commands."""

import argparse
import json
import shlex

from node import callouts, commands
from node.drivers import Driver
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
from shared.protocol import CALLOUTS, VERSION, InvalidArgument, shown, similar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterable, List, Optional, Tuple

NEEDS_ROOT = False
_VOLUME = "pvc-1"
# Argument of a callout -> what it is, and an example. The example of options is made of _KEYS.
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
_OF_THE_PV = "the PV's flexVolume.options, which `list` tells too"
_OF_THE_CLASS = "the class's parameters"
# Callout -> the reserved keys of its options, and where its other options are from. A callout that
# is not named here has those keys that kubelet always gives.
_OPTIONS: "Dict[str, Tuple[Tuple[str, ...], str]]" = {
    "mount": (_FROM_KUBELET + _POD, _OF_THE_PV),
    "provision": (_CLAIM + (FS_TYPE, REQUEST_BYTES), _OF_THE_CLASS),
    "delete": (_CLAIM, _OF_THE_PV),
    "adopt": (_CLAIM, _OF_THE_PV),
}
_USUAL_OPTIONS = (_FROM_KUBELET, _OF_THE_PV)
_ANSWER = """
The answer is one JSON object on stdout: "status" is Success, Failure or Not supported, and
"message" and "reason" say why. The exit status is 0 whatever it is. On a terminal the
message follows as a sentence on stderr."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("word", nargs="?", metavar="WORD", help="a callout or a command")
    parser.add_argument(
        "--schema",
        action="store_true",
        help="print the JSON schemas of the callout's options and of its reply; without WORD, of "
        "all callouts",
    )


def run(settings: argparse.Namespace) -> int:
    word = settings.word
    if settings.schema:
        _print_schemas(word)
        return 0
    if word is None:
        print(_overview())
        return 0
    is_command = word in commands.names()
    if is_command:
        print(commands.parser(word).format_help(), end="")
    if is_command and word in CALLOUTS:
        print("\nThe callout of the same name:\n")
    if word in CALLOUTS:
        print(_callout(word))
    if is_command or word in CALLOUTS:
        return 0
    raise _unknown("callout or command", word, [*commands.names(), *CALLOUTS])


def _print_schemas(callout: "Optional[str]") -> None:
    from shared import schemas  # late: only this option needs the schemas

    if callout is not None and callout not in CALLOUTS:
        raise _unknown("callout", callout, CALLOUTS)
    print(json.dumps(schemas.document(callout or ""), indent=2))


def _unknown(what: str, word: str, known: "Iterable[str]") -> InvalidArgument:
    """what: the kind of word that is wanted."""
    meant = similar(word, known)
    advice = meant + " may be meant" if meant else "see: flexvol help"
    return InvalidArgument("there is no {} {}; {}".format(what, shown(word), advice))


def _overview() -> str:
    lines = [
        "flexvol {}: a FlexVolume driver for kubelet, in one file".format(VERSION),
        "",
        "Commands for a person; `flexvol help COMMAND` has more:",
    ]
    for name in commands.names():
        lines.append("  {:11} {}".format(name, commands.summary(name)))
    lines += [
        "",
        "Callouts, each answered by one JSON object; `flexvol help CALLOUT` has their arguments "
        "explained:",
    ]
    for name, callout in CALLOUTS.items():
        lines.append("  {}".format(_usage(name)))
        lines.append("      {} (called by {})".format(callout.about, callout.caller))
    return "\n".join(lines)


def _usage(callout: str) -> str:
    words = ["<{}>".format(argument) for argument in CALLOUTS[callout].arguments]
    return " ".join([callout, *words])


def _callout(name: str) -> str:
    callout = CALLOUTS[name]
    driver_name = commands.own_driver()
    driver = callouts.load(driver_name)
    lines = [
        "flexvol " + _usage(name),
        "",
        "{}. Called by {}; it may take {} s.".format(
            callout.about, callout.caller, callout.seconds
        ),
    ]
    if getattr(type(driver), name) is getattr(Driver, name) and name != "init":
        lines.append("The driver {} does not support it.".format(driver_name))
    if callout.arguments:
        lines.append("")
    for argument in callout.arguments:
        lines.append("  {:11} {}".format(argument, _ARGUMENTS[argument][0]))
        if argument == "options":
            lines += _explain_options(name)
    lines += [_ANSWER, "", "By hand, for example:", "  flexvol " + _example(name, driver)]
    return "\n".join(lines)


def _explain_options(callout: str) -> "List[str]":
    keys, origin_of_others = _OPTIONS.get(callout, _USUAL_OPTIONS)
    lines = ["    {:30} {}".format(key, _KEYS[key][0]).rstrip() for key in keys]
    lines.append("    and {}".format(origin_of_others))
    return lines


def _example(callout: str, driver: Driver) -> str:
    keys, origin_of_others = _OPTIONS.get(callout, _USUAL_OPTIONS)
    options = {key: _KEYS[key][1] for key in keys}
    if origin_of_others == _OF_THE_PV:
        options.update(driver.EXAMPLE)
    words = [callout]
    for argument in CALLOUTS[callout].arguments:
        word = json.dumps(options) if argument == "options" else _ARGUMENTS[argument][1]
        words.append(shlex.quote(word))
    return " ".join(words)
