"""Checks of what a driver finds around itself on some nodes: options, variables, directories."""

import os

from node.host import namespaces
from node.sanity.check import ADVICE, BREAKS, SECURITY, After, Fault, NotAsked, Topic, Words
from node.sanity.doubtful import refused_mount
from node.sanity.life import go_json, mounts_at
from node.sanity.runner import ENVIRONMENT, Surroundings
from shared import options as keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Tuple

    from node.sanity.life import Life
    from node.sanity.runner import Call

TOPIC = Topic()
# MAX_ARG_STRLEN of the kernel (include/uapi/linux/binfmts.h), with the byte that ends an argument:
# kubelet cannot pass a longer one.
_ARGUMENT_BYTES = 32 * 4096
_OPTION = "flexvol-sanity"
_WITH_UNKNOWN = "with an option that is unknown"
_WITH_STRANGE = "with strange characters in an option that is unknown"
_WITH_LONG = "with options of 128 KiB"
_STRANGE = "<one>&'two'\"three\"\\four six=7, \u00e4\u65e5 ${HOME} `true` [8]"
# What ends a text in JSON or in a shell. With a blank alone a script that does not quote its words
# comes farther, with too many of them.
_BREAKING = ('"\\\n\t', " x")
# What stands behind the value of an option, for shells that evaluate the value in any quotes. No
# blank, as many scripts fall apart at a blank before they come to the value.
_EXECUTED = "/tmp/flexvol-sanity-option-executed"
_COMMANDS = (
    "$(touch${IFS}" + _EXECUTED + ")",
    ";touch${IFS}" + _EXECUTED + ";",
    "';touch${IFS}" + _EXECUTED + ";'",
    '";touch${IFS}' + _EXECUTED + ';"',
)
_OUTSIDE = "/var/flexvol-sanity-outside"
# Storage lies less deep than that.
_CLIMBS = 12
# A driver may refuse a longer value.
_PIECE_BYTES = 2048


@TOPIC.check(
    "output-held",
    BREAKS,
    Words(
        "no process that stays behind keeps the driver's output open",
        "the pod stays in ContainerCreating, and the node's log says nothing",
        "kubelet reads until everybody has closed stdout and stderr. A daemon that inherits them, "
        "such as that of FUSE, makes the call hang for ever.",
    ),
    traps=(10,),
)
def output_held(life: "Life") -> None:
    for call in life.whole():
        if call.is_held:
            raise Fault(call.told())


@TOPIC.check(
    "unknown-option",
    BREAKS,
    Words(
        "an option that the driver does not know is taken or refused in form",
        "the pod's event shows a JSON error",
        "A PV may have any options. Refusing an unknown one, with its name in the message, tells "
        "whoever mistyped it.",
    ),
    needs=(After("init"), After("mounted"), After("mount-again")),
)
def unknown_option(life: "Life") -> None:
    life.begin()
    life.must_answer_in_form()
    if not _mount_with(life, {_OPTION: "value"}):
        life.must_mount_at_all()


@TOPIC.check(
    "option-characters",
    BREAKS,
    Words(
        "an option may have any characters",
        "volumes with some paths or passwords are not mounted",
        "The options are JSON as Go writes it: <, > and & stand there as \\\\u003c, \\\\u003e and "
        "\\\\u0026. Read them by a parser of JSON, and not by grep. An answer that names a value "
        "must be written as JSON, too: a quote in the value ends the text of a message.",
    ),
    needs=(After("mounted"), After("unknown-option")),
)
def option_characters(life: "Life") -> None:
    life.begin()
    life.must_answer_in_form()
    takes_unknown = _mount_with(life, {_OPTION: "value"})
    takes_strange = _mount_with(life, {_OPTION: _STRANGE}, _WITH_STRANGE)
    told = _last(life)
    _try_own_options(life)
    if not takes_unknown:
        life.must_mount_at_all()
    elif not takes_strange:
        raise Fault("{}: {}".format(_WITH_STRANGE, told))


