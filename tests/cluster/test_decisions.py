"""The reference library's rules, row by row, against a real API server: which claims are served,
refused, left alone, what becomes of an attempt, and which PVs are deleted.
tests/unit/cluster/controller/test_decide.py has the same rows as pure functions.

Each test makes its rows all at once, and an honest one last: when that one is done, the others have
been looked at."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.kube.cluster import SERVER, Cluster
from tests.cluster.namespaces import Kubernetes, Object, own_namespace
from tests.cluster.own_provisioner import (
    AUTHORITY,
    ROOT,
    OwnProvisioner,
    ScriptedDriver,
    account,
    bound,
    claim,
    delete_claims,
    events,
    storage_class,
)
from tests.cluster.proxy import Proxy
from tests.waiting import wait_until

CLASS = "scripted.decisions"  # the provisioner's name, too
ELSEWHERE = "elsewhere.decisions"
ANOTHER = "another.example/disk"  # the class of another provisioner
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
VOLUMES = "/api/v1/persistentvolumes"
GIVEN_TO = "volume.kubernetes.io/storage-provisioner"
ONCE_GIVEN_TO = "volume.beta.kubernetes.io/storage-provisioner"
CLASS_NOTE = "volume.beta.kubernetes.io/storage-class"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
OURS = {"pv.kubernetes.io/provisioned-by": CLASS, "flexvol/identity": "node1"}
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"
HELD = "tests.example/held"  # nobody else's finalizer
NOBODY = "00000000-1111-4222-8333-444444444444"


@pytest.fixture(scope="module")
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    with Proxy(SERVER, account(cluster), AUTHORITY) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def provisioner(cluster: Cluster, proxy: Proxy) -> Iterator[OwnProvisioner]:
    provisioner = OwnProvisioner(
        cluster, "decisions", proxy.url, "decisions/scripted", "--node=node1"
    )
    provisioner.install(ROOT / "tests/drivers/scripted")
    default = Kubernetes(cluster, "default")
    default.apply(
        storage_class("decisions/scripted"),
        own_class(ELSEWHERE, provisioner=ANOTHER),
    )
    with provisioner:
        yield provisioner
        assert provisioner.alive(), provisioner.log()
        assert provisioner.count("bug while") == 0, provisioner.log()
    default.delete("storageclass", CLASS, ELSEWHERE)


@pytest.fixture(scope="module")
def k8s(cluster: Cluster, provisioner: OwnProvisioner) -> Iterator[Kubernetes]:
    """One for all tests here; each test's claims have names of their own."""
    with own_namespace(cluster) as k8s:
        yield k8s


@pytest.fixture
def driver(provisioner: OwnProvisioner, proxy: Proxy, k8s: Kubernetes) -> Iterator[ScriptedDriver]:
    driver = ScriptedDriver(provisioner.plugins / "decisions~scripted/scripted")
    driver.forget()
    yield driver
    proxy.rule = lambda method, path, number: None
    delete_claims(k8s)


def own_class(name: str, **changes: object) -> Object:
    return storage_class("decisions/scripted", metadata={"name": name}, **changes)


def row(name: str, notes: dict[str, str] | None = None, node: str = "node1", **spec: Any) -> Object:
    """A claim of our class, but as the row says; None takes a part of its spec away."""
    made = claim(name, CLASS, node)
    made["metadata"]["annotations"].update(notes or {})
    made["spec"] = {
        key: value for key, value in {**made["spec"], **spec}.items() if value is not None
    }
    return made


def said(k8s: Kubernetes, about: str) -> list[tuple[str, int]]:
    """What our provisioner told of a claim, and how many times."""
    found = k8s.all("events", fields=f"involvedObject.name={about}")
    return [
        (one["message"], one["count"])
        for one in found
        if one["source"].get("component") == f"{CLASS} node1"
    ]


def notes_of(k8s: Kubernetes, claim: str) -> dict[str, str]:
    return k8s.find("pvc", claim)["metadata"].get("annotations") or {}


def is_given_back(k8s: Kubernetes, claim: str) -> bool:
    return SELECTED_NODE not in notes_of(k8s, claim)


