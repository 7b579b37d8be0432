"""Whatever a driver answers, or does not: it is bounded, said, and tried again as the kind of
failure asks for, and in the end there is one PV. The driver, tests/drivers/scripted, fails as each
test says, on a real control plane."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.cluster.kube.cluster import SERVER, Cluster
from tests.cluster.namespaces import Kubernetes, own_namespace
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
from tests.cluster.processes import processes
from tests.cluster.proxy import Proxy
from tests.waiting import wait_until

CLASS = "scripted.outcomes"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
# What the driver answers to the first call -> the words of the event; the second call succeeds.
FAILURES = {
    "Busy": "Busy: as the script says",
    "NotFound": "NotFound: as the script says",
    "Internal": "Internal: as the script says",
    "unknown": "Internal: as the script says",
    "made Internal": "Internal: as the script says",
    "Nonsense": "Internal: as the script says",
    "garbage": "Internal: provision: the driver's output is not one JSON object",
    "silent": "Internal: provision: the driver's output is not one JSON object",
    "crash": "Internal: provision: the driver's output is not one JSON object",
    "status": "Internal: provision: driver bug: status 1 but Success in its reply",
}


@pytest.fixture(scope="module")
def provisioner(cluster: Cluster) -> Iterator[OwnProvisioner]:
    with Proxy(SERVER, account(cluster), AUTHORITY) as proxy:
        provisioner = OwnProvisioner(
            cluster, "outcomes", proxy.url, "outcomes/scripted", "--node=node1"
        )
        provisioner.install(ROOT / "tests/drivers/scripted")
        default = Kubernetes(cluster, "default")
        default.apply(storage_class("outcomes/scripted"))
        with provisioner:
            yield provisioner
            assert provisioner.alive(), provisioner.log()
            assert provisioner.count("bug while") == 0, provisioner.log()
        default.delete("storageclass", CLASS)


@pytest.fixture(scope="module")
def k8s(cluster: Cluster, provisioner: OwnProvisioner) -> Iterator[Kubernetes]:
    """One for all tests here; each test's claims have names of their own."""
    with own_namespace(cluster) as k8s:
        yield k8s


@pytest.fixture
def driver(provisioner: OwnProvisioner, k8s: Kubernetes) -> Iterator[ScriptedDriver]:
    driver = ScriptedDriver(provisioner.plugins / "outcomes~scripted/scripted")
    driver.forget()
    yield driver
    delete_claims(k8s)


def test_each_failure_is_said_and_tried_again(driver: ScriptedDriver, k8s: Kubernetes) -> None:
    names = {answer: answer.lower().replace(" ", "-") for answer in FAILURES}
    for answer, name in names.items():
        driver.will_answer(name, answer)
    k8s.apply(*(claim(name, CLASS) for name in names.values()))

    found = bound(k8s, *names.values())
    for answer, name in names.items():
        k8s.event(
            name,
            "ProvisioningFailed",
            f'failed to provision volume with StorageClass "{CLASS}": ',
        )
        k8s.event(name, "ProvisioningFailed", FAILURES[answer])
        assert [call[3] for call in driver.calls(name)] == [answer, "success"]
        assert driver.made().count(found[name]) == 1
    assert driver.volumes() == set(found.values())


def test_what_can_never_succeed_is_tried_again_when_the_claim_or_its_class_changes(
    driver: ScriptedDriver, k8s: Kubernetes
) -> None:
    """Before that, only slowly: while another claim fails twice and is tried again, these are
    not."""
    for name in ("claim-changes", "class-changes"):
        driver.will_answer(name, "InvalidArgument")
    driver.will_answer("another", "Busy", "Busy")
    k8s.apply(*(claim(name, CLASS) for name in ("claim-changes", "class-changes", "another")))
    bound(k8s, "another")
    for name in ("claim-changes", "class-changes"):
        k8s.event(name, "ProvisioningFailed", "InvalidArgument: as the script says")
        assert len(driver.calls(name)) == 1

    k8s.run("annotate", "pvc", "claim-changes", "something=else")
    bound(k8s, "claim-changes")
    assert len(driver.calls("class-changes")) == 1
    k8s.run("annotate", "storageclass", CLASS, "something=else", "--overwrite")
    bound(k8s, "class-changes")
    assert len(driver.calls("class-changes")) == 2


def test_what_is_pending_is_called_again_soon_and_without_a_warning(
    driver: ScriptedDriver, k8s: Kubernetes
) -> None:
    driver.will_answer("copy", *["made Pending"] * 5)
    began = time.monotonic()
    k8s.apply(claim("copy", CLASS))

    found = bound(k8s, "copy")

    assert time.monotonic() - began < 15  # with backoff it would be 31 s
    assert [call[3] for call in driver.calls("copy")] == ["made Pending"] * 5 + ["success"]
    assert events(k8s, "copy", "ProvisioningFailed") == []
    assert driver.made().count(found["copy"]) == 1


