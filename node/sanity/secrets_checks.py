"""Checks of Secrets: that a driver takes every value, and shows none."""

import base64
import os
import re

from node.sanity import written
from node.sanity.check import BREAKS, SECURITY, After, Fault, NotAsked, Topic, Words
from node.sanity.doubtful import refused_mount
from node.sanity.life import mounts_at, secret_options
from node.sanity.runner import Surroundings
from shared.protocol import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator, List

    from node.sanity.life import Life
    from node.sanity.runner import Call

TOPIC = Topic()
# The key of the Secret if no other was given, and a value that stands nowhere else.
_KEY = "password"
# Their base64 has no padding, which is a check of its own.
_VALUE = b"sanity-Qx7Jm2Rv9Tz"
_PLAIN = b"sanity-Kp3Wn8Ys5Lb"
_BASE64_GROUP_BYTES = 3
# A shorter value may stand in a path or a word by chance.
_SHORTEST = 6
_CANARY = "/tmp/flexvol-sanity-executed"
_SHELL = "$HOME `touch {0}` $(touch {0}) ${{IFS}} ;touch {0};".format(_CANARY)
# /var/log/driver, /tmp/driver.log, /var/lib/driver/logs/1.
_LOG = re.compile("[/._-]logs?([/._-]|$)")


@TOPIC.check(
    "secret-newline",
    BREAKS,
    Words(
        "a value of the Secret may have newlines",
        "mounts with this Secret fail: values made by echo, or from a file, end with a newline",
        "kubelet passes each value as base64 of its bytes, whichever they are.",
    ),
    needs=(After("init"), After("mount-again")),
)
def secret_newline(life: "Life") -> None:
    _try_values(life, [_unpadded(b"first\nsecond\n")])


@TOPIC.check(
    "secret-comma",
    BREAKS,
    Words(
        "a value of the Secret may have commas and equals signs",
        "mounts with this Secret fail, or get options that the Secret's author chose",
        "In the options of mount a comma ends a value. Give the value in a file, or in the "
        "environment, as mount.cifs takes it.",
    ),
    needs=(After("init"), After("mount-again")),
)
def secret_comma(life: "Life") -> None:
    _try_values(life, [_unpadded(b"first,second=third,ro,uid=0")])


@TOPIC.check(
    "secret-dollar",
    SECURITY,
    Words(
        "a value of the Secret may have what a shell reads as a command",
        "whoever writes the Secret is root on the node",
        "A value that a shell script evaluates, by eval or without quotes, is a program.",
    ),
    needs=(After("init"), After("mount-again")),
)
def secret_dollar(life: "Life") -> None:
    _try_values(life, [_unpadded(_SHELL.encode())])


@TOPIC.check(
    "secret-quotes",
    BREAKS,
    Words(
        "a value of the Secret may have quotes and backslashes",
        "mounts with this Secret fail",
        "Quotes end the words of a shell script and of JSON that is put together by hand.",
    ),
    needs=(After("init"), After("mount-again")),
)
def secret_quotes(life: "Life") -> None:
    _try_values(life, [_unpadded(b"one\"two'three\\four\\n")])


@TOPIC.check(
    "secret-unicode",
    BREAKS,
    Words(
        "a value of the Secret may have letters of any language",
        "mounts with this Secret fail",
        "kubelet gives no locale to a driver, so that some interpreters read ASCII only.",
    ),
    needs=(After("init"), After("mount-again")),
)
def secret_unicode(life: "Life") -> None:
    _try_values(life, [_unpadded("p\u00e4ssw\u00f6rd-\u65e5\u672c\u8a9e-\U0001f511".encode())])


@TOPIC.check(
    "secret-padding",
    BREAKS,
    Words(
        "a value of the Secret may have any length",
        "mounts with some Secrets fail: those whose base64 ends with an equals sign",
        "base64 ends with no, one or two equals signs, as the length demands. A driver that cuts "
        "its options at an equals sign loses them.",
    ),
    needs=(After("init"), After("mount-again")),
)
def secret_padding(life: "Life") -> None:
    _try_values(life, [b"sanity", b"sanity1", b"sanity12"])


