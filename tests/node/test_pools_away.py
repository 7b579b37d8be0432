"""A node knows its pools also while their disks are away: every view shows each of them with the
reason, no other pool is made in its place, and its volumes are there again when its disk is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.controller import metrics
from tests.node.nodes import MIB, Node

PLUGINS = "/var/lib/kubelet/plugins-exec"
ROOT = "/var/lib/flexvol"
FAST = f"{ROOT}/fast"
REMEMBERED = "/etc/flexvol/pools.json"


class Disk:
    """A disk of the node, which is mounted somewhere, or away."""

    def __init__(self, node: Node, path: str) -> None:
        self.node = node
        self.path = path
        self.file = node.directory / ("disk" + path.replace("/", "-"))
        self.file.touch()
        os.truncate(self.file, 200 * MIB)
        subprocess.run(["mkfs.ext4", "-q", self.file], check=True)
        node.path(path).mkdir(exist_ok=True)

    def mount(self) -> None:
        done = self.node.enter("mount", "-o", "loop", str(self.file), self.path)
        assert done.returncode == 0, done

    def unmount(self) -> None:
        assert self.node.enter("umount", self.path).returncode == 0


@pytest.fixture
def fast(node: Node) -> Disk:
    """A disk that is the pool `fast` of a node with the driver, with a volume; it is mounted."""
    node.command("install", PLUGINS)
    disk = Disk(node, FAST)
    disk.mount()
    node.command("pool", "init", "fast", "--reserve", "0")
    node.ok("provision", node.request("pvc-1", pool="fast"))
    return disk


def pools(node: Node) -> dict[str, dict[str, Any]]:
    return {pool["name"]: pool for pool in node.ok("list")["pools"]}


def refused(node: Node, *argv: str) -> str:
    """Runs a command that must fail; returns what is said."""
    done = node.enter(*node.executable, *argv)
    assert done.returncode == 1, done
    return done.stderr.decode()


def options_of(node: Node, pool: str = "fast") -> dict[str, str]:
    return {"pool": pool, "poolId": node.pool_id(pool)}


def test_a_pool_whose_disk_is_away_is_in_every_view(node: Node, fast: Disk) -> None:
    identity = node.pool_id("fast")
    fast.unmount()

    away = pools(node)["fast"]
    assert away["id"] == identity
    assert "pool fast is not mounted at " + FAST in away["error"]
    assert "freeBytes" not in away
    assert "error" not in pools(node)["default"]
    assert away["error"].replace("; ", "\n    do this: ") in node.command("status")
    (state,) = [
        pool for pool in json.loads(node.command("status", "--json"))["pools"] if "error" in pool
    ]
    assert state["name"] == "fast" and state["error"] == away["error"]
    (line,) = [line for line in node.command("pool", "list").splitlines() if "fast" in line]
    assert identity in line and FAST in line and "away" in line
    doctor = node.enter(*node.executable, "doctor", PLUGINS)
    assert doctor.returncode == 1
    assert b"WRONG  pool fast is not mounted at " in doctor.stdout
    said = refused(node, "uninstall", PLUGINS)
    assert "pool fast is away and may hold volumes" in said
    assert "pool fast is not mounted" in node.command("install", PLUGINS)

    fast.mount()
    assert "error" not in pools(node)["fast"]
    assert [volume["name"] for volume in node.ok("list")["volumes"]] == ["pvc-1"]


def test_the_metrics_of_the_alert_say_that_the_pool_is_down(node: Node, fast: Disk) -> None:
    def up() -> dict[str, float]:
        reply = node.ok("list")
        listed = {"flexvol/loop": (reply["volumes"], reply["pools"])}
        (family,) = [
            found
            for found in metrics.Inventory(lambda: listed, lambda: 0).collect()
            if found.name == "flexvol_pool_up"
        ]
        return {one.labels["pool"]: one.value for one in family.samples}

    assert up() == {"default": 1, "fast": 1}
    fast.unmount()
    assert up() == {"default": 1, "fast": 0}


@pytest.mark.parametrize("callout", ["mount", "expandfs", "delete", "provision", "adopt"])
def test_no_sentence_proposes_a_new_pool_in_the_place_of_one_that_is_away(
    node: Node, fast: Disk, callout: str
) -> None:
    place = options_of(node)
    fast.unmount()
    lines: dict[str, list[str]] = {
        "mount": [node.pod_dir("web"), node.options(**place)],
        "expandfs": [node.options(**place), "", node.pod_dir("web"), str(128 * MIB), "0"],
        "delete": [node.deletion(**place)],
        "provision": [node.request("pvc-2", pool="fast")],
        "adopt": [node.deletion(**place)],
    }

    message = node.fails("Unavailable", callout, *lines[callout])

    assert "mount its disk" in message
    assert "pool init" not in message


def test_without_its_memory_a_volumes_call_proposes_no_new_pool_either(
    node: Node, fast: Disk
) -> None:
    place = options_of(node)
    fast.unmount()
    node.path(REMEMBERED).unlink()

    message = node.fails(
        "Unavailable",
        "mount",
        node.pod_dir("web"),
        node.options(**place),
    )

    assert "mount its disk" in message and "pool init" not in message


@pytest.mark.short
def test_no_pool_is_made_in_the_place_of_one_that_is_away(node: Node, fast: Disk) -> None:
    identity = node.pool_id("fast")
    fast.unmount()

    said = refused(node, "pool", "init", "fast", "--reserve", "0")

    assert "pool fast is not mounted" in said and "--replace" in said
    assert list(node.path(FAST).iterdir()) == []
    fast.mount()
    assert node.command("pool", "init", "fast").startswith("found pool fast")
    assert node.pool_id("fast") == identity


def test_a_stranger_in_its_place_takes_no_volumes_until_a_person_says_so(
    node: Node, fast: Disk
) -> None:
    """Another disk with a pool of its own, as after two disks were exchanged."""
    place = options_of(node)
    stranger = {"schema": 1, "id": "0123456789abcdef", "overcommit": 1, "reserve": "0"}
    fast.unmount()
    node.path(f"{FAST}/pool.json").write_text(json.dumps(stranger))

    assert pools(node)["fast"]["id"] == place["poolId"]
    assert "is a pool with the id 0123456789abcdef" in pools(node)["fast"]["error"]
    node.fails("Unavailable", "provision", node.request("pvc-2", pool="fast"))
    assert "0123456789abcdef" in refused(node, "pool", "init", "fast")

    assert "found pool fast" in node.command("pool", "init", "fast", "--replace")
    assert pools(node)["fast"]["id"] == "0123456789abcdef"
    node.ok("provision", node.request("pvc-2", pool="fast"))
    fast.mount()  # a pool that was replaced is no stranger when it comes back
    assert "error" not in pools(node)["fast"]
    node.ok("mount", node.pod_dir("web"), node.options(**place))
    node.unmount("web")


def test_a_former_pool_below_the_disk_of_the_one_that_is_away_takes_no_volumes(
    node: Node, fast: Disk
) -> None:
    """The pool was made before its disk was mounted, and once more on the disk."""
    fast.unmount()
    node.command("pool", "init", "fast", "--replace", "--reserve", "0")
    hidden = node.pool_id("fast")
    node.ok("provision", node.request("pvc-2", pool="fast"))
    fast.mount()
    node.command("pool", "init", "fast", "--replace", "--reserve", "0")
    fast.unmount()

    assert pools(node)["fast"]["freeBytes"] == 0
    said = node.fails("Unavailable", "provision", node.request("pvc-3", pool="fast"))
    assert "is a former pool of that name" in said and "mount the disk" in said
    assert "is a former pool of that name" in node.command("pool", "list")
    assert "is a former pool of that name" in node.enter(*node.executable, "doctor").stdout.decode()
    node.ok("delete", node.deletion("pvc-2", pool="fast", poolId=hidden))


def test_an_install_does_not_put_a_former_pool_in_the_place_of_the_one_that_is_away(
    node: Node,
) -> None:
    """The pool `default` was made on the root disk, and once more on a disk of its own; the node
    starts without that disk."""
    disk = Disk(node, f"{ROOT}/default")
    disk.mount()
    node.command("pool", "init", "default", "--replace", "--reserve", "0")
    identity = node.pool_id()
    disk.unmount()

    said = node.command("install", PLUGINS)

    assert "is a former pool of that name" in said
    assert json.loads(node.path(REMEMBERED).read_text())["pools"]["default"]["id"] == identity
    assert pools(node)["default"]["freeBytes"] == 0
    node.fails("Unavailable", "provision", node.request("pvc-1"))
    for words in (["init", "default"], ["remove", "default"]):
        assert "is a former pool of that name" in refused(node, "pool", *words)
    assert json.loads(node.path(REMEMBERED).read_text())["pools"]["default"]["id"] == identity
    disk.mount()
    assert "found pool default" in node.command("install", PLUGINS)
    node.ok("provision", node.request("pvc-1"))


def test_a_disk_at_the_root_of_the_pools_that_is_absent_at_boot(
    make_node: Callable[..., Node],
) -> None:
    node = make_node()
    disk = Disk(node, ROOT)
    disk.mount()
    node.command("install", PLUGINS)
    identity = node.pool_id()
    disk.unmount()

    said = node.command("install", PLUGINS)

    assert "pool default is not mounted" in said and "not made anew" in said
    assert list(node.path(ROOT).iterdir()) == []
    assert pools(node)["default"]["id"] == identity
    disk.mount()
    assert "found pool default" in node.command("install", PLUGINS)


def test_after_everything_was_removed_nobody_calls_the_node_well(node: Node) -> None:
    node.command("install", PLUGINS)
    assert node.enter("sh", "-c", f"rm -rf {ROOT}/*").returncode == 0

    said = node.command("install", PLUGINS)

    assert "pool default is not mounted" in said and "not made anew" in said
    assert "error" in pools(node)["default"]
    assert node.enter(*node.executable, "doctor", PLUGINS).returncode == 1


def test_what_an_older_flexvol_noted_on_the_data_disk_is_taken_over(
    make_node: Callable[..., Node],
) -> None:
    node = make_node()
    note = node.path(f"{ROOT}/.default-pool-was-made")
    note.write_text("0123456789abcdef\n")

    assert "not made anew" in node.command("install", PLUGINS)

    assert pools(node)["default"]["id"] == "0123456789abcdef"


def test_a_node_that_goes_back_to_an_older_flexvol_gets_no_second_default_pool(
    make_node: Callable[..., Node],
) -> None:
    """An older flexvol makes the pool `default` unless it finds this file."""
    node = make_node()
    note = node.path(f"{ROOT}/.default-pool-was-made")

    node.command("install", PLUGINS)

    assert note.read_text() == node.pool_id() + "\n"
    node.command("install", PLUGINS)
    assert note.read_text() == node.pool_id() + "\n"
    node.command("pool", "remove", "default")
    assert "pool default was removed" in node.command("install", PLUGINS)
    assert note.exists()


def test_install_notes_the_pools_that_an_older_flexvol_made(node: Node, fast: Disk) -> None:
    identities = {name: node.pool_id(name) for name in ("default", "fast")}
    node.path(REMEMBERED).unlink()
    doctor = node.enter(*node.executable, "doctor", PLUGINS)
    assert b"pool fast is not noted in " in doctor.stdout

    assert "noted pool fast" in node.command("install", PLUGINS)

    noted = json.loads(node.path(REMEMBERED).read_text())["pools"]
    assert {name: entry["id"] for name, entry in noted.items()} == identities
    fast.unmount()
    assert "noted pool" not in node.command("install", PLUGINS)
    assert pools(node)["fast"]["id"] == identities["fast"]


def test_a_pool_is_removed_when_it_holds_nothing(node: Node, fast: Disk) -> None:
    assert "pvc-1" in refused(node, "pool", "remove", "fast")
    assert pools(node)["fast"]["freeBytes"] > 0
    node.ok("delete", node.deletion(**options_of(node)))

    assert "removed pool fast" in node.command("pool", "remove", "fast")

    assert {path.name for path in node.path(FAST).iterdir()} <= {"lost+found"}
    assert set(pools(node)) == {"default"}
    assert "no pool fast" in refused(node, "pool", "remove", "fast")
    node.command("pool", "init", "fast")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("snap-1", id="a snapshot"),
        pytest.param(".archived-0011-pvc-9", id="an archived volume"),
        pytest.param(".new-pvc-9", id="a volume that is being made"),
        pytest.param(".deleted-00ff", id="a volume that is being deleted"),
        pytest.param("photo", id="somebody's own directory"),
    ],
)
def test_a_pool_that_holds_anything_is_not_removed(node: Node, name: str) -> None:
    node.path(f"{ROOT}/default/{name}").mkdir()

    assert name in refused(node, "pool", "remove", "default")

    assert "error" not in pools(node)["default"]


def test_a_pool_that_is_away_is_only_forgotten_and_only_if_told(node: Node, fast: Disk) -> None:
    fast.unmount()
    assert "may hold volumes" in refused(node, "pool", "remove", "fast")
    assert "fast" in pools(node)

    assert "forgot pool fast" in node.command("pool", "remove", "fast", "--away")

    assert "fast" not in pools(node)
    fast.mount()
    assert "error" not in pools(node)["fast"]
    assert "is there" in refused(node, "pool", "remove", "fast", "--away")
    assert [volume["name"] for volume in node.ok("list")["volumes"]] == ["pvc-1"]


def test_a_default_pool_that_a_person_removed_is_not_made_again_by_itself(node: Node) -> None:
    node.command("install", PLUGINS)
    node.command("pool", "remove", "default")

    said = node.command("install", PLUGINS)

    assert "pool default was removed" in said
    assert not node.path(f"{ROOT}/default").exists()
    node.command("pool", "init", "default")
    assert "found pool default" in node.command("install", PLUGINS)


def init_by_itself(node: Node) -> str:
    """As the chart's container does at each start of the node's pod."""
    return node.command("pool", "init", "fast", "--reserve", "0", "--unless-removed")


def test_a_pool_that_a_person_removed_is_made_again_by_a_person_only(
    node: Node, fast: Disk
) -> None:
    node.ok("delete", node.deletion(**options_of(node)))
    assert "found pool fast" in init_by_itself(node)
    node.command("pool", "remove", "fast")

    node.command("install", PLUGINS)
    assert "pool fast was removed from this node by hand" in init_by_itself(node)

    assert set(pools(node)) == {"default"}
    assert "made pool fast" in node.command("pool", "init", "fast")
    assert "found pool fast" in init_by_itself(node)


def test_after_a_pool_was_forgotten_no_other_takes_its_place_by_itself_but_its_disk_may_return(
    node: Node, fast: Disk
) -> None:
    fast.unmount()
    node.command("pool", "remove", "fast", "--away")

    assert "was removed" in init_by_itself(node)

    assert not node.path(f"{FAST}/pool.json").exists()
    fast.mount()
    assert "noted pool fast" in node.command("install", PLUGINS)
    assert "found pool fast" in init_by_itself(node)
    assert [volume["name"] for volume in node.ok("list")["volumes"]] == ["pvc-1"]


def test_a_pool_that_never_was_is_made_by_itself(node: Node) -> None:
    assert "made pool fast" in init_by_itself(node)


def test_where_no_pool_can_be_noted_none_is_made(make_node: Callable[..., Node]) -> None:
    node = make_node()
    assert node.enter("mount", "-o", "remount,bind,ro", "/etc/flexvol").returncode == 0

    said = refused(node, "pool", "init", "default")

    assert f"{REMEMBERED} cannot be written" in said
    assert list(node.path(ROOT).iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="no JSON"),
        pytest.param("[]", id="a list"),
        pytest.param('{"schema": 2}', id="a newer schema"),
        pytest.param(
            '{"schema": 1, "pools": {"a": {"id": 1}}}',
            id="a pool without a path",
        ),
        pytest.param(
            '{"schema": 1, "pools": {}, "removed": "fast"}',
            id="a name in the place of the removed pools",
        ),
        pytest.param("[" * 200000, id="JSON that is nested too deeply"),
    ],
)
def test_a_memory_that_cannot_be_read_is_named_and_not_written_over(node: Node, text: str) -> None:
    node.path(REMEMBERED).write_text(text)

    message = node.fails("Unavailable", "provision", node.request("pvc-1"))

    assert REMEMBERED in message
    assert REMEMBERED in refused(node, "pool", "init", "other")
    assert node.path(REMEMBERED).read_text() == text


def test_install_refuses_a_link_that_only_the_nodes_own_root_shows(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    """In the container the pools' directory is a mount; on the node it is a link."""
    node = make_node()
    host = "/var/lib/kubelet/host"
    node.path(host + "/var/lib").mkdir(parents=True)
    node.path(host + ROOT).symlink_to("/big/flexvol")

    said = refused(node, "install", "--host-root", host, "/plugins")

    assert f"{ROOT} is a symbolic link to /big/flexvol" in said
    assert f"rm {ROOT} && mkdir {ROOT} && mount --bind /big/flexvol {ROOT}" in said
    assert list(node.path(ROOT).iterdir()) == []


def test_notes_that_cannot_be_read_keep_no_pod_from_its_data(node: Node) -> None:
    node.provision()
    notes = node.path("/etc/flexvol/pools.json")
    notes.write_text("{")

    node.mount("web")
    node.unmount("web")
    assert "pools.json" in node.fails("Unavailable", "provision", node.request("pvc-2"))
