"""Whatever it is called with, the driver prints one JSON object, exits 0, and changes nothing on
bad input."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.node.nodes import MIB, Node

LONG = "x" * 65536


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param(
            ["mount"],
            "takes 2 arguments (<mount_dir> <options>), but got 0",
            id="a mount without arguments",
        ),
        pytest.param(
            ["mount", "/a", "{}", "more"], "but got 3", id="a mount with a third argument"
        ),
        pytest.param(
            ["init", "now"], "takes 0 arguments, but got 1", id="an init with an argument"
        ),
        pytest.param(
            ["unmount"],
            "takes 1 arguments (<mount_dir>), but got 0",
            id="an unmount without a directory",
        ),
        pytest.param(["provision", ""], "not a JSON object", id="options that are empty"),
        pytest.param(["provision", "{"], "not a JSON object", id="options that are cut"),
        pytest.param(["provision", "null"], "NoneType", id="options that are null"),
        pytest.param(["provision", "[]"], "list", id="options that are a list"),
        pytest.param(
            ["provision", '{"a":"b"} {"c":"d"}'],
            "not a JSON object",
            id="two objects of options",
        ),
        pytest.param(
            ["provision", '{"pool":"a","pool":"b"}'],
            "twice",
            id="an option that is given twice",
        ),
        pytest.param(
            ["provision", "[" * 100000],
            "nested too deeply",
            id="options that are nested too deeply",
        ),
        pytest.param(
            ["provision", '{"pool":1}'],
            "'pool' is a int",
            id="an option that is a number",
        ),
        pytest.param(
            ["provision", '{"pool":null}'],
            "'pool' is a NoneType",
            id="an option that is null",
        ),
        pytest.param(
            ["provision", '{"pool":{"a":"b"}}'],
            "'pool' is a dict",
            id="an option that is an object",
        ),
        pytest.param(
            ["provision", '{"pool":"a\\u0000b"}'],
            "control characters",
            id="an option with a NUL",
        ),
        pytest.param(
            ["provision", json.dumps({"pool": LONG})],
            "longer than 4096",
            id="an option that is too long",
        ),
        pytest.param(
            ["provision", json.dumps({LONG: "x"})],
            "longer than 4096",
            id="an option whose name is too long",
        ),
    ],
)
def test_a_call_that_cannot_be_read(node: Node, argv: list[str], said: str) -> None:
    before = node.snapshot()

    assert said in node.fails("InvalidArgument", *argv)

    assert node.snapshot() == before


@pytest.mark.parametrize(
    "word",
    [
        pytest.param("frobnicate", id="a word that nobody knows"),
        pytest.param("MOUNT", id="a callout in capitals"),
        pytest.param("", id="an empty word"),
        pytest.param("../../etc/passwd", id="a path"),
    ],
)
def test_an_unknown_callout_is_not_supported(node: Node, word: str) -> None:
    """As the contract asks, because a later Kubernetes may call what this driver does not know."""
    before = node.snapshot()

    reply = node.run(word)

    assert reply["status"] == "Not supported"
    assert f"unknown callout {word!r}" in reply["message"]
    assert node.snapshot() == before


HOSTILE = {
    "a path upwards": "../x",
    "an absolute path": "/etc",
    "a path downwards": "a/b",
    "the parent directory": "..",
    "the directory itself": ".",
    "a hidden name": ".hidden",
    "two dots within a name": "a..b",
    "an option of a command": "-a",
    "a capital": "A",
    "a space": "a b",
    "a name that is too long": "x" * 300,
    "a letter outside ASCII": "é",
    "a backslash": "a\\b",
    "a directory of ext4": "lost+found",
}


def _one(key: str, value: str, **more: str) -> dict[str, Any]:
    return {**more, key: value}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("key", ["kubernetes.io/pvOrVolumeName", "pool"])
def test_a_name_that_could_lead_elsewhere(node: Node, key: str, name: str) -> None:
    before = node.snapshot()
    path = node.pod_dir("web", "pvc-1")
    for callout in (
        ["provision", node.request("pvc-1", **_one(key, name))],
        ["delete", node.deletion("pvc-1", **_one(key, name))],
        ["mount", path, node.options("pvc-1", **_one(key, name))],
        ["expandfs", node.options("pvc-1", **_one(key, name)), "", path, "2", "1"],
        ["adopt", node.request("pvc-1", **_one(key, name, pool="default"))],
    ):
        assert "is not a name" in node.fails("InvalidArgument", *callout)
    assert node.snapshot() == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"requestBytes": ""}, "requestBytes is missing", id="no size"),
        pytest.param({"requestBytes": "0"}, "at least one byte", id="a size of zero"),
        pytest.param({"requestBytes": "-5"}, "'-5'", id="a negative size"),
        pytest.param(
            {"requestBytes": "1e9"},
            "'1e9'",
            id="a size in scientific notation",
        ),
        pytest.param({"requestBytes": "64Mi"}, "'64Mi'", id="a size with a unit"),
        pytest.param(
            {"requestBytes": "9" * 40},
            "whole number",
            id="a size of 40 digits",
        ),
        pytest.param({"requestBytes": "9" * 19}, "2**63-1", id="a size beyond 2**63-1"),
        pytest.param(
            {"requestBytes": "\u0663"},
            "whole number",
            id="a size in another script's digits",
        ),
        pytest.param(
            {"kubernetes.io/fsType": "ntfs"},
            "'ntfs' is unknown; known are: ext4, xfs, btrfs",
            id="a file system that is unknown",
        ),
        pytest.param(
            {"kubernetes.io/pvOrVolumeName": ""},
            "pvOrVolumeName is missing",
            id="no name of the volume",
        ),
        pytest.param(
            {"kubernetes.io/pvc.uid": ""},
            "pvc.uid is missing",
            id="no uid of the claim",
        ),
        pytest.param({"thick": "yes"}, "'yes'", id="thick is neither true nor false"),
        pytest.param(
            {"path": "/etc"},
            "unknown option 'path'; known are: pool, thick, mkfsOptions, uid, gid, mode",
            id="a path as parameter",
        ),
        pytest.param(
            {"poolId": "abc"},
            "unknown option 'poolId'",
            id="the id of a pool as parameter",
        ),
        pytest.param(
            {"kubernetes.io/mountOptions": "exec"},
            "'exec' is not one that a class may have for ext4: commit, data,",
            id="a mount option that undoes noexec",
        ),
        pytest.param(
            {"kubernetes.io/mountOptions": "noatime,ro"},
            "mount option 'ro'",
            id="a mount option that sets the access",
        ),
        pytest.param(
            {"kubernetes.io/mountOptions": "suid"},
            "mount option 'suid'",
            id="a mount option that undoes nosuid",
        ),
        pytest.param(
            {"kubernetes.io/mountOptions": "commit=5\nx"},
            "control characters",
            id="a mount option with a line break",
        ),
        pytest.param(
            {"kubernetes.io/mountOptions": "commit=-1"},
            "'commit=-1'",
            id="a negative value of a mount option",
        ),
        pytest.param(
            {"kubernetes.io/mountOptions": "nodelalloc=1"},
            "'nodelalloc=1'",
            id="a value for a mount option that has none",
        ),
        pytest.param(
            {"kubernetes.io/mountOptions": "compress=zstd"},
            "for ext4",
            id="a mount option of another file system",
        ),
        pytest.param(
            {"mkfsOptions": "-O ^has_journal"},
            "'-O ^has_journal' is not one that a class may have for ext4: -J, -i, -m",
            id="a mkfs option that is not allowed",
        ),
        pytest.param({"mkfsOptions": "-i"}, "'-i'", id="a mkfs option without its value"),
        pytest.param(
            {"mkfsOptions": "-i 4096 /dev/sda"},
            "'/dev/sda'",
            id="a device among the mkfs options",
        ),
        pytest.param(
            {"mkfsOptions": "-i 4096;reboot"},
            "'-i 4096;reboot'",
            id="a shell command among the mkfs options",
        ),
        pytest.param({"uid": "root"}, "option uid is 'root'", id="a uid that is a name"),
        pytest.param({"gid": "-1"}, "option gid is '-1'", id="a gid that is negative"),
        pytest.param(
            {"uid": "4294967295"},
            "at most 4294967294",
            id="a uid that is too large",
        ),
        pytest.param(
            {"mode": "0778"},
            "'0778'; it is octal",
            id="a mode that is not octal",
        ),
        pytest.param({"mode": "17777"}, "octal", id="a mode that is too large"),
        pytest.param(
            {"sourceVolume": "../pvc-2"},
            "sourceVolume '../pvc-2' is not a name",
            id="a source that is a path",
        ),
        pytest.param(
            {"kubernetes.io/pvc.name": "x\x7f"},
            "control characters",
            id="a claim's name with a control character",
        ),
    ],
)
def test_a_request_that_cannot_be_met(node: Node, changed: dict[str, Any], said: str) -> None:
    before = node.snapshot()

    assert said in node.fails("InvalidArgument", "provision", node.request("pvc-1", **changed))

    assert node.snapshot() == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param(
            {"kubernetes.io/readwrite": "yes"},
            "it is rw or ro",
            id="an access that is neither ro nor rw",
        ),
        pytest.param(
            {"kubernetes.io/pod.namespace": ""},
            "pod.namespace is missing",
            id="no namespace of the pod",
        ),
        pytest.param(
            {"mountOptions": "suid"},
            "unknown option 'mountOptions'",
            id="mount options of the PV",
        ),
        pytest.param({"poolId": ""}, "poolId is missing", id="no id of the pool"),
        pytest.param({"pool": ""}, "pool is missing", id="no pool"),
    ],
)
def test_a_mount_that_cannot_be_read(node: Node, changed: dict[str, str], said: str) -> None:
    node.provision()

    assert said in node.fails(
        "InvalidArgument", "mount", node.pod_dir("web"), node.options(**changed)
    )

    assert node.mounts() == []
    node.until_devices(0)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("relative", id="a relative path"),
        pytest.param("/var/lib/kubelet/../../x", id="a path with dots"),
        pytest.param("/var/lib/kubelet/absent", id="a directory that is missing"),
        pytest.param("/etc/hostname", id="a file"),
        pytest.param("/", id="the root directory"),
        pytest.param("/etc/", id="a path that ends with a slash"),
    ],
)
def test_a_directory_that_is_none(node: Node, path: str) -> None:
    node.provision()

    assert "mount directory" in node.fails("InvalidArgument", "mount", path, node.options())

    assert node.mounts() == []


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param("", "/", id="a slash behind the path"),
        pytest.param("", "/.", id="a dot behind the path"),
        pytest.param("/", "", id="two slashes before the path"),
        pytest.param("/var/..", "", id="the path goes up and down"),
        pytest.param(".", "", id="the path is relative"),
        pytest.param("/.", "", id="a dot before the path"),
    ],
)
def test_a_mounted_directory_under_another_name_is_refused_by_every_callout(
    node: Node, begin: str, end: str
) -> None:
    """Such a name hides that something is mounted there; a relative one depends on where kubelet
    was started."""
    node.provision()
    node.mount("web")
    before = node.mounts(), node.snapshot()
    path = begin + node.pod_dir("web") + end
    for callout in (
        ["mount", path, node.options()],
        ["expandfs", node.options(), "", path, str(128 * MIB), str(64 * MIB)],
        ["unmount", path],
    ):
        assert "plain absolute path" in node.fails("InvalidArgument", *callout)
    assert (node.mounts(), node.snapshot()) == before


def test_growth_at_a_directory_that_is_none_changes_nothing(node: Node) -> None:
    node.provision()
    before = node.snapshot()

    assert "is not a directory" in node.fails(
        "InvalidArgument",
        "expandfs",
        node.options(),
        "",
        "/var/lib/kubelet/absent",
        str(128 * MIB),
        str(64 * MIB),
    )

    assert node.snapshot() == before


@pytest.mark.short
def test_a_callout_is_one_line_in_the_log_whatever_it_is_called(node: Node) -> None:
    assert node.run("a\nb\x1b[31m" + "c" * 100000)["status"] == "Not supported"

    log = node.path("/var/log/flexvol/loop.log").read_text()
    assert log.count("\n") == 1 and "a\\nb\\x1b[31m" in log and len(log) < 10000


def test_a_volume_that_is_not_there(node: Node) -> None:
    assert "pvc-9" in node.fails(
        "NotFound", "mount", node.pod_dir("web", "pvc-9"), node.options("pvc-9")
    )
    assert node.mounts() == []


@pytest.mark.short
def test_callouts_the_driver_does_not_have_are_not_supported(node: Node) -> None:
    for argv in (
        ["getvolumename", "{}"],
        ["attach", "{}", "n"],
        ["isattached", "{}", "n"],
        ["detach", "v", "n"],
    ):
        assert node.run(*argv)["status"] == "Not supported"


@pytest.mark.short
def test_a_secret_is_in_no_answer_and_no_log(node: Node) -> None:
    node.provision()
    secret = {"kubernetes.io/secret/key": "aHVudGVyMg=="}
    replies = [
        node.run("mount", node.pod_dir("web"), node.options(**secret)),
        node.run("mount", node.pod_dir("web"), node.options(namespace="evil", **secret)),
        node.run(
            "mount",
            node.pod_dir("web"),
            node.options(**{"kubernetes.io/secret/bad": "aHVudGVyMg==\n", **secret}),
        ),
        node.run("mount", node.pod_dir("web"), node.options(**secret)[:-1]),
    ]
    log = node.path("/var/log/flexvol/loop.log")

    assert log.stat().st_mode & 0o777 == 0o600
    assert "aHVudGVyMg" not in json.dumps(replies) + log.read_text()
    assert "hunter2" not in json.dumps(replies) + log.read_text()
    node.unmount("web")


def test_a_secret_is_on_no_tools_command_line_and_in_none_of_their_environments(
    node: Node, tmp_path: Path
) -> None:
    """Of kubelet's own call every process of the machine can see it; what the driver starts must
    not show it longer."""
    node.provision()
    # Tools grow the volume later.
    node.fails(
        "Internal",
        "expandfs",
        node.options(),
        "",
        node.pod_dir("web"),
        str(128 * MIB),
        "0",
    )
    traced = tmp_path / "traced"
    secret = {"kubernetes.io/secret/key": "aHVudGVyMg=="}
    line = [
        "strace",
        "-f",
        "-v",
        "-s",
        "65536",
        "-e",
        "trace=execve",
        "-o",
        str(traced),
        *node.executable,
    ]

    done = node.enter(*line, "mount", node.pod_dir("web"), node.options(**secret))

    assert done.stdout == b'{"status": "Success"}\n', done
    started = [
        words
        for words in traced.read_text().splitlines()
        if "execve(" in words and words.endswith(" = 0")
    ]
    tools = [words for words in started if '", "mount", "' not in words]
    assert [
        name
        for name in ("e2fsck", "resize2fs")
        if not any(f'/{name}", [' in words for words in tools)
    ] == []
    # Two are the driver itself: its header, and the interpreter that the header starts.
    assert len(started) - len(tools) <= 2
    assert not [words for words in tools if "aHVudGVyMg" in words or "hunter2" in words]


@pytest.mark.short
def test_with_stdout_closed_the_work_is_done_all_the_same(node: Node) -> None:
    path = node.pod_dir("web")
    node.provision()
    line = 'exec "$@" >&- 2>&-'
    done = node.enter("sh", "-c", line, "sh", *node.executable, "mount", path, node.options())

    assert done.stdout == done.stderr == b""
    assert [mounted for mounted, _ in node.mounts()] == [path]


# Notes what it has open, and goes on as the tool it stands for.
WRAPPER = """#!{0} -IS
import json, os, sys
links = {{}}
for number in os.listdir("/proc/self/fd"):
    try:
        links[number] = os.readlink("/proc/self/fd/" + number)
    except FileNotFoundError:  # the list's own
        continue
