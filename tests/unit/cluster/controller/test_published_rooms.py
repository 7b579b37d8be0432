"""What is published of a node's room: an object for each class of ours, from the pool that the
class means."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pytest

from cluster.controller import published_rooms
from cluster.controller.identity import Identity
from cluster.controller.objects import StorageClass
from cluster.controller.published_rooms import PublishedRoom

US = Identity({"loop.flexvol": "flexvol/loop"}, "node1", "node1")
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "flexvol-node-x", "uid": "u"}
POOLS: list[dict[str, Any]] = [
    {"name": "default", "freeBytes": 100},
    {"name": "fast", "freeBytes": 7},
    {"name": "away", "error": "gone"},
]


def storage_class(
    name: str = "c", provisioner: str = "loop.flexvol", **parameters: str
) -> StorageClass:
    json = {
        "metadata": {"name": name},
        "provisioner": provisioner,
        "parameters": parameters,
    }
    return StorageClass(json)


@pytest.mark.parametrize(
    ("parameters", "pools", "free"),
    [
        pytest.param({}, POOLS, "100", id="a class without a pool means the default one"),
        pytest.param({"pool": "fast"}, POOLS, "7", id="a class names its pool"),
        pytest.param(
            {"pool": "away"},
            POOLS,
            "0",
            id="a pool whose disk is away has no room",
        ),
        pytest.param(
            {"pool": "elsewhere"}, POOLS, "0", id="a pool that is not on the node has no room"
        ),
        pytest.param(
            {},
            [{"name": "only", "freeBytes": 3}],
            "3",
            id="the only pool is meant",
        ),
        pytest.param(
            {},
            [
                {
                    "name": "default",
                    "freeBytes": -5,
                }
            ],
            "0",
            id="less than nothing is nothing",
        ),
        pytest.param(
            {},
            POOLS[1:],
            "0",
            id="of several pools without a default none is meant",
        ),
        pytest.param(
            {},
            [{"name": "default", "error": "gone"}, {"name": "fast", "freeBytes": 7}],
            "0",
            id="a default pool that is away is not replaced",
        ),
        pytest.param(
            {},
            [{"name": "fast", "freeBytes": 7, "byName": True}],
            "0",
            id="a pool that is had by its name only is not meant",
        ),
        pytest.param(
            {"pool": "fast"},
            [{"name": "fast", "freeBytes": 7, "byName": True}],
            "7",
            id="such a pool is had by its name",
        ),
        pytest.param(
            {"pool": "a"},
            [{"name": "a", "freeBytes": 7, "error": "its disk is read-only"}],
            "0",
            id="a pool with an error has no room",
        ),
    ],
)
def test_the_room_of_the_pool_that_the_class_means(
    parameters: dict[str, str], pools: list[Any], free: str
) -> None:
    (found,) = published_rooms.wanted(
        [storage_class(**parameters)], {"flexvol/loop": pools}, US, "host", OWNER
    ).values()

    assert (found["capacity"], found["maximumVolumeSize"]) == (free, free)
    assert found["nodeTopology"] == {"matchLabels": {"kubernetes.io/hostname": "host"}}
    assert found["metadata"]["ownerReferences"] == [OWNER]


@pytest.mark.parametrize(
    ("largest", "published"),
    [
        pytest.param(
            {"maximumVolumeBytes": 16 << 40},
            16 << 40,
            id="one file is the limit",
        ),
        pytest.param(
            {"maximumVolumeBytes": 1 << 62},
            40 << 40,
            id="the room is the limit",
        ),
        pytest.param({}, 40 << 40, id="a driver that does not say"),
    ],
)
def test_no_volume_is_promised_that_is_longer_than_its_pool_can_make(
    largest: dict[str, int], published: int
) -> None:
    pool = {"name": "default", "freeBytes": 40 << 40, **largest}

    (found,) = published_rooms.wanted(
        [storage_class()], {"flexvol/loop": [pool]}, US, "host", OWNER
    ).values()

    assert (found["capacity"], found["maximumVolumeSize"]) == (str(40 << 40), str(published))
    items = {"items": [found]}
    assert published_rooms.rooms(
        lambda _path: items,
        "flexvol",
    ) == {"c": {"host": published}}


LEAST = {"": 16, "ext4": 16, "xfs": 300, "btrfs": 112}


@pytest.mark.parametrize(
    ("parameters", "pool", "room"),
    [
        pytest.param(
            {"fsType": "xfs"},
            {"freeBytes": 299},
            (0, 0),
            id="less than an xfs needs",
        ),
        pytest.param(
            {"fsType": "xfs"},
            {"freeBytes": 300},
            (300, 300),
            id="just one xfs",
        ),
        pytest.param(
            {},
            {"freeBytes": 299},
            (299, 299),
            id="a class that names no file system",
        ),
        pytest.param(
            {},
            {"freeBytes": 15},
            (0, 0),
            id="less than the driver's own choice needs",
        ),
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
        pytest.param(
            {"fsType": "zfs"},
            {"freeBytes": 7},
            (7, 7),
            id="the driver's to refuse",
        ),
    ],
)
def test_room_for_less_than_the_smallest_volume_is_no_room(
    parameters: dict[str, str], pool: dict[str, Any], room: tuple[int, int]
) -> None:
    pools = {"flexvol/loop": [{"name": "default", "minimumVolumeBytes": LEAST, **pool}]}

    (found,) = published_rooms.wanted(
        [storage_class(**parameters)], pools, US, "host", OWNER
    ).values()

    assert (found["capacity"], found["maximumVolumeSize"]) == tuple(map(str, room))


def test_nothing_for_classes_of_others_and_for_a_driver_without_pools() -> None:
    classes = [storage_class("a"), storage_class("b", "other")]

    assert (
        len(
            published_rooms.wanted(
                classes,
                {"flexvol/loop": POOLS},
                US,
                "host",
                None,
            )
        )
        == 1
    )
    assert published_rooms.wanted(classes, {"flexvol/loop": []}, US, "host", None) == {}


def test_each_node_and_class_has_a_name_of_its_own() -> None:
    other = Identity(US.drivers, "node2", "node2")
    classes = [storage_class("a"), storage_class("b")]
    pools = {"flexvol/loop": POOLS}

    names = {
        *published_rooms.wanted(classes, pools, US, "h1", None),
        *published_rooms.wanted(classes, pools, other, "h2", None),
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
        pytest.param("1Mi", 1 << 20, True, True, id="what is published is as wished"),
        pytest.param("1Mi", (1 << 20) - 4096, False, True, id="a small change waits"),
        pytest.param("1Mi", (1 << 20) - 1, False, True, id="one byte is a small change"),
        pytest.param(
            "1Mi",
            (1 << 20) * 9 // 10,
            False,
            False,
            id="a large change does not",
        ),
        pytest.param("1Mi", 0, False, False, id="all room that goes is a large change"),
        pytest.param("0", 4096, False, False, id="any room that comes is a large change"),
    ],
)
def test_a_change_is_written_at_once_unless_it_is_small(
    published: str, free: int, exactly: bool, roughly: bool
) -> None:
    pools = [{"name": "only", "freeBytes": free}]
    (wish,) = published_rooms.wanted(
        [storage_class()], {"flexvol/loop": pools}, US, "host", OWNER
    ).values()
    there = {**wish, "capacity": published, "maximumVolumeSize": published}

    def same(there: dict[str, Any] | None, rough: bool) -> bool:
        return published_rooms.same(PublishedRoom.of(there), wish, rough)

    assert [same(there, rough) for rough in (False, True)] == [exactly, roughly]
    assert not same({**there, "nodeTopology": {}}, True)
    assert not same({**there, "metadata": {}}, True)
    for size in ("capacity", "maximumVolumeSize"):
        assert not same({key: there[key] for key in there if key != size}, True)
    stamped = {
        **there["metadata"],
        "labels": {**there["metadata"]["labels"], "by.webhook": "us"},
    }
    assert same({**there, "metadata": stamped}, True) == roughly
    assert not same(None, True)


def room(hostname: str, class_name: str, **sizes: str) -> dict[str, Any]:
    return {
        "storageClassName": class_name,
        "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": hostname}},
        **sizes,
    }


def test_the_rooms_of_all_nodes_are_read_from_the_cache_by_class_and_hostname() -> None:
    """What a node can make is as large as its free room and its longest file allow."""
    asked = []

    def get(path: str) -> Any:
        asked.append(path)
        return {
            "items": [
                room("a", "fast", capacity="3Gi", maximumVolumeSize="1Gi"),
                room("b", "fast", capacity="1Gi", maximumVolumeSize="3Gi"),
                room("a", "slow", capacity="5Mi"),
                room("b", "slow"),
            ]
        }

    assert published_rooms.rooms(get, "flexvol") == {
        "fast": {"a": 1 << 30, "b": 1 << 30},
        "slow": {"a": 5 << 20, "b": 0},
    }
    collection = "/apis/storage.k8s.io/v1/namespaces/flexvol/csistoragecapacities"
    assert asked == [f"{collection}?resourceVersion=0"]


def test_a_kubernetes_without_such_objects_has_no_rooms() -> None:
    assert published_rooms.rooms(lambda _: None, "flexvol") == {}


class Server:
    """Has these objects; notes what is read and deleted."""

    def __init__(self, *names: str) -> None:
        self.read: list[str] = []
        self.deleted: list[tuple[str, str]] = []
        self._items = [
            {"metadata": {"name": name, "uid": f"uid of {name}"}, **room("h", "c")}
            for name in names
        ]

    def get(self, path: str) -> Any:
        self.read.append(path)
        return {"items": self._items}

    def delete(self, path: str, uid: str) -> None:
        self.deleted.append((path.rpartition("/")[2], uid))


def test_only_the_objects_of_this_node_and_its_provisioners_are_read_and_cleared_away() -> None:
    """Another node's name may have the same hash, as far as the label has it."""
    identity = Identity({"loop.flexvol": "flexvol/loop", "a.b": "b/a"}, "node1", "node1")
    ours = f"flexvol-{published_rooms.hashed('gone')}-node1"
    theirs = f"flexvol-{published_rooms.hashed('gone')}-node10"
    server: Any = Server(ours, theirs)

    published_rooms.OwnRooms(server, identity, "flexvol").publish({}, set(), roughly=False)

    assert server.deleted == [(ours, f"uid of {ours}")]
    (path,) = server.read
    query = dict(parse_qsl(path.partition("?")[2]))
    node, *provisioners = map(published_rooms.hashed, ("node1", "loop.flexvol", "a.b"))
    assert query == {
        "labelSelector": f"flexvol/node={node},"
        f"flexvol/provisioner in ({','.join(sorted(provisioners))})",
        "resourceVersion": "0",
    }
