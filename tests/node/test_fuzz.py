"""Whatever words it is called with, the driver prints one JSON object and nothing else, exits 0,
and what is not valid changes nothing. hypothesis makes the cases, and prints the smallest one that
fails; --hypothesis-seed repeats a run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from node import commands
from shared import schemas
from shared.options import is_reserved
from shared.protocol import CALLOUTS
from tests import schema_documents
from tests.node.growing import may_grow_mounted_ext4
from tests.node.nodes import MIB, NAMESPACE, UID, Node, schema_of_reply

# This many callouts are forks of one process; the next one is a process of its own.
EVERY = 50
ARGUMENT_LENGTH = 12_000  # hypothesis has no use for more; test_bad_input.py has some
PREFIX = "kubernetes.io/"
NAME = re.compile(r"(?!.*\.\.)[a-z0-9]([-a-z0-9.]{0,198}[a-z0-9])?")
CASES: Counter[str] = Counter()  # of all tests of this file, by their outcome
INTEGER = re.compile(r"[0-9]{1,19}")


class Driver:
    """The built driver on a node, which answers any number of callouts quickly."""

    def __init__(self, node: Node, python: str) -> None:
        self.node = node
        self.answers: Counter[str] = Counter()
        self._log = node.path("/var/log/flexvol/loop.log")
        script = Path(__file__).with_name("forking_driver.py")
        line = [
            "nsenter",
            "-t",
            str(node.holder_pid),
            "-m",
            python,
            "-I",
            "-S",
            str(script),
            node.executable[0],
        ]
        self._process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def call(self, *argv: bytes | str) -> dict[str, Any]:
        """Any words at all: what is checked here holds for all of them."""
        words = [word if isinstance(word, bytes) else word.encode() for word in argv]
        logged = self._log_bytes()
        if sum(self.answers.values()) % EVERY:
            status, out, err = self._fork(words)
        else:
            done = self.node.enter(
                *self.node.executable,
                *words,
                stdin=subprocess.DEVNULL,
            )
            status = done.returncode
            out = done.stdout
            err = done.stderr
        assert (status, err) == (0, b""), (status, out, err)
        assert out.endswith(b"\n") and out.count(b"\n") == 1, out
        reply: dict[str, Any] = json.loads(out)
        schema = schema_of_reply(words[0].decode("latin-1"))
        assert schemas.errors(schema, reply) == [], reply
        assert "bug in the driver" not in reply.get("message", ""), reply
        if reply["status"] != "Success":
            assert reply["reason"] and reply["message"], reply
        self._check_log(
            logged,
            0 if words[0] == b"init" and reply["status"] == "Success" else 1,
        )
        self.answers[reply.get("reason", "Success")] += 1
        return reply

    def _fork(self, words: list[bytes]) -> tuple[int, bytes, bytes]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(
            json.dumps([word.decode("latin-1") for word in words]).encode() + b"\n"
        )
        self._process.stdin.flush()
        status, out, err = json.loads(self._process.stdout.readline())
        return status, out.encode("latin-1"), err.encode("latin-1")

    def _log_bytes(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _check_log(self, before: int, lines: int) -> None:
        """A callout is one line in the log, and not a long one, whatever it was called with."""
        if self._log_bytes() < before:
            return  # it was full, and another was begun
        new = self._log.read_bytes()[before:] if self._log.exists() else b""
        assert new.count(b"\n") == lines, new
        assert len(new) < 16384, new[:200]


class Everything:
    """All that a callout could change on a node, but for its log and its lock files."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._attached: list[str] = []
        self._ours: list[str] = []
        self.before = self.now()

    def now(self) -> set[object]:
        node = self._node
        below = {
            (str(path), path.lstat().st_mode, path.lstat().st_ino)
            for own in ("/var/lib/flexvol", "/var/lib/kubelet", "/etc/flexvol", "/run/flexvol")
            for path in node.path(own).rglob("*")
            if ".locks" not in path.parts
        }
        attached = sorted(path.parent.name for path in Path("/sys/block").glob("loop*/loop"))
        if attached != self._attached:  # by us, or by anyone else on this machine
            self._attached = attached
            self._ours = node.loop_devices()
        return {*below, *node.snapshot().items(), *node.mounts(), *self._ours}

    def check(self, argv: object, reply: dict[str, Any]) -> None:
        before = self.before
        self.before = self.now()  # so that only the callout that did it fails
        assert self.before == before, (argv, reply, self.before ^ before)


