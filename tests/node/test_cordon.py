"""A cordoned pool takes no new volumes; what is in it lives on. Everything that tells of pools says
so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.node.nodes import MIB, Node


def listed(node: Node, pool: str = "default") -> dict[str, Any]:
    return next(one for one in node.ok("list")["pools"] if one["name"] == pool)


@pytest.mark.short
def test_no_new_volumes_until_it_is_undone_and_the_node_is_given_back(node: Node) -> None:
    assert "takes no new volumes" in node.command("pool", "cordon", "default")

    said = node.fails("ResourceExhausted", "provision", node.request("pvc-1"))

    assert said.endswith("loop pool uncordon default")
    assert node.ok("list")["volumes"] == []
    node.command("pool", "uncordon", "default")
    node.provision("pvc-1")


def test_what_is_in_it_mounts_grows_and_is_deleted(node: Node) -> None:
    node.provision(fs="xfs", size=300 * MIB)
    made = node.ok("provision", node.request("pvc-1", fs="xfs", size=300 * MIB))
    node.command("pool", "cordon", "default")

    # A repeated call finds it.
    assert node.ok("provision", node.request("pvc-1", fs="xfs", size=300 * MIB)) == made
    (node.mount("web") / "file").write_text("data")
    node.ok(
        "expandfs",
        node.options(),
        "",
        node.pod_dir("web"),
        str(400 * MIB),
        str(300 * MIB),
    )
    assert node.record()["sizeBytes"] == 400 * MIB
    node.unmount("web")
    assert (node.mount("db") / "file").read_text() == "data"
    node.unmount("db")
    node.ok("delete", node.deletion())
    assert node.ok("list")["volumes"] == []


def test_list_status_and_doctor_say_so_and_another_pool_is_as_it_was(node: Node) -> None:
    node.command("pool", "init", "fast", "--reserve", "0")
    before = listed(node)
    assert before["freeBytes"] > 0 and before["cordoned"] is False
    node.command("pool", "cordon", "default")

    after = listed(node)

    assert (after["freeBytes"], after["cordoned"]) == (0, True)
    assert after["capacityBytes"] == before["capacityBytes"]
    assert listed(node, "fast")["cordoned"] is False
    rows = {line.split()[0]: line for line in node.command("status").splitlines() if line.strip()}
    assert rows["default"].endswith("cordoned") and rows["fast"].endswith("takes volumes")
    pools = {pool["name"]: pool for pool in json.loads(node.command("status", "--json"))["pools"]}
    assert pools["default"]["cordoned"] is True
    assert b"pool default is cordoned" in node.enter(*node.executable, "doctor").stdout


def test_twice_is_once_and_the_limits_stay_what_they_were(node: Node) -> None:
    node.command("pool", "init", "fast", "--reserve", "50%", "--overcommit", "2")
    file = node.path("/var/lib/flexvol/fast/pool.json")
    before = json.loads(file.read_text())

    node.command("pool", "cordon", "fast")
    assert "as before" in node.command("pool", "cordon", "fast")
    assert json.loads(file.read_text()) == {**before, "cordoned": True}
    node.command("pool", "uncordon", "fast")
    assert "as before" in node.command("pool", "uncordon", "fast")

    assert json.loads(file.read_text()) == {**before, "cordoned": False}
    assert {path.name for path in file.parent.iterdir()} == {"pool.json", ".locks"}


def test_a_pool_that_is_away_is_named(node: Node) -> None:
    done = node.enter(*node.executable, "pool", "cordon", "other")

    assert done.returncode == 1
    assert b"pool other is not mounted, or was never made" in done.stderr


def test_the_refusal_has_the_numbers_when_the_room_is_used_up(node: Node) -> None:
    """Limit, reserve and overcommit, each in the sentence that a claim's event shows."""
    node.command("pool", "init", "small", "--reserve", "100%")

    said = node.fails(
        "ResourceExhausted",
        "provision",
        node.request("pvc-1", pool="small"),
    )

    capacity = listed(node, "small")["capacityBytes"] >> 20
    beginning = f"no room for 64 MiB more: 0 MiB can still be promised (capacity {capacity} MiB - "
    assert beginning in said
    assert f"reserve {capacity} MiB - " in said or f"reserve {capacity + 1} MiB - " in said
    assert "promised 0 MiB" in said


def test_a_reserve_may_be_bytes(node: Node) -> None:
    node.command("pool", "init", "other", "--reserve", str(100 * MIB))

    assert listed(node, "other")["reserveBytes"] == 100 * MIB