@TOPIC.check(
    "secret-in-arguments",
    SECURITY,
    Words(
        "no value of the Secret is in the arguments of a program that the driver runs",
        "every user of the node reads the Secret in the list of processes",
        "The arguments of a process are for all to see. kubelet itself passes the values as base64 "
        "in the driver's own arguments; the driver should not pass them on.",
    ),
    needs=(After("init"),),
)
def secret_in_arguments(life: "Life") -> None:
    words = _searched(life)
    for call in _calls_with_secret(life):
        handed = call.words[-1]
        for argv in call.executed:
            # The driver's own process has from kubelet what its interpreter gets, too.
            excused = () if argv in call.passed_on else (handed,)
            if any(word not in excused and _has(os.fsencode(word), words) for word in argv):
                raise Fault(
                    "{}: the arguments of {} have a value of the Secret".format(
                        call.callout, shown(argv[0])
                    )
                )


@TOPIC.check(
    "secret-in-files",
    SECURITY,
    Words(
        "no file with a value of the Secret can be read by others than root",
        "every user of the node reads the Secret in that file",
        "A file for mount, such as the credentials of mount.cifs, has the mode 0600 from its "
        "beginning on.",
    ),
    needs=(After("init"),),
)
def secret_in_files(life: "Life") -> None:
    words = _searched(life)
    exposed: "List[str]" = []

    def counts() -> "Dict[str, int]":
        files = written.files_with(life.inside, words)
        return {file.path: _count(file.content, words) for file in files if _is_open(file)}

    of_setup = counts()

    def look() -> None:
        exposed.extend(_with_more(counts(), of_setup))

    life.runner.on_executed = look
    for _ in _calls_with_secret(life):
        look()
        if exposed:
            raise Fault("{} holds a value of the Secret, and all may read it".format(exposed[0]))


@TOPIC.check(
    "secret-in-log",
    SECURITY,
    Words(
        "no value of the Secret is in a log",
        "the Secret is in the files and servers that collect the node's logs",
        "A driver that logs its arguments logs the Secret, also as base64. A log is a file of "
        "/var/log, or one that is called so.",
    ),
    needs=(After("init"),),
)
def secret_in_log(life: "Life") -> None:
    words = _searched(life)

    def counts() -> "Dict[str, int]":
        files = written.files_with(life.inside, words)
        return {file.path: _count(file.content, words) for file in files if _is_log(file)}

    of_setup = counts()
    system_log = written.SystemLog()
    life.runner.on_step = system_log.read
    for call in _calls_with_secret(life):
        system_log.read()
        if any(_has(line, words) for line in system_log.lines):
            raise Fault("{}: the system log has a value of the Secret".format(call.callout))
        logs = _with_more(counts(), of_setup)
        if logs:
            raise Fault("{} has a value of the Secret".format(logs[0]))


@TOPIC.check(
    "secret-in-message",
    SECURITY,
    Words(
        "no value of the Secret is in an answer",
        "whoever may read the pod's events reads the Secret",
        "The message of a failure becomes an event of the pod.",
    ),
    needs=(After("init"),),
)
def secret_in_message(life: "Life") -> None:
    words = _searched(life)
    for call in _calls_with_secret(life):
        if _has(call.output, words):
            raise Fault("{}: the answer has a value of the Secret".format(call.callout))


def _secrets(life: "Life") -> "Dict[str, bytes]":
    """The person's values, or one of our own."""
    return life.request.secrets or {_KEY: _VALUE}


def _options_with(life: "Life", secrets: "Dict[str, bytes]") -> "Dict[str, str]":
    options = life.mount_options()
    options.update(secret_options(secrets))
    return options