@pytest.fixture
def driver(
    node: Node, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Iterator[Driver]:
    python = request.config.getoption("--python") or shutil.which("/usr/bin/python3") or "python3"
    made = Driver(node, python)
    yield made
    made.close()
    print(f"{sum(made.answers.values())} cases: {dict(made.answers)}")
    record_property("fuzz cases", sum(made.answers.values()))
    CASES.update(made.answers)


def thorough(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# Words: what is on a command line, as bytes without NUL.

TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            ".",
            "..",
            "/",
            "../x",
            "../../etc/passwd",
            "/etc/passwd",
            ".hidden",
            "a/b",
            "a..b",
            "-",
            "--",
            "-a",
            "a-",
            "A",
            "a b",
            "a\nb",
            "a\tb",
            "a\u0000b",
            "a\x7fb",
            "é",
            "e\u0301",
            "\u202e",
            "\ufeff",
            "\ud800",
            "\udcff",
            "\U0001d51e",
            "pool.json",
            ".locks",
            "lost+found",
            "a" * 201,
            "a" * 255,
            "%s",
            "{}",
            "$(id)",
            "null",
            "true",
            "0",
            "-1",
            "1e9",
            "NaN",
            "__class__",
            "*",
            "~",
            "nan",
            "\\",
            "'",
            '"',
        ]
    ),
    st.sampled_from([200, 4096, 4097, 5000]).map(lambda length: "a" * length),
    st.text(max_size=20),
    st.text(alphabet="./a-~\\ \n\u0000\udc80", max_size=12),
)


