"""The plan of a move, as it is written down for whoever goes on with the move."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from cluster.controller import cluster
from cluster.kubectl.move.plans import LABEL, Plan, Plans
from tests.unit.cluster.kubectl.move.manifests import VOLUME
from tests.unit.cluster.kubectl.move.world import merged

COLLECTION = "/api/v1/namespaces/flexvol/configmaps"
PATH = f"{COLLECTION}/move-pvc-u1"
PLAN = Plan("m1", "node1", "node2", VOLUME, "Delete", "host-2", "77")


class Api:
    """The ConfigMaps of the namespace, as the API server keeps them."""

    def __init__(self) -> None:
        self.there: dict[str, Any] = {}
        self._versions = 0

    def get(self, path: str) -> Any:
        if path.startswith(f"{COLLECTION}?"):
            assert path == cluster.selected(COLLECTION, labelSelector=LABEL)
            return {"items": [one for one in self.there.values() if LABEL in labels(one)]}
        return copy.deepcopy(self.there.get(path))

    def create(self, path: str, body: Any) -> None:
        path = cluster.path_to(path, body["metadata"]["name"])
        if path in self.there:
            raise cluster.Refused(409, "already exists")
        self.there[path] = copy.deepcopy(body)
        self.there[path]["metadata"]["uid"] = f"uid-{self._next()}"

    def patch(self, path: str, body: Any) -> None:
        there = self.there.get(path)
        if there is None:
            return
        for key in ("uid", "resourceVersion"):
            if body["metadata"][key] != there["metadata"][key]:
                raise cluster.Refused(409, "it was changed")
        self.there[path] = merged(there, body)
        self._next()

    def delete(self, path: str, uid: str) -> None:
        if self.there[path]["metadata"]["uid"] == uid:
            del self.there[path]

    def _next(self) -> str:
        self._versions += 1
        self.there[PATH]["metadata"]["resourceVersion"] = str(self._versions)
        return str(self._versions)


def labels(config_map: Any) -> dict[str, str]:
    found: dict[str, str] = config_map["metadata"].get("labels", {})
    return found


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def plans(api: Any) -> Plans:
    return Plans(api, "flexvol")


def found(plans: Plans) -> Plan:
    plan = plans.find("pvc-u1")
    assert plan is not None
    return plan


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="a move"),
        pytest.param({"is_carried": True}, id="of a disk that was carried"),
        pytest.param({"is_cancelled": True}, id="that is cancelled"),
        pytest.param({"is_replacing": True}, id="whose PV is being made anew"),
    ],
)
def test_who_goes_on_reads_all_that_was_written(plans: Plans, changes: dict[str, bool]) -> None:
    plans.create(PLAN)

    changed = plans.change(found(plans), **changes)

    assert changed == found(plans)
    assert (changed.id, changed.source, changed.to) == ("m1", "node1", "node2")
    assert (changed.policy, changed.hostname, changed.pool_id) == ("Delete", "host-2", "77")
    assert changed.volume.json == VOLUME.json
    flags = ("is_carried", "is_cancelled", "is_replacing")
    assert {flag: getattr(changed, flag) for flag in flags} == {
        **dict.fromkeys(flags, False),
        **changes,
    }
    assert [one.id for one in plans.all()] == ["m1"]


def test_a_volume_has_one_plan(plans: Plans) -> None:
    assert plans.find("pvc-u1") is None
    assert plans.all() == []
    plans.create(PLAN)

    with pytest.raises(cluster.Refused) as refused:
        plans.create(PLAN)

    assert refused.value.status == 409


def test_of_two_that_change_a_plan_the_second_is_refused(plans: Plans) -> None:
    plans.create(PLAN)
    read = found(plans)
    plans.change(read, is_replacing=True)

    with pytest.raises(cluster.Refused) as refused:
        plans.change(read, is_cancelled=True)

    assert refused.value.status == 409
    assert found(plans).is_replacing and not found(plans).is_cancelled


def test_a_plan_that_was_ended_is_not_changed(plans: Plans) -> None:
    plans.create(PLAN)
    read = found(plans)
    plans.end(read)

    assert plans.change(read, is_replacing=True) is None
    assert plans.find("pvc-u1") is None


def test_a_plan_that_another_move_took_the_place_of_is_nobodys(
    api: Api, plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other move began between our change and our look at it."""
    plans.create(PLAN)
    read = found(plans)
    patch = api.patch

    def then_another(path: str, body: Any) -> None:
        patch(path, body)
        written = json.loads(api.there[PATH]["data"]["move"])
        api.there[PATH]["data"]["move"] = json.dumps({**written, "id": "m2"})

    monkeypatch.setattr(api, "patch", then_another)

    assert plans.change(read, is_replacing=True) is None


def test_a_plan_of_an_older_flexvol_is_about_a_copy(api: Api, plans: Plans) -> None:
    plans.create(PLAN)
    written = json.loads(api.there[PATH]["data"]["move"])
    del written["carried"]
    api.there[PATH]["data"]["move"] = json.dumps(written)

    assert not found(plans).is_carried
