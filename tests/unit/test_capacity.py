"""What is published of a node's room: an object for each class of ours, from the pool that the
class means."""

from __future__ import annotations

from typing import Any

import pytest

import protocol
from controller import capacity
from controller.decide import Identity
from controller.storage import Listed

US = Identity({"loop.flexvol": "flexvol/loop"}, "node1", "node1")
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "flexvol-node-x", "uid": "u"}
POOLS: list[dict[str, Any]] = [
    {"name": "default", "freeBytes": 100},
    {"name": "fast", "freeBytes": 7},
    {"name": "away", "error": "gone"},
]


def storage_class(
    name: str = "c", provisioner: str = "loop.flexvol", **parameters: str
) -> dict[str, Any]:
    return {"metadata": {"name": name}, "provisioner": provisioner, "parameters": parameters}


@pytest.mark.parametrize(
    ("parameters", "pools", "free"),
    [
        ({}, POOLS, "100"),
        ({"pool": "fast"}, POOLS, "7"),
        ({"pool": "away"}, POOLS, "0"),
        ({"pool": "elsewhere"}, POOLS, "0"),
        ({}, [{"name": "only", "freeBytes": 3}], "3"),
        ({}, [{"name": "default", "freeBytes": -5}], "0"),
        ({}, POOLS[1:], "0"),
        ({}, [{"name": "default", "error": "gone"}, {"name": "fast", "freeBytes": 7}], "0"),
        ({}, [{"name": "fast", "freeBytes": 7, "byName": True}], "0"),
        ({"pool": "fast"}, [{"name": "fast", "freeBytes": 7, "byName": True}], "7"),
        ({"pool": "a"}, [{"name": "a", "freeBytes": 7, "error": "its disk is read-only"}], "0"),
    ],
)
def test_the_room_of_the_pool_that_the_class_means(
    parameters: dict[str, str], pools: list[Any], free: str
) -> None:
    (found,) = capacity.wanted(
        [storage_class(**parameters)], {"flexvol/loop": pools}, US, "host", OWNER
    ).values()

    assert (found["capacity"], found["maximumVolumeSize"]) == (free, free)
    assert found["nodeTopology"] == {"matchLabels": {"kubernetes.io/hostname": "host"}}
    assert found["metadata"]["ownerReferences"] == [OWNER]


@pytest.mark.parametrize(
    ("largest", "published"),
    [
        pytest.param({"maximumVolumeBytes": 16 << 40}, 16 << 40, id="one file is the limit"),
        pytest.param({"maximumVolumeBytes": 1 << 62}, 40 << 40, id="the room is the limit"),
        pytest.param({}, 40 << 40, id="a driver that does not say"),
    ],
)
def test_no_volume_is_promised_that_is_longer_than_its_pool_can_make(
    largest: dict[str, int], published: int
) -> None:
    pool = {"name": "default", "freeBytes": 40 << 40, **largest}

    (found,) = capacity.wanted(
        [storage_class()], {"flexvol/loop": [pool]}, US, "host", OWNER
    ).values()

    assert (found["capacity"], found["maximumVolumeSize"]) == (str(40 << 40), str(published))
    items = {"items": [found]}
    assert capacity.rooms(lambda _path: items, "flexvol") == {"c": {"host": published}}


def test_nothing_for_classes_of_others_and_for_a_driver_without_pools() -> None:
    classes = [storage_class("a"), storage_class("b", "other")]

    assert len(capacity.wanted(classes, {"flexvol/loop": POOLS}, US, "host", None)) == 1
    assert capacity.wanted(classes, {"flexvol/loop": []}, US, "host", None) == {}


def test_each_node_and_class_has_a_name_of_its_own() -> None:
    other = Identity(US.drivers, "node2", "node2")
    classes = [storage_class("a"), storage_class("b")]
    pools = {"flexvol/loop": POOLS}

    names = {
        *capacity.wanted(classes, pools, US, "h1", None),
        *capacity.wanted(classes, pools, other, "h2", None),
    }

    assert len(names) == 4
    assert sorted(name[25:] for name in names) == [
        "node1",
        "node1",
        "node2",
        "node2",
    ]  # what the policy looks at


@pytest.mark.parametrize(
    ("published", "free", "exactly", "roughly"),
    [
        ("1Mi", 1 << 20, True, True),
        ("1Mi", (1 << 20) - 4096, False, True),
        ("1Mi", (1 << 20) * 9 // 10, False, False),
        ("1Mi", 0, False, False),
        ("0", 4096, False, False),
    ],
)
def test_a_change_is_written_at_once_unless_it_is_small(
    published: str, free: int, exactly: bool, roughly: bool
) -> None:
    pools = [{"name": "only", "freeBytes": free}]
    (wish,) = capacity.wanted(
        [storage_class()], {"flexvol/loop": pools}, US, "host", OWNER
    ).values()
    there = {**wish, "capacity": published, "maximumVolumeSize": published}

    assert [capacity.same(there, wish, rough) for rough in (False, True)] == [exactly, roughly]
    assert not capacity.same({**there, "nodeTopology": {}}, wish, True)
    assert not capacity.same({**there, "metadata": {}}, wish, True)
    assert not capacity.same(None, wish, True)


class Published:
    """The API server's side, and the driver's: what is free."""

    def __init__(self) -> None:
        self.free, self.written = 1 << 30, list[str]()
        self.failure = ""

    def get(self, path: str) -> Any:
        return {"items": []}

    def create(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        self.written.append(wish["capacity"])
        return wish

    def patch(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        return self.create(path, wish)

    def list(self, driver: str) -> Listed:
        if self.failure:
            raise protocol.Unavailable(self.failure)
        return Listed([], [{"name": "only", "id": "5f", "freeBytes": self.free}])


def test_a_small_change_is_written_by_the_next_round_that_is_not_rough() -> None:
    both: Any = Published()
    node = capacity.Capacity(
        both, both, US, "flexvol", None, lambda: [storage_class()], lambda: "host"
    )
    node.publish()
    both.free -= 4096

    node.publish(roughly=True)
    assert both.written == [str(1 << 30)]
    node.changed()
    node.publish(roughly=True)  # what changed is ours

    assert both.written == [str(1 << 30), str((1 << 30) - 4096)]
    both.free -= 4096
    node.publish()
    assert both.written[2:] == [str((1 << 30) - 8192)]


def test_a_driver_that_does_not_list_any_more_has_no_room_and_its_pools_are_not_well() -> None:
    both: Any = Published()
    node = capacity.Capacity(
        both, both, US, "flexvol", None, lambda: [storage_class()], lambda: "host"
    )
    node.publish()
    both.failure = "pools.json cannot be read"

    with pytest.raises(protocol.Unavailable, match="cannot be read"):
        node.publish()

    assert both.written == [str(1 << 30), "0"]
    (pool,) = node.listed["flexvol/loop"].pools
    assert pool == {"name": "only", "id": "5f", "error": "pools.json cannot be read"}
    assert node.has_pools("flexvol/loop")
    both.failure = ""
    node.publish()
    assert both.written[2:] == [str(1 << 30)]


def test_a_driver_that_never_listed_has_nothing_published() -> None:
    both: Any = Published()
    both.failure = "the driver is not installed"
    node = capacity.Capacity(
        both, both, US, "flexvol", None, lambda: [storage_class()], lambda: "host"
    )

    with pytest.raises(protocol.Unavailable):
        node.publish()

    assert both.written == []