@pytest.mark.parametrize("reason", ["ResourceExhausted", "Unavailable"])
def test_where_nothing_was_begun_the_node_is_given_back(
    driver: ScriptedDriver, k8s: Kubernetes, reason: str
) -> None:
    name = reason.lower()
    driver.will_answer(name, reason)
    k8s.apply(claim(name, CLASS))

    def notes() -> dict[str, str]:
        annotations: dict[str, str] = k8s.find("pvc", name)["metadata"]["annotations"]
        return annotations

    wait_until("the node is given back", lambda: SELECTED_NODE not in notes())
    k8s.event(name, "ProvisioningFailed", f"{reason}: as the script says")
    assert len(driver.calls(name)) == 1

    # The scheduler chose again.
    k8s.run("annotate", "pvc", name, f"{SELECTED_NODE}=node1")
    bound(k8s, name)


def test_a_driver_that_is_away_keeps_no_claim_on_its_node(
    driver: ScriptedDriver, provisioner: OwnProvisioner, k8s: Kubernetes
) -> None:
    """It cannot be asked what room there is, either."""
    executable = provisioner.plugins / "outcomes~scripted/scripted"
    executable.chmod(0o644)
    try:
        k8s.apply(claim("away", CLASS))
        k8s.event(
            "away",
            "ProvisioningFailed",
            "Unavailable: the driver outcomes/scripted is not installed",
        )
        wait_until(
            "the node is given back",
            lambda: SELECTED_NODE not in k8s.find("pvc", "away")["metadata"].get("annotations", {}),
        )
    finally:
        executable.chmod(0o755)

    k8s.run("annotate", "pvc", "away", f"{SELECTED_NODE}=node1")
    bound(k8s, "away")


def test_a_driver_that_hangs_holds_up_no_other_claim_and_is_called_again_once_it_is_dead(
    driver: ScriptedDriver, k8s: Kubernetes
) -> None:
    """After its limit, 600 s, the provisioner kills it
    (tests/unit/shared/test_process.py); here the test does that."""
    driver.will_answer("hangs", "hang")
    k8s.apply(claim("hangs", CLASS))
    wait_until("it hangs", lambda: driver.calls("hangs"))
    others = [f"other-{number}" for number in range(6)]
    k8s.apply(*(claim(name, CLASS) for name in others))
    bound(k8s, *others)
    assert len(driver.calls("hangs")) == 1

    for pid in hanging():
        os.kill(pid, signal.SIGKILL)

    bound(k8s, "hangs")
    k8s.event(
        "hangs",
        "ProvisioningFailed",
        "Internal: provision: the driver's output is not one JSON object",
    )
    assert [call[3] for call in driver.calls("hangs")] == ["hang", "success"]


def test_a_claim_deleted_after_an_unknown_outcome_leaves_no_volume(
    driver: ScriptedDriver, k8s: Kubernetes
) -> None:
    """The volume was made, and the answer lost: nobody but the provisioner remembers it."""
    driver.will_answer("deleted", "made crash", "made crash")
    k8s.apply(claim("deleted", CLASS))
    wait_until("it was made", lambda: driver.volumes())

    k8s.delete("pvc", "deleted")

    wait_until("it is deleted again", lambda: not driver.volumes())
    assert len(driver.made()) == len(set(driver.made()))


def test_a_volume_that_cannot_be_deleted_is_said_on_its_pv_and_tried_again(
    driver: ScriptedDriver, k8s: Kubernetes
) -> None:
    names = {
        "Busy": "Busy: as",
        "garbage": "Internal: delete: the driver",
        "crash": "Internal: delete: the driver",
    }
    for answer in names:
        driver.will_answer(f"delete-{answer.lower()}", answer, callout="delete")
    driver.will_answer("delete-pending", "Pending", "Pending", callout="delete")
    claims = [*(f"delete-{answer.lower()}" for answer in names), "delete-pending"]
    k8s.apply(*(claim(name, CLASS) for name in claims))
    found = bound(k8s, *claims)

    k8s.delete("pvc", *claims)

    wait_until("the volumes are gone", lambda: not driver.volumes(), 30)
    wait_until(
        "the PVs are gone",
        lambda: not any(k8s.get("pv", name) for name in found.values()),
    )
    default = Kubernetes(k8s.cluster, "default")
    for answer, words in names.items():
        default.event(found[f"delete-{answer.lower()}"], "VolumeFailedDelete", words)
        assert len(driver.calls(f"delete-{answer.lower()}", "delete")) == 2
    assert events(default, found["delete-pending"], "VolumeFailedDelete") == []
    assert len(driver.calls("delete-pending", "delete")) == 3


def test_a_class_that_is_created_after_its_claim(driver: ScriptedDriver, k8s: Kubernetes) -> None:
    """Nobody wrote the provisioner on such a claim yet; here one did, so that it is ours to
    explain."""
    later = f"later-{k8s.namespace}"
    waiting = claim("late", later)
    waiting["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"] = CLASS
    k8s.apply(waiting)
    k8s.event("late", "ProvisioningFailed", f'its storage class "{later}" does not exist')
    assert driver.calls("late") == []

    k8s.apply(storage_class("outcomes/scripted", metadata={"name": later}))

    bound(k8s, "late")
    k8s.delete("storageclass", later)


def hanging() -> list[int]:
    """The processes of the driver, as numbered here: it runs in a process namespace of its own."""
    return list(processes("outcomes~scripted/scripted", "provision"))