def _try_own_options(life: "Life") -> None:
    """Mounts with values that most drivers refuse, and that the kernel refuses: the answer must be
    in form."""
    path = life.pod()
    fails_in_form = refused_mount(life, path).call.is_in_form
    for key, value in _own_options(life):
        for breaking in _BREAKING:
            words = "with {} at the end of the option {}".format(ascii(breaking), key)
            options = {key: value + breaking}
            _mount_with(life, options, words)
            refused = refused_mount(life, path, dict(life.mount_options(), **options))
            if fails_in_form and not refused.call.is_in_form:
                raise Fault("{}: {}".format(words, refused.told()))


@TOPIC.check(
    "option-executed",
    SECURITY,
    Words(
        "no option's value is executed as a command",
        "whoever may make a pod is root on the node",
        "A pod may have a FlexVolume with options of its own, without any PV. A value that a shell "
        "script evaluates, by eval or in the words of another shell, is a program.",
    ),
    needs=(After("init"),),
)
def option_executed(life: "Life") -> None:
    life.begin()
    own = _own_options(life)
    if not own:
        raise NotAsked("the volume has no options")
    for key, value in own:
        for command in _COMMANDS:
            _mount_and_unmount(life, {key: value + command})
            if os.path.exists(_EXECUTED):
                raise Fault("mount executed a command that stands in the option {}".format(key))
    life.must_mount_at_all()


@TOPIC.check(
    "option-outside",
    SECURITY,
    Words(
        "an option that names a volume leads nowhere else",
        "whoever may make a pod reads and changes any file of the node",
        "A pod may have a FlexVolume with options of its own, without any PV. A name with /../ in "
        "it, put behind the path of the driver's storage, is any directory of the node.",
    ),
    needs=(After("init"),),
)
def option_outside(life: "Life") -> None:
    life.begin()
    os.makedirs(_OUTSIDE)
    names = [(key, value) for key, value in _own_options(life) if "/" not in value]
    if not names:
        raise NotAsked("no option of the volume is a name")
    for key, value in names:
        for begin in ("", value + "/"):
            climbing = begin + "../" * _CLIMBS + _OUTSIDE[1:]
            path = life.pod()
            life.start_mount(path, dict(life.mount_options(), **{key: climbing})).finish()
            mounts = mounts_at(path)
            if mounts and os.path.samefile(path, _OUTSIDE):
                raise Fault(
                    "with the option {} = {} mount shows {}".format(key, climbing, _OUTSIDE)
                )
            life.clear(path)
    life.must_mount_at_all()


@TOPIC.check(
    "long-options",
    BREAKS,
    Words(
        "the options may have 128 KiB",
        "volumes with a large Secret are not mounted",
        "One argument may have 128 KiB, and the values of a Secret, as base64, make it as long. A "
        "driver that passes its options on, with more words in the same argument, goes beyond.",
    ),
    needs=("unknown-option",),
)
def long_options(life: "Life") -> None:
    life.begin()
    takes_unknown = _mount_with(life, {_OPTION: "value"})
    mounted = _mount_with(life, _filling(life.mount_options()), _WITH_LONG)
    if takes_unknown and not mounted:
        raise Fault("{}: {}".format(_WITH_LONG, _last(life)))


@TOPIC.check(
    "no-home",
    BREAKS,
    Words(
        "the driver works without HOME and LANG",
        "volumes are not mounted where kubelet is a service of systemd",
        "systemd gives a service of the system PATH, and neither HOME nor a language.",
    ),
    needs=("init", "unmounted"),
)
def no_home(life: "Life") -> None:
    around = Surroundings()
    around.environment = {"PATH": ENVIRONMENT["PATH"]}
    _live(life, around, "without HOME and LANG")


@TOPIC.check(
    "empty-environment",
    ADVICE,
    Words(
        "the driver works without any variables",
        "nothing with systemd, which sets PATH; volumes are not mounted elsewhere",
        "A driver that sets its own PATH works on every node.",
    ),
    needs=("init", "unmounted", "no-home"),
)
def empty_environment(life: "Life") -> None:
    around = Surroundings()
    around.environment = {}
    _live(life, around, "without variables")