with open({1!r}, "w") as seen:
    json.dump(links, seen)
os.execv({2!r}, sys.argv)
"""


def test_a_tool_inherits_the_image_and_the_lock_and_not_where_the_answer_goes(
    node: Node, tmp_path: Path
) -> None:
    """kubelet waits until every holder of the driver's stdout has closed it."""
    wrapper = tmp_path / "bin/mkfs.ext4"
    seen = tmp_path / "seen"
    wrapper.parent.mkdir()
    wrapper.write_text(
        WRAPPER.format(
            sys.executable,
            str(seen),
            shutil.which("mkfs.ext4", path="/usr/sbin:/sbin"),
        )
    )
    wrapper.chmod(0o755)
    line = [
        "env",
        f"PATH={wrapper.parent}:{os.environ['PATH']}",
        *node.executable,
        "provision",
        node.request("pvc-2"),
    ]
    running = node.start(*line, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert running.stdout and running.stderr
    answers = {
        os.readlink(f"/proc/self/fd/{pipe.fileno()}") for pipe in (running.stdout, running.stderr)
    }
    out, err = running.communicate(timeout=60)

    assert (json.loads(out)["status"], err) == ("Success", b"")
    inherited: dict[str, str] = json.loads(seen.read_text())
    assert not answers & set(inherited.values()), inherited
    assert inherited["0"] == "/dev/null"
    assert inherited["1"] == inherited["2"] and inherited["1"].startswith("pipe:")
    rest = sorted(where for number, where in inherited.items() if number not in "012")
    assert (
        len(rest) == 2 and "/default/.locks/" in rest[0] and rest[1].endswith("/.new-pvc-2/image")
    ), inherited
