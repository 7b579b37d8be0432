"""Which volumes without a PV are nobody's; that they are collected is tested on a cluster."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller import cluster
from cluster.controller.identity import Identity
from cluster.controller.instance import Instance
from cluster.controller.listing import Listing
from cluster.controller.orphans import Known, Orphans
from cluster.controller.room_news import RoomNews
from cluster.controller.storage import Listed

US = Identity({"loop.flexvol": "flexvol/loop"}, "node1", "node1")
DRIVER = "flexvol/loop"
NAME = "pvc-u1"
HERE = "cluster-uid"
OWNER = {"namespace": "shop", "name": "data", "uid": "u1"}
ENTRY = {
    "name": NAME,
    "owner": OWNER,
    "options": {"pool": "default", "poolId": "5f"},
    "blank": True,
    "clusterUid": HERE,
    "reclaimPolicy": "Delete",
}
PATH = cluster.path_to(cluster.VOLUMES, NAME)


class Api:
    """The volume's claim and its PV; either may not be there."""

    def __init__(self, claim: Any, volume: Any) -> None:
        self._claim = claim
        self._volume = volume

    def claim(self, whose: dict[str, Any]) -> Any:
        return self._claim if whose == OWNER else None

    def get(self, path: str) -> Any:
        return self._volume if path == PATH else None

    def uid(self) -> str:
        return HERE


class Storage:
    """Remembers what it is told to delete."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def list(self, driver: str) -> Listed:
        return Listed([ENTRY], [])

    def delete(self, driver: str, request: Any) -> None:
        assert request.only_if_blank
        self.deleted.append(request.volume)


def claim(bound_to: str) -> dict[str, Any]:
    return {"spec": {"volumeName": bound_to} if bound_to else {}}


def pv(policy: str) -> dict[str, Any]:
    return {"spec": {"persistentVolumeReclaimPolicy": policy}}


@pytest.mark.parametrize(
    ("its_claim", "its_pv", "is_collected"),
    [
        pytest.param(None, None, True, id="its claim is gone"),
        pytest.param(claim(""), None, False, id="its claim waits for it"),
        pytest.param(claim(NAME), None, False, id="its claim has lost its PV, as during a move"),
        pytest.param(claim("pv-b"), None, True, id="its claim is bound to another PV for ever"),
        pytest.param(None, pv("Delete"), False, id="its PV is there"),
        pytest.param(claim("pv-b"), pv("Delete"), False, id="its PV is there, its claim elsewhere"),
    ],
)
def test_a_volume_that_nobody_can_get_is_collected(
    its_claim: Any, its_pv: Any, is_collected: bool
) -> None:
    api: Any = Api(its_claim, its_pv)
    storage: Any = Storage()
    nothing: Any = SimpleNamespace(warning=lambda *_: None)
    instance = Instance(api, US, storage, nothing, nothing, nothing)
    listing = Listing(storage.list, US.drivers.values())
    known = Known(dict, lambda uid: False, lambda: True)
    orphans = Orphans(instance, listing, RoomNews(), known, 0.0)

    for second in range(2):  # seen once, it may have gone with its PV since it was listed
        orphans._sweep({DRIVER: storage.list(DRIVER)}, float(second))

    assert storage.deleted == ([NAME] if is_collected else [])