@contextlib.contextmanager
def without_controller_manager(cluster: Cluster) -> Iterator[None]:
    """It would write its own word on claims and PVs."""
    cluster.kill("kube-controller-manager")
    try:
        yield
    finally:
        cluster.start("kube-controller-manager")


LEFT_ALONE = {
    "of-another": row("of-another", storageClassName=ELSEWHERE),
    "given-to-another": row(
        "given-to-another",
        {GIVEN_TO: ANOTHER, ONCE_GIVEN_TO: CLASS},
        storageClassName=ELSEWHERE,
    ),
    "pre-bound": row("pre-bound", {GIVEN_TO: CLASS}, volumeName="no-such-volume"),
    "late": row("late", {GIVEN_TO: CLASS}, node=""),
    "of-another-node": row("of-another-node", {GIVEN_TO: CLASS}, node="node2"),
}
SNAPSHOT = {
    "apiGroup": "snapshot.storage.k8s.io",
    "kind": "VolumeSnapshot",
    "name": "yesterday",
}
POPULATOR = {"apiGroup": "populators.example", "kind": "Image", "name": "debian"}
POPULATED = row("populated", dataSourceRef=POPULATOR)
REFUSED = {  # what of the claim -> words of the one event
    "block": (row("block", volumeMode="Block"), "volumeMode Block"),
    "read-only-many": (
        row("read-only-many", accessModes=["ReadOnlyMany"]),
        "access mode ReadOnlyMany",
    ),
    "snapshot": (row("snapshot", dataSource=SNAPSHOT), "dataSource"),
    "attributes": (
        row("attributes", volumeAttributesClassName="gold"),
        "volumeAttributesClassName",
    ),
    "class-is-empty": (
        row("class-is-empty", {GIVEN_TO: CLASS}, storageClassName=""),
        "names no storage class",
    ),
    "no-class": (
        row("no-class", {GIVEN_TO: CLASS}, storageClassName=None),
        "names no storage class",
    ),
}
SERVED = {
    "by-the-older-class-note": row(
        "by-the-older-class-note", {CLASS_NOTE: CLASS}, storageClassName=ELSEWHERE
    ),
    "selector-without-words": row("selector-without-words", selector={}),
    "honest": row("honest"),
}