def word(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").replace(b"\0", b"")[:ARGUMENT_LENGTH]


WORDS = st.one_of(
    TEXTS.map(word), st.binary(max_size=20).map(lambda some: some.replace(b"\0", b""))
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(10**18, 10**40),
        st.floats(),
        TEXTS,
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
NO_STRINGS = VALUES.filter(lambda value: not isinstance(value, str))
NO_JSON = st.sampled_from(
    [
        b"",
        b"{",
        b"}",
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b"{'a':'b'}",
        b'{"a"}',
        b'{"a":"b",}',
        b'{"a":"b"} {}',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"a":1e999}',
        b'{"a":"\\ud800"',
        b'{"a":"\n"}',
        b"NaN",
        b'{"a":"\xc3\x28"}',
    ]
)
NO_JSON |= st.sampled_from([b'{"a":', b"[", b"1", b'{"a":1}']).map(
    lambda some: (some * ARGUMENT_LENGTH)[:ARGUMENT_LENGTH]
)
NO_JSON |= st.just(ARGUMENT_LENGTH - 10).map(lambda length: dumped({"a" * length: "b"}))
NO_JSON |= st.just(ARGUMENT_LENGTH - 10).map(lambda length: dumped({"a": "b" * length}))


def dumped(value: Any) -> bytes:
    return word(json.dumps(value))


# Directories that no volume may be mounted at, and whose unmounting is refused or has nothing to
# do.
POD = "/var/lib/kubelet/pods/web/volumes/flexvol~loop/pvc-2"
DIRECTORIES = st.one_of(
    st.sampled_from(
        [
            "",
            ".",
            "..",
            "relative",
            "/",
            "//",
            "/.",
            "/etc/hostname",
            "/dev/null",
            "/var/lib/kubelet/absent",
            "/absent/x",
            "/var/lib/kubelet/file",
            "/var/lib/kubelet/link",
            "/var/lib/kubelet/dangling",
            "/var/lib/kubelet/loop",
            POD + "/",
            POD + "/.",
            POD + "//",
            POD + "/../pvc-2",
            "/" + POD,
            POD[1:],
            POD.replace("/pods", "/./pods"),
            POD.replace("/pods", "//pods"),
            POD + "\n",
            POD + " ",
            POD + "\\040",
            "/" + "a" * 255,
            "/" + "a" * 256,
            "/var/lib/kubelet/pods/../../kubelet",
        ]
    ),
    st.just(3000).map(lambda depth: "/a" * depth),
    TEXTS.map(lambda text: "/var/lib/kubelet/absent/" + text),
)
FRESH = "/var/lib/kubelet/pods/new/volumes/flexvol~loop/pvc-1"


def prepare(node: Node) -> None:
    """pvc-1 is there, pvc-2 is mounted for the pod web, and the pod `new` waits for a volume."""
    node.provision("pvc-1")
    node.provision("pvc-2")
    node.mount("web", "pvc-2")
    assert node.pod_dir("web", "pvc-2") == POD
    assert node.pod_dir("new", "pvc-1") == FRESH
    kubelet = node.path("/var/lib/kubelet")
    (kubelet / "file").write_text("precious")
    (kubelet / "link").symlink_to(POD)
    (kubelet / "dangling").symlink_to("absent")
    (kubelet / "loop").symlink_to("loop")


# Requests that are valid but for one thing.


def requests(node: Node) -> list[tuple[str, dict[str, Any], list[str]]]:
    """Each as (callout, options, all words, of which "{}" stands for the options)."""

    def read(text: str) -> dict[str, Any]:
        options: dict[str, Any] = json.loads(text)
        return options

    place = {"pool": "default", "poolId": node.pool_id()}
    of_class = {PREFIX + "mountOptions": "noatime"}
    return [
        ("provision", read(node.request("pvc-new", also=of_class, thick="false")), ["{}"]),
        (
            "provision",
            read(node.request("pvc-1", also={PREFIX + "clusterUid": "c", **of_class})),
            ["{}"],
        ),
        ("delete", read(node.deletion("pvc-1")), ["{}"]),
        ("mount", read(node.options("pvc-1")), [FRESH, "{}"]),
        ("mount", read(node.options("pvc-2", "ro")), [FRESH, "{}"]),
        (
            "expandfs",
            read(node.options("pvc-2")),
            ["{}", "", POD, str(80 * MIB), str(64 * MIB)],
        ),
        ("adopt", {**read(node.deletion("pvc-1", uid="new")), **place}, ["{}"]),
    ]


_CLAIM = (PREFIX + "pvc.namespace", PREFIX + "pvc.name", PREFIX + "pvc.uid")
_VOLUME = PREFIX + "pvOrVolumeName"
NEEDED = {
    "provision": (_VOLUME, "requestBytes", *_CLAIM),
    "delete": (_VOLUME, "pool", "poolId", *_CLAIM),
    "mount": (_VOLUME, "pool", "poolId", PREFIX + "pod.namespace"),
    "expandfs": (_VOLUME, "pool", "poolId"),
    "adopt": (_VOLUME, *_CLAIM),
}
NO_NAME = TEXTS.filter(lambda text: not NAME.fullmatch(text))
NO_INTEGER = TEXTS.filter(lambda text: not INTEGER.fullmatch(text)) | st.sampled_from(
    ["9" * 19, str(1 << 63), "+1", " 1", "1 ", "1_0", "0x1", "٣", "²", "1.0", "1e3", "64Mi"]
)
WRONG: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "provision": {
        "requestBytes": NO_INTEGER
        | st.sampled_from(["0", "000", str((1 << 63) - 1), str(1 << 60)]),
        PREFIX + "fsType": TEXTS.filter(lambda text: text not in ("", "ext4")),
        PREFIX + "mountOptions": TEXTS.filter(lambda text: text.strip(",") != ""),
        "thick": TEXTS.filter(lambda text: text not in ("true", "false")),
        "sourceVolume": TEXTS.filter(bool),
        "pool": TEXTS.filter(lambda text: text != "default"),
        "poolId": TEXTS,
    },
    "delete": {PREFIX + "pvc.uid": TEXTS.filter(lambda text: text != UID)},
    "mount": {
        PREFIX + "readwrite": TEXTS.filter(lambda text: text not in ("rw", "ro")),
        PREFIX + "pod.namespace": TEXTS.filter(lambda text: text != NAMESPACE),
    },
    "expandfs": {},
    "adopt": {},
}
PLACE = {
    "pool": TEXTS.filter(lambda text: text != "default"),
    "poolId": TEXTS.filter(lambda text: not re.fullmatch("[0-9a-f]{16}", text)),
}


