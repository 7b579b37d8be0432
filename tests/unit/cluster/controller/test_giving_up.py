"""How a PV whose storage is lost is given up: what is changed, and in which order."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cluster.controller import cluster, lost_storage, objects
from cluster.controller.lost_storage import BY_PERSON
from tests.unit.cluster.controller.objects import DRIVERS, OWNER, volume_of_node

NAME = "pvc-u1"
PV = "/api/v1/persistentvolumes/pvc-u1"
CLAIM = "/api/v1/namespaces/shop/persistentvolumeclaims/data"
NODE = "/api/v1/nodes/node1"
PODS = "/api/v1/namespaces/shop/pods"
REPLACED = "pool default of the node was replaced"


def pod(name: str, claim: str = "data", runs: bool = False) -> dict[str, Any]:
    state: dict[str, Any] = {"running": {}} if runs else {"waiting": {}}
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": f"uid-of-{name}"},
        "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]},
        "status": {"containerStatuses": [{"state": state}]},
    }


class Api:
    """The PV, its claim, its node if that is there, and the pods of the namespace.

    is_in_use: whether kubelet still keeps the claim that is deleted.
    refused: the status with which evictions are refused.
    done: the changes, in their order."""

    def __init__(self, mark: str = "", node_exists: bool = False, pods: Any = ()) -> None:
        volume = volume_of_node(mark)
        volume["metadata"].update(
            resourceVersion="7", finalizers=["kubernetes.io/pv-protection", objects.FINALIZER]
        )
        self.objects: dict[str, Any] = {
            PV: volume,
            CLAIM: {"metadata": dict(OWNER), "spec": {"volumeName": NAME}},
            PODS: {"items": list(pods)},
        }
        if node_exists:
            self.objects[NODE] = {"metadata": {"name": "node1"}}
        self.is_in_use = False
        self.refused = 0
        self.done: list[str] = []

    def get(self, path: str) -> Any:
        assert path in (PV, NODE, PODS)
        return copy.deepcopy(self.objects.get(path))

    def claim(self, reference: dict[str, Any]) -> Any:
        found = self.objects.get(CLAIM)
        return found if reference["uid"] == "u1" else None

    def patch(self, path: str, change: dict[str, Any]) -> None:
        assert path == PV
        assert change == {
            "metadata": {"finalizers": ["kubernetes.io/pv-protection"], "resourceVersion": "7"},
            "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        }
        self.done.append("the PV keeps its storage")

    def delete(self, path: str, uid: str) -> None:
        assert uid == self.objects[path]["metadata"]["uid"]
        self.done.append({PV: "the PV is deleted", CLAIM: "the claim is deleted"}[path])
        if path == PV or not self.is_in_use:
            del self.objects[path]

    def create(self, path: str, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        assert path == f"{PODS}/{name}/eviction"
        assert body == {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"namespace": "shop", "name": name},
            "deleteOptions": {"preconditions": {"uid": f"uid-of-{name}"}},
        }
        if self.refused:
            raise cluster.Refused(self.refused, "not now")
        self.done.append(f"{name} is evicted")


def release(api: Any) -> str:
    return lost_storage.release(api, NAME, DRIVERS, BY_PERSON)


def test_the_storage_is_kept_first_then_the_claim_goes_and_the_pv_last() -> None:
    api = Api()

    assert release(api) == ""

    assert api.done == ["the PV keeps its storage", "the claim is deleted", "the PV is deleted"]


def test_a_claim_that_is_in_use_is_waited_for_and_its_pv_stays() -> None:
    api = Api()
    api.is_in_use = True

    assert "the claim shop/data is deleted when no pod uses it any more" in release(api)

    assert api.done == ["the PV keeps its storage", "the claim is deleted"]


def test_pods_that_cannot_start_are_evicted_and_others_are_left() -> None:
    api = Api(REPLACED, True, [pod("web-0"), pod("other", claim="more", runs=True)])

    assert release(api) == ""

    assert api.done == [
        "the PV keeps its storage",
        "the claim is deleted",
        "web-0 is evicted",
        "the PV is deleted",
    ]


def test_a_pod_that_runs_is_a_persons_to_delete_and_nothing_is_changed() -> None:
    api = Api(REPLACED, True, [pod("web-0"), pod("web-1", runs=True)])

    assert "the pod web-1 still runs with it" in release(api)

    assert api.done == []


def test_no_pod_runs_on_a_node_that_is_gone_whatever_it_says() -> None:
    api = Api(pods=[pod("web-0", runs=True)])

    assert release(api) == ""

    assert api.done == ["the PV keeps its storage", "the claim is deleted", "the PV is deleted"]


def test_a_claim_that_has_another_pv_is_left() -> None:
    api = Api()
    api.objects[CLAIM]["spec"]["volumeName"] = "pvc-u2"

    assert release(api) == ""

    assert api.done == ["the PV keeps its storage", "the PV is deleted"]


def test_a_pv_whose_claim_is_gone_goes_too() -> None:
    api = Api()
    del api.objects[CLAIM]

    assert release(api) == ""

    assert api.done == ["the PV keeps its storage", "the PV is deleted"]


def test_a_pv_that_is_gone_is_given_up_already() -> None:
    api = Api()
    del api.objects[PV]

    assert release(api) == ""

    assert api.done == []


def test_a_pv_that_is_not_lost_stays_as_it_is() -> None:
    api = Api(node_exists=True)

    with pytest.raises(lost_storage.NotLost, match="its node node1 exists"):
        release(api)

    assert api.done == []


def test_a_pv_of_another_provisioner_stays_as_it_is() -> None:
    api = Api()
    api.objects[PV]["metadata"]["annotations"][objects.PROVISIONED_BY] = "other"

    with pytest.raises(lost_storage.NotLost, match="no node's provisioner of flexvol/loop made it"):
        release(api)

    assert api.done == []


@pytest.mark.parametrize(
    ("status", "goes_on"),
    [
        pytest.param(404, True, id="the pod is gone"),
        pytest.param(409, True, id="another pod has its name"),
        pytest.param(429, True, id="a disruption budget does not allow it now"),
        pytest.param(403, False, id="this account may not evict"),
    ],
)
def test_an_eviction_that_is_refused(status: int, goes_on: bool) -> None:
    api = Api(REPLACED, True, [pod("web-0")])
    api.refused = status

    if goes_on:
        assert release(api) == ""
        assert api.done[-1] == "the PV is deleted"
    else:
        with pytest.raises(cluster.Refused, match="not now"):
            release(api)
        assert "the PV is deleted" not in api.done
