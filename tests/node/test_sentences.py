"""Whatever fails, its sentence names the volume or the directory: a person reads it in an event or
in a log, where the call's arguments are not seen."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.node.nodes import MIB, Node

POD = "/var/lib/kubelet/pods/web/volumes/flexvol~loop/pvc-1"


def without(options: str, key: str) -> str:
    return json.dumps({name: value for name, value in json.loads(options).items() if name != key})


FAILURES: dict[str, tuple[Callable[[Node], list[str]], str]] = {
    "an option that is missing": (
        lambda node: ["mount", node.pod_dir("web"), without(node.options(), "poolId")],
        "volume pvc-1 in pool default: option poolId is missing",
    ),
    "an option that is unknown": (
        lambda node: ["provision", node.request("pvc-1", colour="red")],
        "volume pvc-1: unknown option 'colour'",
    ),
    "a volume that is not there": (
        lambda node: ["mount", node.pod_dir("web"), node.options()],
        "volume pvc-1 is not in pool default",
    ),
    "a size of nothing": (
        lambda node: ["provision", node.request("pvc-1", 0)],
        "volume pvc-1: option requestBytes is 0",
    ),
    "a pool that is away": (
        lambda node: ["provision", node.request("pvc-1", pool="fast")],
        "pool fast is not mounted",
    ),
    "a directory that is none": (
        lambda node: ["mount", POD + "/..", node.options()],
        "mount directory '/var/lib/kubelet/pods/web/volumes/flexvol~loop/pvc-1/..' is not",
    ),
    "a tool that is missing": (
        lambda node: ["provision", node.request("pvc-1", 300 * MIB, "xfs")],
        "volume pvc-1: the program mkfs.xfs is missing",
    ),
    "another mount at the pod's directory": (
        lambda node: ["unmount", mounted_tmpfs(node)],
        POD,
    ),
}


def mounted_tmpfs(node: Node) -> str:
    path = node.pod_dir("web")
    assert node.enter("mount", "-t", "tmpfs", "tmpfs", path).returncode == 0
    return path


@pytest.mark.parametrize("callout", ["mount", "expandfs", "delete"])
def test_the_sentence_about_a_missing_image_names_the_volume_once(node: Node, callout: str) -> None:
    node.provision()
    node.image().unlink()
    lines = {
        "mount": [node.pod_dir("web"), node.options()],
        "expandfs": [node.options(), "", node.pod_dir("web"), str(128 * MIB), "0"],
        "delete": [node.deletion()],
    }

    said = node.run(callout, *lines[callout]).get("message", "")
    reports = [
        node.enter(*node.executable, words).stdout.decode() for words in ("status", "doctor")
    ]

    assert [text for text in [said, *reports] if "volume pvc-1: volume pvc-1" in text] == []


@pytest.mark.parametrize("what", list(FAILURES))
def test_the_sentence_names_the_volume_or_the_directory(node: Node, what: str) -> None:
    words, sentence = FAILURES[what]
    if what == "a tool that is missing":
        hide = "PATH=$PATH:/usr/sbin:/sbin; mount --bind /dev/null $(command -v mkfs.xfs)"
        assert node.enter("sh", "-c", hide).returncode == 0

    reply = node.run(*words(node))

    assert reply["status"] == "Failure"
    assert sentence in reply["message"]
    assert reply["message"] in node.path("/var/log/flexvol/loop.log").read_text()
