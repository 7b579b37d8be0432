"""What is published of a node's room: an object for each class of ours, from the pool that the
class means."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from cluster.controller import capacity
from cluster.controller.decide import Identity
from cluster.controller.listing import Listing
from cluster.controller.storage import Listed
from shared import protocol

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


LEAST = {"": 16, "ext4": 16, "xfs": 300, "btrfs": 112}


@pytest.mark.parametrize(
    ("parameters", "pool", "room"),
    [
        pytest.param({"fsType": "xfs"}, {"freeBytes": 299}, (0, 0), id="less than an xfs needs"),
        pytest.param({"fsType": "xfs"}, {"freeBytes": 300}, (300, 300), id="just one xfs"),
        pytest.param({}, {"freeBytes": 299}, (299, 299), id="a class that names no file system"),
        pytest.param({}, {"freeBytes": 15}, (0, 0), id="less than the driver's own choice needs"),
        pytest.param(
            {"csi.storage.k8s.io/fstype": "btrfs"},
            {"freeBytes": 111},
            (0, 0),
            id="the CSI spelling",
        ),
        pytest.param(
            {"fsType": "xfs"},
            {"freeBytes": 900, "maximumVolumeBytes": 200},
            (0, 0),
            id="no file can be as long as an xfs needs",
        ),
        pytest.param({"fsType": "zfs"}, {"freeBytes": 7}, (7, 7), id="the driver's to refuse"),
    ],
)
def test_room_for_less_than_the_smallest_volume_is_no_room(
    parameters: dict[str, str], pool: dict[str, Any], room: tuple[int, int]
) -> None:
    pools = {"flexvol/loop": [{"name": "default", "minimumVolumeBytes": LEAST, **pool}]}

    (found,) = capacity.wanted([storage_class(**parameters)], pools, US, "host", OWNER).values()

    assert (found["capacity"], found["maximumVolumeSize"]) == tuple(map(str, room))


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
    for size in ("capacity", "maximumVolumeSize"):
        assert not capacity.same({key: there[key] for key in there if key != size}, wish, True)
    stamped = {**there["metadata"], "labels": {**there["metadata"]["labels"], "by.webhook": "us"}}
    assert capacity.same({**there, "metadata": stamped}, wish, True) == roughly
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


def test_a_driver_that_does_not_list_twice_has_no_room_and_its_pools_are_not_well() -> None:
    both: Any = Published()
    node = capacity.Capacity(
        both, both, US, "flexvol", None, lambda: [storage_class()], lambda: "host"
    )
    node.publish()
    both.failure = "pools.json cannot be read"

    with pytest.raises(protocol.Unavailable, match="cannot be read"):
        node.publish()
    assert both.written == [str(1 << 30)]
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


def test_a_kubernetes_that_is_too_old_is_named() -> None:
    both: Any = Published()
    both.get = lambda path: None
    node = capacity.Capacity(
        both, both, US, "flexvol", None, lambda: [storage_class()], lambda: "host"
    )

    with pytest.raises(protocol.Unavailable, match=r"older than 1\.24"):
        node.publish()


class OneIsSick(Published):
    """Of two drivers, each with a class, one fails."""

    drivers = Identity({"a.flexvol": "flexvol/a", "b.flexvol": "flexvol/b"}, "node1", "node1")

    def __init__(self) -> None:
        super().__init__()
        self.sick = ""
        self.hangs = threading.Event()
        self.objects: dict[str, dict[str, Any]] = {}

    def get(self, path: str) -> Any:
        return {"items": list(self.objects.values())}

    def create(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        made = {**wish, "metadata": {**wish["metadata"], "uid": "u"}}
        self.objects[wish["metadata"]["name"]] = made
        return made

    def delete(self, path: str, uid: str) -> None:
        del self.objects[path.rpartition("/")[2]]

    def list(self, driver: str) -> Listed:
        if driver == self.sick == "flexvol/a":
            self.hangs.wait(20)
        if driver == self.sick:
            raise protocol.Internal("its disk is gone")
        return super().list(driver)

    def rooms(self) -> dict[str, str]:
        return {one["storageClassName"]: one["capacity"] for one in self.objects.values()}

    def node(self) -> capacity.Capacity:
        classes = [storage_class("a", "a.flexvol"), storage_class("b", "b.flexvol")]
        both: Any = self
        return capacity.Capacity(
            both, both, self.drivers, "flexvol", None, lambda: classes, lambda: "host"
        )


def test_a_driver_that_fails_keeps_nobody_from_publishing_the_others_room() -> None:
    both = OneIsSick()
    node = both.node()
    node.publish()
    both.sick = "flexvol/b"

    for free in (5 << 20, 6 << 20):
        both.free = free
        with pytest.raises(protocol.Internal):
            node.publish()

    assert both.rooms() == {"a": str(6 << 20), "b": "0"}


def test_a_driver_that_fails_from_the_beginning_has_nothing_published_and_the_others_have() -> None:
    both = OneIsSick()
    both.sick = "flexvol/b"
    node = both.node()

    with pytest.raises(protocol.Internal):
        node.publish()

    assert both.rooms() == {"a": str(1 << 30)}


def test_a_driver_that_hangs_keeps_nobody_and_its_list_is_taken_when_it_comes() -> None:
    both = OneIsSick()
    both.sick = "flexvol/a"
    node = both.node()
    drivers = both.drivers.drivers.values()
    node.listing = Listing(both.list, drivers, node.came_late, patience_seconds=0.2)
    node.publish()
    assert both.rooms() == {"b": str(1 << 30)}

    both.sick = ""
    both.hangs.set()

    assert node._woken.wait(10)
    node.publish()
    assert both.rooms() == {"a": str(1 << 30), "b": str(1 << 30)}


def test_a_list_that_came_late_is_published_before_the_driver_is_asked_again() -> None:
    """A driver that is always late is asked no more often than any other slow one."""
    both: Any = Published()
    asked = []

    def ask(driver: str) -> Listed:
        asked.append(driver)
        time.sleep(0.3)
        return both.list(driver)  # type: ignore[no-any-return]

    node = capacity.Capacity(
        both, both, US, "flexvol", None, lambda: [storage_class()], lambda: "host"
    )
    node.listing = Listing(ask, US.drivers.values(), node.came_late, patience_seconds=0.05)
    node._round()
    assert node._woken.wait(10)
    node._round()

    assert both.written == [str(1 << 30)]
    assert asked == ["flexvol/loop"]
    assert node._pause_seconds == pytest.approx(15, abs=1)

    node.changed()
    node._round()
    assert asked == ["flexvol/loop"] * 2, "what changed is ours"


def test_what_another_process_published_stays_until_the_driver_has_failed_twice() -> None:
    both = OneIsSick()
    both.node().publish()
    both.sick = "flexvol/b"
    both.free = 5 << 20
    node = both.node()

    with pytest.raises(protocol.Internal):
        node.publish()
    assert both.rooms() == {"a": str(5 << 20), "b": str(1 << 30)}
    with pytest.raises(protocol.Internal):
        node.publish()

    assert both.rooms() == {"a": str(5 << 20)}