KINDS = (
    "value",
    "value",
    "type",
    "missing",
    "unknown",
    "characters",
    "twice",
    "text",
    "count",
    "directory",
    "size",
)
BAD_CHARACTERS = ("\n", "\0", "\x1b[31m", "\x7f", "\u2028", "\ud800", "\udcff", "x" * 4097)


@st.composite
def one_wrong(draw: st.DrawFn, node: Node) -> list[bytes]:
    """The words of a valid callout of which one thing is made wrong."""
    callout, valid, words = draw(st.sampled_from(requests(node)))
    kind = draw(st.sampled_from(KINDS))
    options = draw(options_with(kind, callout, valid))
    argv = [word(some) for some in words]
    at = words.index("{}")
    argv[at] = draw(text_with(kind, options))
    return [callout.encode(), *draw(arguments_with(kind, callout, argv, at))]


@st.composite
def options_with(draw: st.DrawFn, kind: str, callout: str, valid: dict[str, Any]) -> dict[str, Any]:
    """The options, of which one is wrong if the kind of fault is one of options."""
    options = dict(valid)
    if kind == "value":
        place = {} if callout in ("provision", "adopt") else PLACE
        wrong = {_VOLUME: NO_NAME, **place, **WRONG[callout]}
        key = draw(st.sampled_from(sorted(wrong)))
        options[key] = draw(wrong[key])
    elif kind == "type":
        options[draw(st.sampled_from(sorted(options)) | TEXTS)] = draw(NO_STRINGS)
    elif kind == "missing":
        key = draw(st.sampled_from(NEEDED[callout]))
        if draw(st.booleans()):
            del options[key]
        else:
            options[key] = ""
    elif kind == "unknown":
        key = draw(TEXTS.filter(lambda text: text not in options and not text.startswith(PREFIX)))
        options[key] = draw(TEXTS)
    elif kind == "characters":
        key = draw(st.sampled_from(sorted(options)))
        bad = draw(st.sampled_from(BAD_CHARACTERS))
        options[key] = draw(st.permutations([options[key], bad]).map("".join))
    return options


@st.composite
def text_with(draw: st.DrawFn, kind: str, options: dict[str, Any]) -> bytes:
    """The options as JSON, which is wrong if the kind of fault is one of the text."""
    text = dumped(options)
    if kind == "twice":
        key = draw(st.sampled_from(sorted(options)))
        return text[:-1] + b", " + dumped({key: draw(TEXTS)})[1:]
    if kind == "text":
        cut = st.integers(0, len(text) - 1).map(lambda end: text[:end])
        in_quotes = dumped(text.decode())
        spoilt = [text + text, b"[" + text + b"]", in_quotes, text + b"x", text + b"\xff"]
        return draw(NO_JSON | cut | st.sampled_from(spoilt))
    return text


@st.composite
def arguments_with(
    draw: st.DrawFn, kind: str, callout: str, valid: list[bytes], at: int
) -> list[bytes]:
    """The arguments, of which one is wrong, or too many, if the kind of fault is one of them. at:
    which of them is the JSON."""
    argv = list(valid)
    if kind == "count":
        return draw(st.sampled_from([argv[:-1], argv + [b""], argv + argv, []]))
    if callout == "expandfs" and kind == "directory":
        argv[2] = word(draw(DIRECTORIES))
    elif callout == "expandfs" and kind == "size":
        argv[draw(st.sampled_from([3, 4]))] = word(draw(NO_INTEGER))
    elif callout == "mount" and kind == "directory":
        argv[0] = word(draw(DIRECTORIES))
    elif kind in ("directory", "size"):
        argv[at] = draw(NO_JSON)
    return argv


@st.composite
def scratched(draw: st.DrawFn, node: Node) -> list[bytes]:
    """A callout whose JSON has a few wrong bytes. It could not succeed before, and a few bytes do
    not make it."""
    callout, options, words = draw(st.sampled_from(requests(node)))
    options = {"!": "an option unknown to all", **options, "~": "another one of these"}
    text = dumped(options)
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(text)))
        text = text[:begin] + draw(WORDS)[:8] + text[begin + draw(st.integers(0, 8)) :]
    return [callout.encode(), *(text if some == "{}" else word(some) for some in words)]