def test_which_claims_are_served_refused_or_left_alone(
    driver: ScriptedDriver, k8s: Kubernetes
) -> None:
    going = row("going", {GIVEN_TO: CLASS}, node="")
    going["metadata"]["finalizers"] = [HELD]
    k8s.apply(going)
    k8s.run("delete", "pvc", "going", "--wait=false")
    k8s.run("annotate", "pvc", "going", f"{SELECTED_NODE}=node1")
    refused = [claim for claim, _ in REFUSED.values()]
    k8s.apply(*LEFT_ALONE.values(), POPULATED, *refused, *SERVED.values())

    found = bound(k8s, *SERVED)
    for name, (_, words) in REFUSED.items():
        k8s.event(name, "ProvisioningFailed", words)
        ((sentence, count),) = said(k8s, name)
        assert (words in sentence, count) == (True, 1), name
    for name in [*LEFT_ALONE, "going"]:
        assert said(k8s, name) == [], name
    told = "Assuming an external populator will provision the volume"
    k8s.event("populated", "Provisioning", told)
    assert said(k8s, "populated") == [(told, 1)]
    not_made = (*LEFT_ALONE, "going", "populated", *REFUSED)
    assert {name for name in not_made if driver.calls(name)} == set()
    assert driver.volumes() == set(found.values())
    by_note = k8s.get("pv", found["by-the-older-class-note"]) or {}
    assert by_note["spec"]["storageClassName"] == CLASS
    k8s.run("patch", "pvc", "going", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')


def test_what_the_controller_manager_would_soon_write_anew(
    driver: ScriptedDriver, k8s: Kubernetes
) -> None:
    """The provisioner's older note alone; a class that went to another provisioner after the claim
    had been given to us; a PV without a phase, which is Released as soon as somebody has looked at
    it. A PV whose deletion failed before is as good as released."""
    pending = forge(k8s, "phase-pending")
    failed = forge(k8s, "phase-failed")
    failed_name = failed["metadata"]["name"]
    with without_controller_manager(k8s.cluster):
        k8s.apply(
            pending,
            failed,
            row("class-went", {GIVEN_TO: CLASS}, storageClassName=ELSEWHERE),
            row("older-note", {ONCE_GIVEN_TO: CLASS}),
        )
        change = '{"status": {"phase": "Failed"}}'
        k8s.run("patch", "pv", failed_name, "--subresource=status", "--type=merge", "-p", change)
        uid = k8s.uid("pvc", "older-note")
        wait_until("it is made", lambda: k8s.get("pv", f"pvc-{uid}"))
        words = f"is of provisioner {ANOTHER} now, but the claim was given to {CLASS}"
        k8s.event("class-went", "ProvisioningFailed", words)
        assert k8s.find("pv", pending["metadata"]["name"])["status"]["phase"] == "Pending"
        assert driver.calls("phase-pending", "delete") == []
        wait_until(
            "its storage is deleted",
            lambda: driver.calls("phase-failed", "delete"),
        )

    bound(k8s, "older-note")
    k8s.until_gone("pv", pending["metadata"]["name"])
    assert len(driver.calls("phase-pending", "delete")) == 1
    assert driver.calls("class-went") == []
    k8s.until_gone("pv", failed_name)
    assert len(driver.calls("phase-failed", "delete")) == 1


def test_a_class_deleted_and_made_again_under_its_name_is_another(
    driver: ScriptedDriver, k8s: Kubernetes
) -> None:
    """As a class cannot be changed; what the driver refused, and what we refused, is tried again at
    once."""
    bad = f"bad-{k8s.namespace}"
    odd = f"odd-{k8s.namespace}"
    driver.will_answer("invalid", "InvalidArgument")
    k8s.apply(own_class(bad), own_class(odd, parameters={"requestBytes": "1"}))
    uids = [k8s.uid("storageclass", name) for name in (bad, odd)]
    k8s.apply(row("invalid", storageClassName=bad), row("reserved", storageClassName=odd))
    k8s.event("invalid", "ProvisioningFailed", "InvalidArgument: as the script says")
    k8s.event("reserved", "ProvisioningFailed", 'the parameter "requestBytes"')

    k8s.delete("storageclass", bad, odd)
    k8s.apply(own_class(bad), own_class(odd))

    assert not set(uids) & {k8s.uid("storageclass", name) for name in (bad, odd)}
    bound(k8s, "invalid", "reserved")
    assert [len(driver.calls(name)) for name in ("invalid", "reserved")] == [2, 1]
    k8s.delete("storageclass", bad, odd)


def test_what_becomes_of_an_attempt_that_failed(
    driver: ScriptedDriver, k8s: Kubernetes, proxy: Proxy
) -> None:
    """A driver that cannot at all; a copy under way whose claim goes; storage that may have been
    made before the driver had no room, and whose claim goes; a node that cannot be given back, as
    somebody else changed the claim."""
    refusals = iter([409])

    def rule(method: str, path: str, number: int) -> int | None:
        return (
            next(refusals, None)
            if method == "PATCH" and path.endswith("/persistentvolumeclaims/conflict")
            else None
        )

    proxy.rule = rule
    copying = ["made Pending"] * 4
    scripts = {
        "cannot": ["unsupported"],
        "copied": copying,
        "busy": ["Busy", "Busy"],
        "conflict": ["ResourceExhausted"],
        "exhausted": ["made unknown", "ResourceExhausted"],
        "unavailable": ["made unknown", "Unavailable"],
    }
    for name, script in scripts.items():
        driver.will_answer(name, *script)
    k8s.apply(*(row(name) for name in scripts))
    wait_until("the copy has begun", lambda: driver.calls("copied"))
    k8s.delete("pvc", "copied")
    # The deletion goes on when the claim is gone.
    assert len(driver.calls("copied")) <= len(copying)
    for name in ("exhausted", "unavailable"):
        wait_until("the node is given back", functools.partial(is_given_back, k8s, name))
        assert [call[3] for call in driver.calls(name)] == scripts[name]
    assert {"pvc-" + k8s.uid("pvc", name) for name in ("exhausted", "unavailable")} <= (
        driver.volumes()
    )
    k8s.delete("pvc", "exhausted", "unavailable")

    found = bound(k8s, "busy", "conflict")
    assert [call[3] for call in driver.calls("conflict")] == ["ResourceExhausted", "success"]
    assert next(refusals, None) is None
    wait_until(
        "nothing is left of the others",
        lambda: driver.volumes() == set(found.values()),
    )
    assert [call[3] for call in driver.calls("copied")] == [*copying, "success"]
    assert events(k8s, "copied", "ProvisioningFailed") == []
    assert len(driver.made()) == len(set(driver.made()))

    k8s.event("cannot", "ProvisioningFailed", "NotSupported: ")
    assert len(driver.calls("cannot")) == 1
    k8s.run("annotate", "pvc", "cannot", "something=else")
    bound(k8s, "cannot")


def test_a_pv_that_the_api_server_refuses(
    driver: ScriptedDriver, k8s: Kubernetes, proxy: Proxy
) -> None:
    """As there is one of that name for another claim, or for good. The storage waits, and goes with
    its claim."""
    k8s.apply(row("name-is-taken", node=""))
    name = "pvc-" + k8s.uid("pvc", "name-is-taken")
    anothers = forge(k8s, "somebody", {}, policy="Retain", finalizers=[])
    anothers["metadata"]["name"] = name
    k8s.apply(anothers)
    before = k8s.get("pv", name) or {}
    k8s.run("annotate", "pvc", "name-is-taken", f"{SELECTED_NODE}=node1")
    k8s.event("name-is-taken", "ProvisioningFailed", "the PersistentVolume was refused: ")
    there = k8s.get("pv", name) or {}
    assert (there["spec"], there["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])
    assert driver.volumes() == {name}

    k8s.run("delete", "pv", name)
    bound(k8s, "name-is-taken")
    assert driver.made() == [name]

    proxy.rule = lambda method, path, number: 422 if (method, path) == ("POST", VOLUMES) else None
    k8s.apply(row("given-up"), row("taken-later"))
    for name in ("given-up", "taken-later"):
        k8s.event(
            name,
            "ProvisioningFailed",
            "the PersistentVolume was refused: POST /api/v1/persistentvolumes: 422",
        )
    assert len(driver.volumes()) == 3
    k8s.delete("pvc", "given-up")
    wait_until("its volume goes with it", lambda: len(driver.volumes()) == 2)

    proxy.rule = lambda method, path, number: None
    found = bound(k8s, "name-is-taken", "taken-later")
    assert driver.volumes() == set(found.values())
    assert len(driver.made()) == 3


def forge(
    k8s: Kubernetes,
    claim: str,
    notes: dict[str, str] | None = None,
    policy: str = "Delete",
    finalizers: list[str] | None = None,
) -> Object:
    """A PV as ours are, of a claim that is gone; but as the row says."""
    term = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": f"{claim}-{k8s.namespace}",
            "annotations": OURS if notes is None else notes,
            "finalizers": [FINALIZER] if finalizers is None else finalizers,
        },
        "spec": {
            "capacity": {"storage": "32Mi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "forged.decisions",
            "persistentVolumeReclaimPolicy": policy,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": k8s.namespace,
                "name": claim,
                "uid": NOBODY,
            },
            "flexVolume": {"driver": "decisions/scripted", "options": {"export": "a"}},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
        },
    }


def edit(k8s: Kubernetes, volume: str, change: Object) -> None:
    k8s.run("patch", "pv", volume, "--type=merge", "-p", json.dumps(change))


def phase(k8s: Kubernetes, volume: str) -> str:
    return str(k8s.find("pv", volume).get("status", {}).get("phase", ""))


def finalizers_of(k8s: Kubernetes, volume: str) -> list[str]:
    return k8s.find("pv", volume)["metadata"].get("finalizers") or []


def test_which_pvs_are_deleted(driver: ScriptedDriver, k8s: Kubernetes) -> None:
    available = forge(k8s, "available")
    del available["spec"]["claimRef"]
    rows = {
        "without-notes": forge(k8s, "without-notes", {}, finalizers=[]),  # made by hand
        "without-identity": forge(
            k8s, "without-identity", {"pv.kubernetes.io/provisioned-by": CLASS}
        ),
        "recycled": forge(k8s, "recycled", policy="Recycle"),
        "available": available,
        "going": forge(k8s, "going", policy="Retain", finalizers=[HELD]),
        "honest": forge(k8s, "honest"),
    }
    names = {about: volume["metadata"]["name"] for about, volume in rows.items()}
    left = [about for about in rows if about != "honest"]
    k8s.apply(*(rows[about] for about in left))
    wait_until("it is released", lambda: phase(k8s, names["going"]) == "Released")
    k8s.run("delete", "pv", names["going"], "--wait=false")
    edit(k8s, names["going"], {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})
    wait_until(
        "nobody's claim has it",
        lambda: phase(k8s, names["available"]) == "Available",
    )
    wait_until(
        "all have their phase",
        lambda: all(phase(k8s, names[about]) != "Pending" for about in left),
    )

    k8s.apply(rows["honest"])

    k8s.until_gone("pv", names["honest"])
    assert len(driver.calls("honest", "delete")) == 1
    wait_until(
        "the recycled one is not held",
        lambda: FINALIZER not in finalizers_of(k8s, names["recycled"]),
    )
    calls = {about: driver.calls("" if about == "available" else about, "delete") for about in left}
    assert {about for about in left if calls[about] or not k8s.get("pv", names[about])} == set()
    for about in left:
        edit(k8s, names[about], {"metadata": {"finalizers": None}})
    k8s.run("delete", "pv", *(names[about] for about in left), "--ignore-not-found")


def test_a_policy_that_becomes_delete_and_a_driver_that_cannot_delete(
    driver: ScriptedDriver, k8s: Kubernetes
) -> None:
    kept = f"kept-{k8s.namespace}"
    driver.will_answer("stuck", "unsupported", callout="delete")
    driver.will_answer("busy", "Busy", "Busy", callout="delete")
    k8s.apply(own_class(kept, reclaimPolicy="Retain"))
    k8s.apply(row("changes", storageClassName=kept), row("stuck"), row("busy"))
    found = bound(k8s, "changes", "stuck", "busy")
    assert FINALIZER not in finalizers_of(k8s, found["changes"])

    edit(k8s, found["changes"], {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})
    wait_until("it is held", lambda: FINALIZER in finalizers_of(k8s, found["changes"]))
    k8s.delete("pvc", "changes", "stuck", "busy")

    wait_until(
        "two are gone",
        lambda: not any(k8s.get("pv", found[one]) for one in ("changes", "busy")),
    )
    assert driver.volumes() == {found["stuck"]}
    Kubernetes(k8s.cluster, "default").event(
        found["stuck"],
        "VolumeFailedDelete",
        "NotSupported: ",
    )
    assert len(driver.calls("stuck", "delete")) == 1
    edit(k8s, found["stuck"], {"metadata": {"annotations": {"something": "else"}}})
    k8s.until_gone("pv", found["stuck"])
    assert driver.volumes() == set()
    k8s.delete("storageclass", kept)


def test_a_class_that_is_younger_than_what_the_watch_has_told(
    driver: ScriptedDriver, k8s: Kubernetes, proxy: Proxy
) -> None:
    """The last test here: when the watches are there again, whatever waits is tried at once."""
    held: list[str] = []

    def rule(method: str, path: str, number: int) -> float | None:
        if not path.startswith(CLASSES + "?") or "watch=" not in path.lower():
            return None
        held.append(path)
        return 30.0

    proxy.rule = rule
    proxy.cut_all()
    wait_until("it hears no more of classes", lambda: held)
    young = f"young-{k8s.namespace}"
    k8s.apply(own_class(young), row("eager", storageClassName=young))

    bound(k8s, "eager", seconds=15)
    assert events(k8s, "eager", "ProvisioningFailed") == []
    proxy.rule = lambda method, path, number: None
    proxy.cut_all()
    k8s.delete("storageclass", young)