@TOPIC.check(
    "read-only-root",
    BREAKS,
    Words(
        "the driver works where the root is read-only",
        "volumes are not mounted on Flatcar, Talos, Bottlerocket and others",
        "Only /run, /tmp and /var can be written to on such nodes.",
    ),
    needs=("init", "unmounted"),
)
def read_only_root(life: "Life") -> None:
    life.begin()
    life.device_options()
    life.reach_device()
    try:
        namespaces.set_read_only("/", True)
    except OSError:
        raise NotAsked("the driver, or the setup, has files of the root open for writing") from None
    _live(life, Surroundings(), "with a read-only root")


@TOPIC.check(
    "closed-stdin",
    ADVICE,
    Words(
        "the driver works with stdin closed",
        "nothing with kubelet, which gives an empty stdin; other callers may not",
        "The first file that the driver opens becomes its stdin, and the stdin of its children.",
    ),
    needs=("init", "unmounted"),
)
def closed_stdin(life: "Life") -> None:
    around = Surroundings()
    around.has_stdin = False
    _live(life, around, "with stdin closed")


@TOPIC.check(
    "working-directory",
    BREAKS,
    Words(
        "the driver works in any working directory",
        "volumes are not mounted, as kubelet works in /",
        "A file that lies beside the driver is found by the driver's own path.",
    ),
    needs=("init", "unmounted"),
)
def working_directory(life: "Life") -> None:
    around = Surroundings()
    around.directory = "/"
    _live(life, around, "in the directory /")


def _live(life: "Life", around: Surroundings, where: str) -> None:
    """A mount and an unmount, which must succeed there as they do elsewhere."""
    init = life.runner.run("init", [], around)
    if not init.succeeded:
        raise Fault("{}: {}".format(where, init.told()))
    life.begin()
    path = life.pod()
    call = life.mount(path, None, around)
    if not call.succeeded or not mounts_at(path):
        raise Fault("{}: {}".format(where, call.told()))
    call = life.unmount(path, around)
    if not call.succeeded or mounts_at(path):
        raise Fault("{}: {}".format(where, call.told()))


def _mount_with(life: "Life", options: "Dict[str, str]", words: str = _WITH_UNKNOWN) -> bool:
    """Whether a mount with further options succeeds. A fault if its answer is not in form, or if it
    succeeds and mounts nothing.

    words: for a person, about the options"""
    path = life.pod()
    given = life.mount_options()
    given.update(options)
    call = life.mount(path, given)
    if not call.is_in_form:
        raise Fault("{}: {}".format(words, call.told()))
    if not call.succeeded:
        return False
    if not mounts_at(path):
        raise Fault("{}: mount answered Success, and mounted nothing".format(words))
    life.clear(path)
    return True


def _own_options(life: "Life") -> "List[Tuple[str, str]]":
    """The options that are the driver's own, and not of Kubernetes."""
    return [(key, value) for key, value in life.pv_options().items() if not keys.is_reserved(key)]


def _mount_and_unmount(life: "Life", options: "Dict[str, str]") -> None:
    """A mount with further options, which may fail in any way, and its unmount."""
    path = life.pod()
    life.mount(path, dict(life.mount_options(), **options))
    life.clear(path)


def _filling(options: "Dict[str, str]") -> "Dict[str, str]":
    """Further options, with which the argument is as long as one can be."""
    many: "Dict[str, str]" = {}
    while True:
        key = "{}-{}".format(_OPTION, len(many))
        many[key] = ""
        text = go_json(dict(options, **many))
        room = _ARGUMENT_BYTES - 1 - len(text.encode())
        many[key] = "x" * min(room, _PIECE_BYTES)
        if room <= 2 * _PIECE_BYTES:
            many[key] = "x" * room
            return many


def _last(life: "Life") -> str:
    call: "Call" = life.runner.calls[-1]
    return call.told()
