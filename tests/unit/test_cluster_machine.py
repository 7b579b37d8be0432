"""How the test cluster is undone without harm to others on the machine."""

from __future__ import annotations

import subprocess

from tests.cluster.kube import machine

_UNSHARE = ("unshare", "--map-root-user", "--mount")


def test_no_other_process_gets_the_mount_namespace_of_a_node_that_is_ended() -> None:
    words = [*_UNSHARE, "sh", "-c", "echo begun; read end"]
    node = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    assert node.stdout.readline() == "begun\n"

    with machine.open_namespaces({str(node.pid)}) as namespaces:
        node.communicate("end\n")
        words = [*_UNSHARE, "readlink", "/proc/self/ns/mnt"]
        others = [subprocess.check_output(words, text=True).strip() for _ in range(5)]

    assert len(namespaces) == 1
    assert namespaces.isdisjoint(others)
