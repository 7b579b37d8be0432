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
        (["frobnicate"], "'frobnicate'"),
        (["MOUNT"], "'MOUNT'"),
        ([""], "''"),
        (["../../etc/passwd"], "'../../etc/passwd'"),
        (["mount"], "takes 2 arguments (<mount_dir> <options>), but got 0"),
        (["mount", "/a", "{}", "more"], "but got 3"),
        (["init", "now"], "takes 0 arguments, but got 1"),
        (["unmount"], "takes 1 arguments (<mount_dir>), but got 0"),
        (["provision", ""], "not a JSON object"),
        (["provision", "{"], "not a JSON object"),
        (["provision", "null"], "NoneType"),
        (["provision", "[]"], "list"),
        (["provision", '{"a":"b"} {"c":"d"}'], "not a JSON object"),
        (["provision", '{"pool":"a","pool":"b"}'], "twice"),
        (["provision", "[" * 100000], "nested too deeply"),
        (["provision", '{"pool":1}'], "'pool' is a int"),
        (["provision", '{"pool":null}'], "'pool' is a NoneType"),
        (["provision", '{"pool":{"a":"b"}}'], "'pool' is a dict"),
        (["provision", '{"pool":"a\\u0000b"}'], "control characters"),
        (["provision", json.dumps({"pool": LONG})], "longer than 4096"),
        (["provision", json.dumps({LONG: "x"})], "longer than 4096"),
    ],
)
def test_a_call_that_cannot_be_read(node: Node, argv: list[str], said: str) -> None:
    before = node.snapshot()

    assert said in node.fails("InvalidArgument", *argv)

    assert node.snapshot() == before


HOSTILE = (
    "../x",
    "/etc",
    "a/b",
    "..",
    ".",
    ".hidden",
    "a..b",
    "-a",
    "A",
    "a b",
    "x" * 300,
    "é",
    "a\\b",
    "lost+found",
)


def _one(key: str, value: str, **more: str) -> dict[str, Any]:
    return {**more, key: value}


@pytest.mark.parametrize("name", HOSTILE)
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
        ({"requestBytes": ""}, "requestBytes is missing"),
        ({"requestBytes": "0"}, "at least one byte"),
        ({"requestBytes": "-5"}, "'-5'"),
        ({"requestBytes": "1e9"}, "'1e9'"),
        ({"requestBytes": "64Mi"}, "'64Mi'"),
        ({"requestBytes": "9" * 40}, "whole number"),
        ({"requestBytes": "9" * 19}, "2**63-1"),
        ({"requestBytes": "\u0663"}, "whole number"),
        ({"kubernetes.io/fsType": "ntfs"}, "'ntfs' is unknown; known are: ext4, xfs, btrfs"),
        ({"kubernetes.io/pvOrVolumeName": ""}, "pvOrVolumeName is missing"),
        ({"kubernetes.io/pvc.uid": ""}, "pvc.uid is missing"),
        ({"thick": "yes"}, "'yes'"),
        (
            {"path": "/etc"},
            "unknown option 'path'; known are: pool, thick, mkfsOptions, uid, gid, mode",
        ),
        ({"poolId": "abc"}, "unknown option 'poolId'"),
        (
            {"kubernetes.io/mountOptions": "exec"},
            "'exec' is not one that a class may have for ext4: commit, data,",
        ),
        ({"kubernetes.io/mountOptions": "noatime,ro"}, "mount option 'ro'"),
        ({"kubernetes.io/mountOptions": "suid"}, "mount option 'suid'"),
        ({"kubernetes.io/mountOptions": "commit=5\nx"}, "control characters"),
        ({"kubernetes.io/mountOptions": "commit=-1"}, "'commit=-1'"),
        ({"kubernetes.io/mountOptions": "nodelalloc=1"}, "'nodelalloc=1'"),
        ({"kubernetes.io/mountOptions": "compress=zstd"}, "for ext4"),
        (
            {"mkfsOptions": "-O ^has_journal"},
            "'-O ^has_journal' is not one that a class may have for ext4: -J, -i, -m",
        ),
        ({"mkfsOptions": "-i"}, "'-i'"),
        ({"mkfsOptions": "-i 4096 /dev/sda"}, "'/dev/sda'"),
        ({"mkfsOptions": "-i 4096;reboot"}, "'-i 4096;reboot'"),
        ({"uid": "root"}, "option uid is 'root'"),
        ({"gid": "-1"}, "option gid is '-1'"),
        ({"uid": "4294967295"}, "at most 4294967294"),
        ({"mode": "0778"}, "'0778'; it is octal"),
        ({"mode": "17777"}, "octal"),
        ({"sourceVolume": "../pvc-2"}, "sourceVolume '../pvc-2' is not a name"),
        ({"kubernetes.io/pvc.name": "x\x7f"}, "control characters"),
    ],
)
def test_a_request_that_cannot_be_met(node: Node, changed: dict[str, Any], said: str) -> None:
    before = node.snapshot()

    assert said in node.fails("InvalidArgument", "provision", node.request("pvc-1", **changed))

    assert node.snapshot() == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kubernetes.io/readwrite": "yes"}, "it is rw or ro"),
        ({"kubernetes.io/pod.namespace": ""}, "pod.namespace is missing"),
        ({"mountOptions": "suid"}, "unknown option 'mountOptions'"),
        ({"poolId": ""}, "poolId is missing"),
        ({"pool": ""}, "pool is missing"),
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
        "relative",
        "/var/lib/kubelet/../../x",
        "/var/lib/kubelet/absent",
        "/etc/hostname",
        "/",
        "/etc/",
    ],
)
def test_a_directory_that_is_none(node: Node, path: str) -> None:
    node.provision()

    assert "mount directory" in node.fails("InvalidArgument", "mount", path, node.options())

    assert node.mounts() == []


@pytest.mark.parametrize(
    ("begin", "end"), [("", "/"), ("", "/."), ("/", ""), ("/var/..", ""), (".", ""), ("/.", "")]
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
    node.fails("InvalidArgument", "a\nb\x1b[31m" + "c" * 100000)

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
    node.fails(
        "Internal", "expandfs", node.options(), "", node.pod_dir("web"), str(128 * MIB), "0"
    )  # later, by tools
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
    assert (
        len(started) - len(tools) <= 2
    )  # the driver itself: its header, and the interpreter that this starts
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
    wrapper, seen = tmp_path / "bin/mkfs.ext4", tmp_path / "seen"
    wrapper.parent.mkdir()
    wrapper.write_text(
        WRAPPER.format(sys.executable, str(seen), shutil.which("mkfs.ext4", path="/usr/sbin:/sbin"))
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
