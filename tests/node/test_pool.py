"""A pool is made on purpose, in an empty directory, and is found again by its name and id."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.nodes import Node


@pytest.mark.short
def test_making_it_twice_finds_it(node: Node) -> None:
    identity = node.pool_id()

    assert node.command("pool", "init", "default").startswith("found pool default")

    assert node.pool_id() == identity


def test_a_directory_that_holds_other_things_is_refused(node: Node) -> None:
    other = node.path("/var/lib/flexvol/other")
    other.mkdir()
    (other / "photo").write_text("precious")

    done = node.enter(*node.executable, "pool", "init", "other")

    assert done.returncode == 1
    assert b"photo" in done.stderr
    assert [path.name for path in other.iterdir()] == ["photo"]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--reserve", "lots"], id="a reserve that is no size"),
        pytest.param(["--reserve", "101%"], id="a reserve of more than all"),
        pytest.param(["--overcommit", "0"], id="an overcommit of nothing"),
        pytest.param(["--overcommit", "nan"], id="an overcommit that is no number"),
    ],
)
def test_limits_that_make_no_sense_are_refused(node: Node, words: list[str]) -> None:
    done = node.enter(*node.executable, "pool", "init", "other", *words)

    assert done.returncode == 1
    assert words[0].strip("-").encode() in done.stderr
    assert not node.path("/var/lib/flexvol/other").exists()


def test_the_nodes_config_places_pools_below_the_root_only(node: Node) -> None:
    config = node.path("/etc/flexvol/config.json")
    config.write_text(json.dumps({"pools": {"fast": "/var/lib/flexvol/disk2/pool"}}))
    node.path("/var/lib/flexvol/disk2").mkdir()
    node.command("pool", "init", "fast", "--reserve", "0")
    node.ok("provision", node.request("pvc-1", pool="fast"))
    assert node.path("/var/lib/flexvol/disk2/pool/pvc-1/image").exists()

    for hostile in ("/etc", "/var/lib/flexvol/../x", "relative"):
        config.write_text(json.dumps({"pools": {"fast": hostile}}))
        assert "lies below" in node.fails(
            "Unavailable", "provision", node.request("pvc-2", pool="fast")
        )
    config.write_text("{")
    assert "config.json" in node.fails(
        "Unavailable", "provision", node.request("pvc-2", pool="fast")
    )


def test_overcommit_and_reserve_decide_what_may_be_promised(node: Node) -> None:
    (whole,) = [pool for pool in node.ok("list")["pools"] if pool["name"] == "default"]
    node.command("pool", "init", "half", "--reserve", "50%")
    node.command("pool", "init", "twice", "--reserve", "0", "--overcommit", "2")

    pools = {pool["name"]: pool for pool in node.ok("list")["pools"]}

    assert pools["half"]["reserveBytes"] == whole["capacityBytes"] // 2
    assert pools["twice"]["freeBytes"] == pytest.approx(2 * pools["default"]["freeBytes"], rel=0.05)


def test_list_goes_on_when_one_pool_is_not_mounted(node: Node) -> None:
    node.provision()
    node.path("/etc/flexvol/config.json").write_text(
        json.dumps({"pools": {"fast": "/var/lib/flexvol/disk2"}})
    )

    listed = node.ok("list")

    assert [volume["name"] for volume in listed["volumes"]] == ["pvc-1"]
    assert "not mounted" in next(
        pool["error"] for pool in listed["pools"] if pool["name"] == "fast"
    )


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"owner": {"namespace": "x"}}, id="the owner has no name"),
        pytest.param({"mountOptions": [1]}, id="a mount option is a number"),
        pytest.param({"accessModes": [None]}, id="an access mode is null"),
        pytest.param({"root": {}}, id="the root has no owner"),
        pytest.param({"root": {"uid": "0"}}, id="the root's owner is a text"),
    ],
)
def test_a_damaged_record_is_named_and_the_other_volumes_are_listed(
    node: Node, damage: dict[str, object]
) -> None:
    node.provision()
    node.provision("pvc-2")
    node.image().with_name("volume.json").write_text(
        json.dumps(
            {
                **node.record(),
                **damage,
            }
        )
    )

    broken, whole = node.ok("list")["volumes"]

    assert f"is damaged: {next(iter(damage))}" in broken["error"]
    assert whole["name"] == "pvc-2" and "error" not in whole
    assert "is damaged" in node.fails("Internal", "mount", node.pod_dir("web"), node.options())
    assert "is damaged" in node.command("status")


def test_a_record_that_lacks_a_field_is_named_too(node: Node) -> None:
    node.provision()
    whole = node.record()
    for field in set(whole) - {"schema"}:
        lacking = {key: value for key, value in whole.items() if key != field}
        node.image().with_name("volume.json").write_text(json.dumps(lacking))

        (volume,) = node.ok("list")["volumes"]

        assert volume["error"].endswith(f"is damaged: {field}")


def test_a_record_nested_too_deep_is_named_too(node: Node) -> None:
    node.provision()
    node.image().with_name("volume.json").write_text("[" * 200000)

    assert "cannot be read" in node.ok("list")["volumes"][0]["error"]


def test_a_default_pool_made_by_hand_is_not_made_anew_either(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    node = make_node()
    node.command("pool", "init", "default")
    node.command("install", str(tmp_path / "plugins"))
    node.path("/var/lib/flexvol/default").rename(node.path("/var/lib/flexvol/away"))

    told = node.command("install", str(tmp_path / "plugins"))

    assert "not made anew" in told
    assert not node.path("/var/lib/flexvol/default").exists()


@pytest.mark.parametrize(
    "file",
    ["etc/flexvol/config.json", "var/lib/flexvol/default/pool.json"],
)
def test_settings_nested_too_deep_are_named(node: Node, file: str) -> None:
    node.provision()
    options = node.options()
    node.path("/" + file).write_text("[" * 200000)

    message = node.fails("Unavailable", "mount", node.pod_dir("web"), options)

    assert f"/{file} cannot be read" in message
    assert node.run("list")["status"] == ("Failure" if file.endswith("config.json") else "Success")


def test_only_root_can_look_into_a_pool_whatever_the_umask(make_node: Callable[..., Node]) -> None:
    node = make_node()
    for words in (
        ["pool", "init", "default", "--reserve", "0"],
        ["provision", node.request("pvc-1")],
    ):
        done = node.enter(
            "sh",
            "-c",
            'umask 0 && exec "$@"',
            "sh",
            *node.executable,
            *words,
        )
        assert done.returncode == 0 and b"Failure" not in done.stdout, done
    pool = node.path("/var/lib/flexvol/default")

    modes = {
        str(path.relative_to(pool)): path.stat().st_mode & 0o7777
        for path in (pool, *pool.rglob("*"))
    }

    locks = [name for name in modes if name.startswith(".locks/")]
    assert len(locks) >= 2
    assert modes == {
        ".": 0o700, ".locks": 0o700, "pool.json": 0o600, **dict.fromkeys(locks, 0o600),
        "pvc-1": 0o700, "pvc-1/image": 0o600, "pvc-1/volume.json": 0o600,
    }  # fmt: skip


@pytest.mark.parametrize(
    "link",
    [
        pytest.param("/var/lib/flexvol/big", id="the pool's directory is a link"),
        pytest.param("/var/lib/flexvol/disks", id="a directory above the pool is a link"),
    ],
)
def test_a_link_in_the_path_of_a_pool_is_refused_with_a_remedy_that_works(
    node: Node, link: str
) -> None:
    path = "/var/lib/flexvol/big" if link.endswith("big") else f"{link}/big"
    node.path("/etc/flexvol/config.json").write_text(json.dumps({"pools": {"big": path}}))
    node.path("/var/lib/kubelet/disk").mkdir()
    node.path(link).symlink_to("/var/lib/kubelet/disk")

    refused = node.enter(*node.executable, "pool", "init", "big")

    assert refused.returncode == 1
    assert list(node.path("/var/lib/kubelet/disk").iterdir()) == []
    message = node.fails("Unavailable", "provision", node.request("pvc-1", pool="big"))
    assert f"{link} is a symbolic link to /var/lib/kubelet/disk" in message
    assert message.partition("pool big cannot")[2] in refused.stderr.decode()
    remedy = message.partition("make it a bind mount: ")[2]
    assert node.enter("sh", "-c", remedy).returncode == 0
    node.command("pool", "init", "big", "--reserve", "0")
    node.ok("provision", node.request("pvc-1", pool="big"))


def test_the_reserve_of_a_new_pool_is_above_where_kubelet_deletes_images(node: Node) -> None:
    node.command("pool", "init", "fresh")
    node.command("pool", "init", "older", "--reserve", "15%")

    pools = {pool["name"]: pool for pool in node.ok("list")["pools"]}

    capacity = pools["fresh"]["capacityBytes"]
    assert pools["fresh"]["reserveBytes"] == capacity * 20 // 100
    assert pools["older"]["reserveBytes"] == capacity * 15 // 100