# Any words: a callout or anything else that is no command for a person, and any number of
# arguments.
NO_CALLOUTS = (*commands.names(), "--help", "-h", "--version")
NOISE = st.tuples(
    st.sampled_from([name.encode() for name in CALLOUTS])
    | WORDS.filter(
        lambda some: (
            some.decode("latin-1") not in (*commands.names(), "--help", "-h", "help", "--version")
        )
    ),
    st.lists(
        WORDS
        | NO_JSON
        | VALUES.map(dumped)
        | DIRECTORIES.map(word)
        | st.integers().map(lambda n: b"%d" % n),
        max_size=6,
    ),
).map(lambda parts: [parts[0], *parts[1]])


def test_one_wrong_thing_is_refused_and_changes_nothing(
    node: Node, driver: Driver, campaign: bool
) -> None:
    prepare(node)
    everything = Everything(node)

    @thorough(5500 if campaign else 250)
    @given(one_wrong(node))
    def check(argv: list[bytes]) -> None:
        reply = driver.call(*argv)
        assert reply["status"] == "Failure", reply
        everything.check(argv, reply)

    check()


def test_noise_changes_nothing(node: Node, driver: Driver, campaign: bool) -> None:
    prepare(node)
    everything = Everything(node)

    @thorough(4500 if campaign else 200)
    @given(NOISE | scratched(node) | st.tuples(st.just(b"unmount"), DIRECTORIES.map(word)))
    def check(argv: Sequence[bytes]) -> None:
        reply = driver.call(*argv)
        everything.check(argv, reply)

    check()


# Requests as the schemas allow them, which kubelet or the provisioner could make.


MOSTLY = st.sampled_from([True, True, True, False])


@st.composite
def of_schema(draw: st.DrawFn, node: Node) -> list[bytes]:
    """A callout with options that its schema allows. Some of the values are those of a callout that
    succeeds."""
    callout, valid, words = draw(st.sampled_from(requests(node)))
    options = draw(schema_documents.named(f"{callout}.request"))
    if draw(MOSTLY):  # an unknown option is refused before anything else is looked at
        options = {key: options[key] for key in options if is_reserved(key)}
    chosen = set(valid)
    if not draw(MOSTLY):
        chosen = draw(st.sets(st.sampled_from(sorted(valid))))
    options.update({key: valid[key] for key in chosen})
    text = dumped(options)
    return [callout.encode(), *(text if some == "{}" else word(some) for some in words)]


def restore(node: Node) -> None:
    """Makes the node what `prepare` made of it, after a callout that may have succeeded."""
    node.unmount("new", "pvc-1")
    node.pod_dir("new", "pvc-1")
    pool = node.path("/var/lib/flexvol/default")
    names = {path.name for path in pool.iterdir()} - {"pool.json", ".locks"}
    for name in names - {"pvc-1", "pvc-2"}:
        node.ok("delete", node.deletion(name, uid=node.record(name)["owner"]["uid"]))
    if "pvc-1" not in names:
        node.provision("pvc-1")
    node.ok("adopt", node.deletion("pvc-1"))


@pytest.mark.newest
def test_a_request_of_the_schemas_is_done_or_changes_nothing(
    node: Node, driver: Driver, campaign: bool
) -> None:
    prepare(node)
    everything = Everything(node)

    @thorough(1500 if campaign else 100)
    @given(of_schema(node))
    def check(argv: list[bytes]) -> None:
        reply = driver.call(*argv)
        if reply["status"] != "Success":
            everything.check(argv, reply)
            return
        restore(node)
        everything.before = everything.now()

    check()


# Valid callouts in any order, and what must hold after each.

VOLUMES = ("pvc-a", "pvc-b")
OWNERS = ((NAMESPACE, UID), (NAMESPACE, "other"), ("bank", UID))


class Volume:
    """What a volume must be."""

    def __init__(self, fs: str, size: int, owner: tuple[str, str]) -> None:
        self.fs = fs
        self.size = size
        self.owner = owner
        self.blank = True
        self.content = ""


