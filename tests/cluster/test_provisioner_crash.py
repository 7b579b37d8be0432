"""SIGKILL of the provisioner at every API call and every driver call: afterwards a living claim has
exactly one PV and one Secret, and no volume or Secret is without an owner.

Each case kills once, starts the provisioner again without faults, and looks. With --campaign the
calls are taken one after the other until a run comes through; without it, those at which something
is half done."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.killed_provisioner import KilledProvisioner, beside
from tests.cluster.namespaces import Kubernetes, ours
from tests.waiting import wait_until

Arm = Callable[[KilledProvisioner], None]
Life = Callable[[KilledProvisioner, str, Arm], bool]


@pytest.fixture
def own(k8s: Kubernetes) -> Iterator[KilledProvisioner]:
    with beside(
        k8s, parameters={"createSecret": "true", "secretNamespace": "${pvc.namespace}"}
    ) as own:
        yield own


def request(when: str, words: str, resource: str = "") -> Arm:
    """The first that begins with these words, and has that resource."""
    return lambda own: own.proxy.arm(
        when, lambda number, line: line.startswith(words) and resource in line
    )


def numbered(when: str) -> Callable[[int], Arm]:
    return lambda n: lambda own: own.proxy.arm(when, lambda number, line: number == n)


def callout(when: str, name: str) -> Arm:
    return lambda own: own.kill_at_callout(when, callout=name)


def numbered_callout(when: str) -> Callable[[int], Arm]:
    return lambda n: lambda own: own.kill_at_callout(when, number=n)


def whole_life(own: KilledProvisioner, name: str, arm: Arm) -> bool:
    """A claim is made, bound, deleted; whether the provisioner was killed on the way."""
    k8s = own.k8s
    uid = own.claim(name)
    arm(own)
    own.start()

    def phase() -> str:
        return str(k8s.find("pvc", name)["status"].get("phase"))

    killed = own.until("the claim is bound", lambda: phase() == "Bound")
    assert [volume["metadata"]["name"] for volume in ours(k8s)] == [f"pvc-{uid}"]
    assert own.volumes() == {f"pvc-{uid}"}
    assert own.record(f"pvc-{uid}")["owner"]["uid"] == uid
    assert len(k8s.all("secrets")) == 1

    k8s.run("delete", "pvc", name, "--wait=false")
    killed |= own.until(
        "PV, volume and Secret are gone", lambda: not ours(k8s) and _nothing_left(own)
    )
    _end(own)
    return killed


def claim_deleted_meanwhile(own: KilledProvisioner, name: str, arm: Arm) -> bool:
    """The claim is deleted while a slow driver makes its volume; whether the provisioner was killed
    after that."""
    k8s = own.k8s
    own.hold()
    own.claim(name)
    own.start()
    own.until("the driver is at work", own.holds)
    k8s.delete("pvc", name)
    arm(own)
    made = len(own.called())
    own.release()

    killed = own.until(
        "the driver was told to delete it",
        lambda: "delete" in own.called()[made:],
    )
    killed |= own.until("nothing is left", lambda: _nothing_left(own))
    assert ours(k8s) == []
    _end(own)
    return killed


def _nothing_left(own: KilledProvisioner) -> bool:
    return not own.volumes() and not own.k8s.all("secrets")


def _end(own: KilledProvisioner) -> None:
    own.disarm()
    own.kill()


def every_call(life: Life, own: KilledProvisioner) -> None:
    """Kills at each call in turn until it comes through unharmed, and prints how many there
    were."""
    kinds = [("API", when, numbered(when)) for when in ("before", "after")]
    kinds += [("driver", when, numbered_callout(when)) for when in ("before", "during", "after")]
    for what, when, arm in kinds:
        n = next(
            n for n in itertools.count(1) if not life(own, f"{what.lower()}-{when}-{n}", arm(n))
        )
        assert n > 1
        print(f"{life.__name__}: killed {when} each of {n - 1} {what} calls")


API_POINTS = [
    request("before", "GET /api/v1/namespaces/"),
    request("after", "POST /api/v1/namespaces/", "/secrets"),
    request("before", "POST /api/v1/persistentvolumes"),
    request("after", "POST /api/v1/persistentvolumes"),
    request("after", "DELETE /api/v1/persistentvolumes"),
    request("before", "PATCH /api/v1/persistentvolumes"),
]
DRIVER_POINTS = [
    callout("during", "provision"),
    callout("after", "provision"),
    callout("after", "delete"),
]


def test_killed_at_a_call_it_leads_to_one_pv_and_to_none_in_the_end(
    own: KilledProvisioner, campaign: bool
) -> None:
    if campaign:
        every_call(whole_life, own)
        return
    for n, arm in enumerate(API_POINTS + DRIVER_POINTS):
        assert whole_life(own, f"claim-{n}", arm), f"case {n} killed nothing"


def test_a_claim_deleted_while_its_volume_is_made_leaves_nothing(
    own: KilledProvisioner, campaign: bool
) -> None:
    assert not claim_deleted_meanwhile(own, "undisturbed", lambda own: None)
    if campaign:
        every_call(claim_deleted_meanwhile, own)
        return
    for n, arm in enumerate(
        [request("before", "GET /api/v1/namespaces/"), callout("before", "delete")]
    ):
        assert claim_deleted_meanwhile(own, f"claim-{n}", arm), f"case {n} killed nothing"


def test_a_claim_deleted_after_the_kill_leaves_no_volume_and_no_secret(
    own: KilledProvisioner,
) -> None:
    own.claim()
    request("after", "POST /api/v1/namespaces/", "/secrets")(own)
    own.start()
    wait_until("it is killed", lambda: not own.alive)
    assert len(own.k8s.all("secrets")) == 1
    own.k8s.delete("pvc", "data")

    own.start()

    own.until("nothing is left", lambda: _nothing_left(own))