def _searched(life: "Life") -> "List[bytes]":
    """What stands for a value of the Secret: its bytes, and their base64."""
    secrets = {key: value for key, value in _secrets(life).items() if len(value) >= _SHORTEST}
    if not secrets:
        raise NotAsked("the Secret has no value of {} bytes to search for".format(_SHORTEST))
    words = list(secrets.values())
    for value in secrets.values():
        words += _encoded(value)
    return words


def _encoded(value: bytes) -> "List[bytes]":
    """What base64 shows of the value, wherever the value stands in what was encoded: alone, as
    kubelet passes the value on, or behind a user's name, as in the header of HTTP."""
    words = []
    for before in range(_BASE64_GROUP_BYTES):
        text = base64.b64encode(b"." * before + value)
        # Six bits a character; those at the ends depend on what stands beside the value.
        first = -(-8 * before // 6)
        words.append(text[first : 8 * (before + len(value)) // 6])
    return words


def _is_log(file: "written.File") -> bool:
    return _LOG.search(file.path) is not None


def _is_open(file: "written.File") -> bool:
    """Whether others than root may read the file, and no check of logs names it."""
    return file.is_exposed and not _is_log(file)


def _count(content: bytes, words: "List[bytes]") -> int:
    """How often the words stand in the content."""
    return sum(content.count(word) for word in words)


def _with_more(counts: "Dict[str, int]", of_setup: "Dict[str, int]") -> "List[str]":
    """The paths of the files in which a value of the Secret stands more often than before the
    driver's first call: the setup may have given the Secret to a server."""
    return [path for path, count in counts.items() if count > of_setup.get(path, 0)]


def _has(text: bytes, words: "List[bytes]") -> bool:
    return any(word in text for word in words)


def _calls_with_secret(life: "Life") -> "Iterator[Call]":
    """A mount, an unmount, and mounts that fail, each with the Secret and traced. If the first
    mount failed the driver may not have come to the Secret: raises NotJudged at the end, or
    NotAsked if it was a Secret of our own that a proper failure refused."""
    life.begin()
    around = Surroundings()
    around.is_traced = True
    path = life.pod()
    options = _options_with(life, _secrets(life))
    call = life.mount(path, options, around)
    yield call
    yield life.unmount(path)
    without_own = {key: value for key, value in options.items() if key not in life.pv_options()}
    yield life.mount(path, without_own, around)
    life.clear(path)
    yield refused_mount(life, path, options, True).call
    if call.is_proper_failure and not life.request.secrets:
        raise NotAsked("the driver takes no Secret with a key {}; give --secret".format(_KEY))
    life.must(call)


def _unpadded(value: bytes) -> bytes:
    """The value, with dots before it, so that its base64 has no padding."""
    return b"." * (-len(value) % _BASE64_GROUP_BYTES) + value


def _try_values(life: "Life", values: "List[bytes]") -> None:
    """Mounts with each value in the place of the Secret's. A driver that mounts with a plain value
    that is not the right one, too, must mount with each; another one must answer in form."""
    life.begin()
    life.must_answer_in_form()
    takes_all = _mounts_with(life, _PLAIN, must=False)
    for value in values:
        _mounts_with(life, value, must=takes_all)
        if os.path.exists(_CANARY):
            raise Fault("mount executed a command that stands in the Secret")
    if not takes_all:
        life.must_mount_at_all()


def _mounts_with(life: "Life", value: bytes, must: bool) -> bool:
    """Whether a mount with that value succeeds. must: it is a fault if not."""
    path = life.pod()
    secrets = dict.fromkeys(_secrets(life), value)
    call = life.mount(path, _options_with(life, secrets))
    is_mounted = call.succeeded and bool(mounts_at(path))
    if must and not is_mounted:
        raise Fault("with {} in the Secret: {}".format(shown(repr(value)), call.told()))
    if not call.is_in_form:
        raise Fault("with {} in the Secret: {}".format(shown(repr(value)), call.told()))
    if is_mounted:
        life.clear(path)
    return is_mounted