class Life(RuleBasedStateMachine):
    """Two volumes and three pods."""

    driver: Driver

    def __init__(self) -> None:
        super().__init__()
        self.node = self.driver.node
        self.volumes: dict[str, Volume] = {}
        self.mounted: dict[str, tuple[str, str]] = {}  # directory -> volume, access

    names = st.sampled_from(VOLUMES)
    pods = st.sampled_from(["x", "y", "z"])
    sizes = st.sampled_from([320 * MIB, 321 * MIB - 1, 448 * MIB, 640 * MIB])

    @initialize(size=sizes, fs=st.sampled_from(["ext4", "xfs", "btrfs"]))
    def begin(self, size: int, fs: str) -> None:
        """Without a volume at the start most steps would find none."""
        self.provision(VOLUMES[0], size, fs, OWNERS[0])

    def expect(self, outcome: str, *argv: str) -> dict[str, Any]:
        reply = self.driver.call(*argv)
        assert reply.get("reason", "Success") in outcome.split("|"), (reply, outcome)
        return reply

    def in_use(self, name: str) -> bool:
        return any(volume == name for volume, _ in self.mounted.values())

    @rule(
        name=names,
        size=sizes,
        fs=st.sampled_from(["ext4", "xfs", "btrfs"]),
        owner=st.sampled_from(OWNERS),
    )
    def provision(self, name: str, size: int, fs: str, owner: tuple[str, str]) -> None:
        there = self.volumes.get(name)
        given = -(-size // MIB) * MIB
        fits = there is None or (
            there.owner[1] == owner[1] and there.fs == fs and there.size >= given
        )
        request = self.node.request(
            name,
            size,
            fs,
            {PREFIX + "pvc.uid": owner[1], PREFIX + "pvc.namespace": owner[0]},
        )
        reply = self.expect(
            "Success" if fits else "InvalidArgument",
            "provision",
            request,
        )
        if there is None:
            there = self.volumes[name] = Volume(fs, given, owner)
        if fits:
            assert (reply["volume"]["capacityBytes"], reply["volume"]["fsType"]) == (there.size, fs)

    @rule(
        name=names,
        owner=st.sampled_from(OWNERS),
        undo=st.booleans(),
        patient=st.integers(0, 9),
    )
    def delete(self, name: str, owner: tuple[str, str], undo: bool, patient: int) -> None:
        there = self.volumes.get(name)
        outcome = "Success"
        if there and (there.owner[1] != owner[1] or (undo and not there.blank)):
            outcome = "InvalidArgument"
        elif self.in_use(name):
            if patient:
                return  # it waits two seconds before it says so
            outcome = "Busy"
        extra = {PREFIX + "onlyIfBlank": "true"} if undo else {}
        self.expect(outcome, "delete", self.node.deletion(name, owner[1], **extra))
        if outcome == "Success":
            self.volumes.pop(name, None)

    @rule(
        name=names,
        pod=pods,
        other=st.integers(0, 5),
        access=st.sampled_from(["rw", "ro"]),
        namespace=st.sampled_from([NAMESPACE, NAMESPACE, "bank"]),
    )
    def mount(self, name: str, pod: str, other: int, access: str, namespace: str) -> None:
        there = self.volumes.get(name)
        directory = self.node.pod_dir(pod, VOLUMES[0] if other == 0 else name)
        now = self.mounted.get(directory)
        outcome = "Success"
        if there is None:
            outcome = "NotFound"
        elif there.owner[0] != namespace:
            outcome = "InvalidArgument"
        elif now and now[0] != name:
            outcome = "Internal"
        self.expect(
            outcome,
            "mount",
            directory,
            self.node.options(name, access, namespace),
        )
        if outcome == "Success":
            assert there
            there.blank = False
            self.mounted.setdefault(directory, (name, access))

    @rule(pod=pods, name=names)
    def unmount(self, pod: str, name: str) -> None:
        directory = self.node.pod_dir(pod, name)
        self.expect("Success", "unmount", directory)
        assert not self.node.path(directory).exists()
        self.mounted.pop(directory, None)

    @rule(pod=pods, name=names, size=sizes)
    def expand(self, pod: str, name: str, size: int) -> None:
        directory = self.node.pod_dir(pod, name)
        there = self.volumes.get(name)
        now = self.mounted.get(directory)
        if now and now[1] == "ro":
            return  # kubelet names a writable one
        outcome = "Success"
        if there is None:
            outcome = "NotFound"
        elif not now or now[0] != name:
            outcome = "Internal"
        elif there.fs == "ext4" and not may_grow_mounted_ext4() and len(self.paths_of(name)) > 1:
            outcome = "Success|Unavailable"  # it may have grown already
        line = [
            "expandfs",
            self.node.options(name),
            "",
            directory,
            str(size),
            str(320 * MIB),
        ]
        reply = self.expect(outcome, *line)
        if there:
            there.size = max(there.size, -(-size // MIB) * MIB)
            if reply["status"] == "Success":
                assert reply["volumeNewSize"] == there.size
                disk = os.statvfs(self.node.path(directory))
                # An xfs has a log of 64 MiB.
                assert disk.f_blocks * disk.f_frsize >= there.size - 72 * MIB

    def paths_of(self, name: str) -> list[str]:
        return [path for path, (volume, _) in self.mounted.items() if volume == name]

    @rule(name=names, owner=st.sampled_from(OWNERS))
    def adopt(self, name: str, owner: tuple[str, str]) -> None:
        there = self.volumes.get(name)
        options = self.node.deletion(
            name,
            owner[1],
            **{PREFIX + "pvc.namespace": owner[0]},
        )
        self.expect("Success" if there else "NotFound", "adopt", options)
        if there:
            there.owner = owner
            there.blank = False

    @rule()
    def list_all(self) -> None:
        listed = {entry["name"]: entry for entry in self.expect("Success", "list")["volumes"]}
        assert listed.keys() == self.volumes.keys()
        for name, entry in listed.items():
            assert (entry["sizeBytes"], entry["blank"]) == (
                self.volumes[name].size,
                self.volumes[name].blank,
            )

    @precondition(lambda self: any(access == "rw" for _, access in self.mounted.values()))
    @rule(text=st.text(alphabet="abc", min_size=1, max_size=5))
    def write(self, text: str) -> None:
        for path, (name, access) in self.mounted.items():
            if access == "rw":
                (self.node.path(path) / "content").write_text(text)
                self.volumes[name].content = text

    @rule(words=NOISE.filter(lambda words: words[0] != b"unmount"))
    def noise(self, words: list[bytes]) -> None:
        self.driver.call(*words)

    @invariant()
    def nothing_else_happened(self) -> None:
        flags = {path: set(words.split(",")) for path, words in self.node.mounts()}
        assert flags.keys() == self.mounted.keys()
        for path, (name, access) in self.mounted.items():
            assert {access, "nosuid", "nodev"} <= flags[path]
            file = self.node.path(path) / "content"
            assert (file.read_text() if file.exists() else "") == self.volumes[name].content
        self.node.until_devices(len({name for name, _ in self.mounted.values()}))
        pool = self.node.path("/var/lib/flexvol/default")
        assert {path.name for path in pool.iterdir()} == {"pool.json", ".locks", *self.volumes}
        for name, there in self.volumes.items():
            record = self.node.record(name)
            assert self.node.image(name).stat().st_size == record["sizeBytes"] == there.size
            assert (record["owner"]["namespace"], record["owner"]["uid"]) == there.owner
            assert (record["fsType"], record["blank"]) == (there.fs, there.blank)

    def teardown(self) -> None:
        for path in self.mounted:
            self.expect("Success", "unmount", path)
        self.node.until_devices(0)
        for name, there in self.volumes.items():
            self.expect("Success", "delete", self.node.deletion(name, there.owner[1]))


@pytest.mark.newest
def test_valid_callouts_in_any_order_do_what_they_say(driver: Driver, campaign: bool) -> None:
    class Here(Life):
        pass

    Here.driver = driver
    steps = settings(
        max_examples=80 if campaign else 6,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Here, settings=steps)


@pytest.mark.newest
def test_it_was_thorough(campaign: bool) -> None:
    """The last test of this file, of all that the others did."""
    assert CASES.total() >= (10_000 if campaign else 450)
    assert CASES["Success"] > CASES.total() / 100
