"""examples/directory.py lives on the real cluster from the manifests that docs/your-own-driver/
directory.md makes, and kubectl flexvol knows its volumes and its room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import documents
from tests.cluster.commands import Ask
from tests.cluster.kube.cluster import Cluster
from tests.cluster.namespaces import Kubernetes
from tests.cluster.own_drivers import Author, author, second_disk
from tests.sources import ROOT
from tests.waiting import wait_until

PAGE = ROOT / "docs/your-own-driver/directory.md"
VOLUMES = "/var/lib/flexvol-directory"
DISK_BYTES = 128 << 20  # as second_disk makes it


@pytest.fixture
def writes(cluster: Cluster, tmp_path: Path) -> Iterator[Author]:
    with second_disk(cluster, VOLUMES), author(cluster, tmp_path / "tree") as one:
        yield one


def inventory(ask: Ask, *words: str) -> dict[str, Any]:
    done = ask("inventory", "--json", "--driver", "flexvol/directory", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def test_the_example_lives_from_its_manifests_and_is_known_with_its_room(
    writes: Author, cluster: Cluster, ask: Ask
) -> None:
    for line in documents.commands_in(PAGE.read_text()):
        writes.follow(line)
    k8s = Kubernetes(cluster, "default")
    wait_until(
        "the pod has written",
        lambda: k8s.shell("directory", "cat /data/started", check=False).stdout,
        120,
    )
    node = k8s.node_of("directory")
    claim = k8s.find("pvc", "directory")
    name = claim["spec"]["volumeName"]

    shown = inventory(ask)

    (row,) = shown["volumes"]
    assert (row["name"], row["node"], row["state"]) == (name, node, "bound")
    assert (row["claim"], row["pods"], row["pool"]) == (
        "default/directory",
        ["directory"],
        "directory",
    )
    assert {pool["node"] for pool in shown["pools"]} == set(cluster.nodes)
    assert all(DISK_BYTES // 2 < pool["freeBytes"] <= DISK_BYTES for pool in shown["pools"])
    explained = ask("explain", "directory", "--namespace", "default")
    assert explained.returncode == 0, explained.stdout
    assert name in explained.stdout and node in explained.stdout

    # The scheduler knows the room: no node has as much as the second claim asks for.
    k8s.claim("large", storage_class="directory", size="1Gi")
    k8s.pod("large", claim="large", wait=False)
    k8s.event("large", "FailedScheduling", "did not have enough free storage")
    refused = ask("explain", "large", "--namespace", "default")
    assert "room for its class" in refused.stdout, refused.stdout
    k8s.delete("pod", "large", "directory")
    k8s.delete("pvc", "large", "directory")
    k8s.until_gone("pv", name)
    left = cluster.nodes[node].enter("find", VOLUMES, "-mindepth", "2", capture_output=True)
    assert left.stdout == ""
    assert inventory(ask)["volumes"] == []
