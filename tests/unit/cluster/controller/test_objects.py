"""Views over the API's JSON: an answer for each field that the API may leave out or send as
null."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller import objects
from cluster.controller.objects import Claim, ClaimReference, Node, Pod, StorageClass, Volume

ODD = [
    pytest.param({}, id="everything is absent"),
    pytest.param({"metadata": None, "spec": None, "status": None}, id="every part is null"),
    pytest.param({"metadata": [], "spec": "", "status": 7}, id="every part is of a wrong kind"),
]


@pytest.mark.parametrize("json", ODD)
@pytest.mark.parametrize("kind", [Claim, Volume, StorageClass, Node, Pod])
def test_an_object_that_lacks_everything_has_an_empty_answer_for_all_but_its_size(
    kind: type[objects.ApiObject], json: dict[str, Any]
) -> None:
    thing = kind.of(json)

    for name in dir(kind):
        if name in ("json", "requested_bytes") or not isinstance(getattr(kind, name), property):
            continue
        answer = getattr(thing, name)
        if name in ("full_name", "reclaim_policy", "takes_pods", "claim", "reference"):
            continue
        assert not answer, f"{name}: {answer!r}"


def test_an_object_that_is_not_there_has_no_view() -> None:
    nothing: dict[str, Any] | None = None

    assert Claim.of(nothing) is None


def test_what_every_object_has_is_read_from_its_metadata_and_its_status() -> None:
    claim = Claim.of({
        "metadata": {
            "namespace": "shop",
            "name": "data",
            "uid": "u1",
            "resourceVersion": "7",
            "annotations": {"a": "1"},
            "labels": {"l": "2"},
            "finalizers": ["f"],
            "ownerReferences": [{"uid": "o1"}],
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        },
        "status": {"phase": "Bound", "conditions": [{"type": "Resizing"}]},
    })  # fmt: skip

    assert claim.full_name == "shop/data"
    assert claim.reference == ClaimReference("shop", "data", "u1")
    assert claim.resource_version == "7"
    assert claim.annotation("a") == "1"
    assert claim.annotation("b") == ""
    assert claim.labels == {"l": "2"}
    assert claim.finalizers == ["f"]
    assert claim.owner_references == [{"uid": "o1"}]
    assert claim.is_being_deleted
    assert claim.is_bound
    assert claim.conditions == [{"type": "Resizing"}]


def test_a_trimmed_object_has_what_decisions_are_made_of_and_nothing_else() -> None:
    metadata = {
        "name": "data",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "7",
        "annotations": {"a": "1"},
        "deletionTimestamp": "2026-01-01T00:00:00Z",
    }
    whole = {
        "metadata": {**metadata, "managedFields": [], "labels": {}},
        "spec": {"volumeName": "pvc-u1"},
        "status": {"phase": "Bound"},
    }

    trimmed = Claim.of(whole).trimmed()

    assert trimmed == Claim.of({"metadata": metadata, "spec": {"volumeName": "pvc-u1"}})


def test_a_trimmed_node_says_the_same_and_has_nothing_that_changes_every_few_seconds() -> None:
    taint = {"key": "storage", "effect": "NoSchedule"}
    whole = Node({
        "metadata": {
            "name": "node1",
            "labels": {"kubernetes.io/hostname": "host"},
            "annotations": {"a": "1"},
            "resourceVersion": "7",
        },
        "spec": {"taints": [taint], "unschedulable": True, "podCIDR": "10.0.0.0/24"},
        "status": {"conditions": [{"type": "Ready"}]},
    })  # fmt: skip

    trimmed = whole.trimmed()

    for node in (whole, trimmed):
        assert node.name == "node1"
        assert node.labels == {"kubernetes.io/hostname": "host"}
        assert node.taints == [taint]
        assert node.is_cordoned
    assert trimmed.json == {
        "metadata": {"name": "node1", "labels": {"kubernetes.io/hostname": "host"}},
        "spec": {"taints": [taint], "unschedulable": True},
    }


@pytest.mark.parametrize(
    ("reference", "names"),
    [
        pytest.param(
            {"namespace": "shop", "name": "data", "uid": "u1"},
            ("shop", "data", "u1"),
            id="a claimRef with all parts",
        ),
        pytest.param(
            {"namespace": "shop", "name": "data"}, ("shop", "data", ""), id="a claimRef without uid"
        ),
        pytest.param(None, ("", "", ""), id="a claimRef that is null"),
        pytest.param("shop/data", ("", "", ""), id="an owner that is no object"),
        pytest.param({"namespace": 1, "name": None}, ("", "", ""), id="parts that are no strings"),
    ],
)
def test_a_reference_names_a_claim_as_far_as_it_says(
    reference: object, names: tuple[str, str, str]
) -> None:
    assert ClaimReference.of(reference) == ClaimReference(*names)


def annotated(**annotations: str) -> Claim:
    return Claim.of({"metadata": {"annotations": annotations}})


def test_the_provisioner_of_a_claim_is_in_the_newer_annotation_or_in_the_older() -> None:
    newer, older = objects.PROVISIONER

    assert annotated(**{newer: "a", older: "b"}).provisioner == "a"
    assert annotated(**{newer: "", older: "b"}).provisioner == "b"


def test_the_class_of_a_claim_is_in_the_older_annotation_or_in_its_spec() -> None:
    spec = {"storageClassName": "fast"}

    assert Claim.of({"metadata": {}, "spec": spec}).class_name == "fast"
    noted = {"metadata": {"annotations": {objects.CLASS: "slow"}}, "spec": spec}
    assert Claim.of(noted).class_name == "slow"


@pytest.mark.parametrize(
    ("quantity", "size_bytes"),
    [
        pytest.param("1Gi", 1 << 30, id="a whole number of bytes"),
        pytest.param("0.1Gi", 107374183, id="a fraction of a byte, which is rounded up"),
    ],
)
def test_what_a_claim_asks_for_is_in_bytes(quantity: str, size_bytes: int) -> None:
    claim = Claim.of({"spec": {"resources": {"requests": {"storage": quantity}}}})

    assert claim.requested_bytes == size_bytes


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param({"storage": "1e999999999"}, id="more than any disk has"),
        pytest.param({}, id="no size"),
        pytest.param(None, id="null"),
    ],
)
def test_a_claim_that_asks_for_no_size_is_refused(requests: Any) -> None:
    with pytest.raises(ValueError):
        _ = Claim.of({"spec": {"resources": {"requests": requests}}}).requested_bytes


OF_CLAIM = {"kind": "PersistentVolumeClaim", "name": "other"}
OF_SNAPSHOT = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}
OF_OTHERS = {"apiGroup": "example.org", "kind": "Backup", "name": "b"}


@pytest.mark.parametrize(
    ("source", "snapshot", "is_copy", "is_populated"),
    [
        pytest.param(None, "", False, False, id="a claim of an empty volume"),
        pytest.param(OF_CLAIM, "", True, False, id="a claim that copies another"),
        pytest.param(None, "before", True, False, id="a claim that begins with our snapshot"),
        pytest.param(OF_SNAPSHOT, "", True, False, id="a claim that names a snapshot of CSI"),
        pytest.param(OF_OTHERS, "", False, True, id="a claim for a volume populator"),
        pytest.param(
            OF_OTHERS, "before", True, False, id="a claim that names a populator and a snapshot"
        ),
    ],
)
def test_a_claim_is_a_copy_or_populated_by_what_it_names(
    source: Any, snapshot: str, is_copy: bool, is_populated: bool
) -> None:
    claim = Claim.of({
        "metadata": {"annotations": {objects.FROM_SNAPSHOT: snapshot}},
        "spec": {"dataSource": {"name": "not this"} if source else None, "dataSourceRef": source},
    })  # fmt: skip

    assert (claim.is_copy, claim.is_populated) == (is_copy, is_populated)
    assert claim.data_source == (source or {})


def test_a_claim_of_an_older_api_server_has_its_source_in_the_older_field() -> None:
    assert Claim.of({"spec": {"dataSource": OF_CLAIM}}).data_source == OF_CLAIM


def test_a_volume_tells_of_its_claim_its_driver_and_its_pool() -> None:
    volume = Volume.of({
        "metadata": {
            "name": "pvc-u1",
            "annotations": {
                objects.PROVISIONED_BY: "loop.flexvol",
                objects.IDENTITY: "node1",
                objects.LOST: "replaced",
                objects.AWAITS_CLAIM: "true",
            },
            "finalizers": [objects.FINALIZER],
        },
        "spec": {
            "claimRef": {"namespace": "shop", "name": "data", "uid": "u1"},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": "fast",
            "capacity": {"storage": "1Gi"},
            "flexVolume": {
                "driver": "flexvol/loop",
                "options": {"pool": "disk2", "poolId": "ab"},
            },
            "nodeAffinity": objects.node_affinity("host-1"),
        },
    })  # fmt: skip

    assert volume.full_name == "shop/data"
    assert volume.claim == ClaimReference("shop", "data", "u1")
    assert volume.provisioner == "loop.flexvol"
    assert volume.identity == "node1"
    assert volume.lost_mark == "replaced"
    assert volume.awaits_claim
    assert volume.is_held
    assert volume.driver == "flexvol/loop"
    assert volume.pool_name == "disk2"
    assert volume.pool_id == "ab"
    assert volume.reclaim_policy == "Delete"
    assert volume.class_name == "fast"
    assert volume.capacity == "1Gi"
    assert volume.hostnames == {"host-1"}


def test_a_volume_whose_claim_was_taken_away_goes_by_its_own_name_and_keeps_its_storage() -> None:
    volume = Volume.of({"metadata": {"name": "pvc-u1"}, "spec": {"claimRef": None}})

    assert volume.full_name == "/pvc-u1"
    assert volume.claim == ClaimReference("", "", "")
    assert volume.reclaim_policy == "Retain"


def test_only_the_hostnames_that_an_affinity_asks_for_count() -> None:
    parts = [
        {"key": objects.HOSTNAME, "operator": "In", "values": ["a", "b"]},
        {"key": objects.HOSTNAME, "operator": "NotIn", "values": ["c"]},
        {"key": "zone", "operator": "In", "values": ["d"]},
    ]
    terms = [{"matchExpressions": parts}, {"matchExpressions": None}, {}]
    affinity = {"required": {"nodeSelectorTerms": terms}}

    assert Volume.of({"spec": {"nodeAffinity": affinity}}).hostnames == {"a", "b"}


def test_a_class_is_late_if_its_claims_wait_for_a_pod_and_deletes_if_nothing_is_said() -> None:
    late = StorageClass.of({
        "provisioner": "loop.flexvol",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Retain",
        "parameters": {"pool": "disk2"},
        "mountOptions": ["noatime"],
        "allowedTopologies": [{}],
    })  # fmt: skip
    at_once = StorageClass.of({"volumeBindingMode": "Immediate"})

    assert late.is_late
    assert late.provisioner == "loop.flexvol"
    assert late.reclaim_policy == "Retain"
    assert late.parameters == {"pool": "disk2"}
    assert late.mount_options == ["noatime"]
    assert late.allowed_topologies == [{}]
    assert not at_once.is_late
    assert at_once.reclaim_policy == "Delete"


@pytest.mark.parametrize(
    ("spec", "takes_pods"),
    [
        pytest.param({}, True, id="a node like any other"),
        pytest.param({"unschedulable": True}, False, id="a node that is cordoned"),
        pytest.param({"taints": [{"effect": "NoSchedule"}]}, False, id="a control-plane node"),
        pytest.param({"taints": [{"effect": "NoExecute"}]}, False, id="a node without network"),
        pytest.param(
            {"taints": [{"effect": "PreferNoSchedule"}]}, True, id="a node that is taken last"
        ),
        pytest.param({"taints": None}, True, id="a node whose taints are null"),
    ],
)
def test_pods_can_go_to_a_node_that_is_open_and_without_taints(
    spec: dict[str, Any], takes_pods: bool
) -> None:
    assert Node.of({"spec": spec}).takes_pods == takes_pods


def test_a_node_is_named_by_its_hostname_label() -> None:
    assert Node.of({"metadata": {"labels": {objects.HOSTNAME: "host-1"}}}).hostname == "host-1"


def test_a_pod_uses_the_claims_it_names_and_those_made_for_it() -> None:
    volumes = [
        {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "b", "ephemeral": {}},
        {"name": "c", "emptyDir": {}},
    ]

    pod = Pod.of({"metadata": {"name": "web"}, "spec": {"nodeName": "node1", "volumes": volumes}})

    assert pod.claim_names == ["data", "web-b"]
    assert pod.node_name == "node1"


@pytest.mark.parametrize(
    ("status", "runs"),
    [
        pytest.param({}, False, id="a pod of which kubelet has said nothing"),
        pytest.param({"containerStatuses": [{"state": None}]}, False, id="a container's state"),
        pytest.param({"containerStatuses": [{"state": {"waiting": {}}}]}, False, id="it waits"),
        pytest.param({"containerStatuses": [{"state": {"running": {}}}]}, True, id="it runs"),
        pytest.param(
            {"initContainerStatuses": [{"state": {"running": {}}}], "containerStatuses": None},
            True,
            id="a container runs that runs before the others",
        ),
    ],
)
def test_a_pod_runs_if_one_of_its_containers_does(status: dict[str, Any], runs: bool) -> None:
    assert Pod.of({"status": status}).runs == runs


def test_a_pod_has_ended_in_two_phases() -> None:
    phases = ("Pending", "Running", "Succeeded", "Failed")
    ended = [phase for phase in phases if Pod.of({"status": {"phase": phase}}).has_ended]

    assert ended == ["Succeeded", "Failed"]
