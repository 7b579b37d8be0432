"""When a volume that nobody has is collected, reported and counted, and when its record is told to
keep it."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller import cluster, leftovers, metrics
from cluster.controller.identity import Identity
from shared import protocol
from tests.unit.cluster.controller.sweeps import (
    GRACE_SECONDS,
    HERE,
    NAME,
    OF_ALL,
    OF_NODE,
    OWNER,
    Sweeps,
    claim,
    entry,
    pv,
)

OTHER = "pvc-u2"
AWAY = protocol.Unavailable("its disk is away")


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    return Sweeps(monkeypatch)


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param(entry(name="archived-1", state="archived"), id="an archive"),
        pytest.param(entry(name="before", kind="snapshot"), id="a snapshot"),
        pytest.param(entry(name="../pvc-u9"), id="a volume with the name of a path"),
        pytest.param(entry(name=7), id="a volume whose name is no text"),
        pytest.param(
            {key: value for key, value in entry().items() if key != "name"},
            id="a volume without a name",
        ),
        pytest.param(entry(name=OTHER, blank=False), id="a volume that was mounted"),
        pytest.param(entry(name=OTHER, clusterUid="lost"), id="a volume of another cluster"),
        pytest.param(
            entry(name=OTHER, reclaimPolicy="Retain"), id="a volume of a class that keeps"
        ),
        pytest.param(entry(name=OTHER, options=None), id="a volume that is not described"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["listed first", "listed last"])
def test_only_the_orphan_goes_of_two(
    sweeps: Sweeps, beside: dict[str, Any], is_first: bool
) -> None:
    sweeps.listed.insert(0 if is_first else 1, beside)

    sweeps.look(0, GRACE_SECONDS)

    assert sweeps.deleted == [NAME]


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
    sweeps: Sweeps, its_claim: Any, its_pv: Any, is_collected: bool
) -> None:
    sweeps.api.claim_of_volume = its_claim
    sweeps.api.volume = its_pv

    sweeps.look(0, GRACE_SECONDS)

    assert sweeps.deleted == ([NAME] if is_collected else [])


def test_a_volume_with_a_pv_of_ours_is_not_even_looked_up(sweeps: Sweeps) -> None:
    """The live read would say that the PV is gone: the next list may not have the volume."""
    sweeps.policies = {NAME: "Delete"}

    sweeps.look(0, GRACE_SECONDS)

    assert (sweeps.deleted, sweeps.retained) == ([], [])


def test_a_volume_that_is_being_made_is_not_collected(sweeps: Sweeps) -> None:
    sweeps.in_hand.add("u1")

    sweeps.look(0, GRACE_SECONDS)

    assert sweeps.deleted == []


def test_the_grace_time_begins_when_the_volume_is_first_seen_so(sweeps: Sweeps) -> None:
    sweeps.look(0, 1, GRACE_SECONDS - 2)
    assert sweeps.deleted == []

    sweeps.look(1)

    assert sweeps.deleted == [NAME]


def test_a_volume_is_never_collected_at_first_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have gone with its PV since it was listed."""
    sweeps = Sweeps(monkeypatch, grace=0)
    sweeps.look(0)
    assert (sweeps.deleted, sweeps.said) == ([], [])

    sweeps.look(1)

    assert sweeps.deleted == [NAME]


def test_a_new_orphan_does_not_keep_an_old_one(sweeps: Sweeps) -> None:
    sweeps.look(0)
    sweeps.listed.insert(0, entry(name=OTHER))

    sweeps.look(GRACE_SECONDS)

    assert sweeps.deleted == [NAME]


def test_the_same_list_is_no_second_sight(sweeps: Sweeps) -> None:
    sweeps.look(0)

    sweeps.now += GRACE_SECONDS
    sweeps.orphans._round()

    assert sweeps.deleted == []
    assert len(sweeps.told) == 1


@pytest.mark.parametrize(
    ("held_by", "state"),
    [
        pytest.param("claim_of_volume", claim(""), id="a claim that waits"),
        pytest.param("claim_of_volume", claim(NAME), id="a claim that names the volume"),
        pytest.param("volume", pv("Delete"), id="a PV"),
    ],
)
def test_what_came_and_went_begins_the_grace_time_anew(
    sweeps: Sweeps, held_by: str, state: Any
) -> None:
    sweeps.look(0)
    setattr(sweeps.api, held_by, state)
    sweeps.look(GRACE_SECONDS)
    setattr(sweeps.api, held_by, None)

    sweeps.look(GRACE_SECONDS, GRACE_SECONDS - 1)
    assert sweeps.deleted == []

    sweeps.look(1)
    assert sweeps.deleted == [NAME]


def test_a_volume_whose_claim_waits_for_long_is_no_orphan(sweeps: Sweeps) -> None:
    sweeps.api.claim_of_volume = claim("")

    sweeps.look(0, 1, GRACE_SECONDS, 1, GRACE_SECONDS)

    assert (sweeps.said, sweeps.counted()) == ([], 0)


def test_an_owner_that_changes_begins_the_grace_time_anew(sweeps: Sweeps) -> None:
    sweeps.listed = [entry(owner={**OWNER, "name": "before"})]
    sweeps.look(0)
    sweeps.listed = [entry()]

    sweeps.look(GRACE_SECONDS, GRACE_SECONDS - 1)
    assert sweeps.deleted == []

    sweeps.look(1)
    assert sweeps.deleted == [NAME]


def test_a_volume_that_is_held_is_looked_up_again_after_minutes(sweeps: Sweeps) -> None:
    sweeps.api.claim_of_volume = claim("")
    sweeps.look(0)
    sweeps.api.claim_of_volume = None

    sweeps.look(299, 1, GRACE_SECONDS - 1)
    assert sweeps.deleted == []

    sweeps.look(1)
    assert sweeps.deleted == [NAME]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"claim_of_volume": claim("")}, id="a claim that waits for it"),
        pytest.param({"volume": pv("Delete")}, id="a PV"),
        pytest.param({"uids": [HERE, "new"]}, id="another cluster after the loss of etcd"),
    ],
)
def test_what_came_since_the_last_look_keeps_the_volume(
    sweeps: Sweeps, change: dict[str, Any]
) -> None:
    """The last live read is seconds old when the grace time is over."""
    sweeps.look(0, GRACE_SECONDS - 10)
    for name, value in change.items():
        setattr(sweeps.api, name, copy.deepcopy(value))  # reading a uid takes it off the list

    sweeps.look(10)

    assert sweeps.deleted == []
    assert sweeps.counted() == 1


def test_who_has_lost_the_lease_since_the_list_collects_nothing(sweeps: Sweeps) -> None:
    sweeps.look(0)
    sweeps.leads = [True, False]

    sweeps.look(GRACE_SECONDS)

    assert (sweeps.deleted, sweeps.counted()) == ([], 1)


def test_who_leads_again_begins_the_grace_time_anew(sweeps: Sweeps) -> None:
    sweeps.look(0)
    sweeps.leads = [False]
    sweeps.look(1)
    assert sweeps.counted() == 0
    sweeps.leads = [True]

    sweeps.look(GRACE_SECONDS)
    assert sweeps.deleted == []

    sweeps.look(GRACE_SECONDS)
    assert sweeps.deleted == [NAME]


def test_who_never_led_counts_nothing(sweeps: Sweeps) -> None:
    metrics.orphans.clear()
    sweeps.leads = [False]

    sweeps.look(0, 1)

    assert sweeps.counted() is None


def test_a_volume_that_the_driver_did_not_delete_gets_another_grace_time(sweeps: Sweeps) -> None:
    sweeps.failures = {"delete": protocol.Busy("it is mounted")}
    sweeps.look(0, GRACE_SECONDS)
    assert (sweeps.deleted, sweeps.counted()) == ([], 1)
    assert [reason for reason, _ in sweeps.said] == ["VolumeOrphaned"]
    sweeps.failures = {}

    sweeps.look(GRACE_SECONDS - 1)
    assert sweeps.deleted == []

    sweeps.look(1)
    assert sweeps.deleted == [NAME]


def test_what_a_driver_listed_before_it_failed_keeps_its_grace_time(sweeps: Sweeps) -> None:
    sweeps.look(0)
    sweeps.failures = {"list": AWAY}
    sweeps.look(1)
    assert sweeps.counted() is None, "how many it has is not known"
    sweeps.look(GRACE_SECONDS)
    assert sweeps.deleted == [], "its list is old"
    sweeps.failures = {}

    sweeps.look(1)

    assert sweeps.deleted == [NAME]


def test_orphans_are_counted_by_why_they_are_left_until_they_are_gone(sweeps: Sweeps) -> None:
    sweeps.listed = [
        entry(),
        entry(name=OTHER),
        entry(name="pvc-u3", blank=False),
        entry(name="pvc-u4", clusterUid="lost"),
    ]
    sweeps.look(0)
    assert sweeps.counted() == 0, "at first sight none counts"

    sweeps.look(1)
    assert sweeps.counted() == 2
    assert sweeps.counted(leftovers.USED) == sweeps.counted(leftovers.FOREIGN) == 1

    sweeps.look(GRACE_SECONDS)
    assert sorted(sweeps.deleted) == [NAME, OTHER]
    assert sweeps.counted() == 0
    assert sweeps.counted(leftovers.USED) == sweeps.counted(leftovers.FOREIGN) == 1


def test_new_orphans_and_deletions_make_the_drivers_list_again_soon(sweeps: Sweeps) -> None:
    sweeps.look(0)
    assert sweeps.news.take_change()

    sweeps.look(1)
    assert not sweeps.news.take_change()

    sweeps.look(GRACE_SECONDS)
    assert sweeps.news.take_change()


def test_an_orphan_is_reported_once_for_each_reason(sweeps: Sweeps) -> None:
    sweeps.look(0, 1, 1, 1)
    (said,) = sweeps.said
    assert said[0] == "VolumeOrphaned"
    assert "volume pvc-u1 of driver flexvol/loop has no PV, and claim shop/data (uid u1)" in said[1]
    assert "was never mounted" in said[1]

    sweeps.listed = [entry(blank=False)]
    sweeps.look(1, 1)
    assert len(sweeps.said) == 2
    assert "may hold data" in sweeps.said[1][1]


def test_a_static_orphan_is_reported_as_for_any_claim(sweeps: Sweeps) -> None:
    owner = {"namespace": "*", "name": "*", "uid": "awaited"}
    sweeps.listed = [entry(owner=owner, reclaimPolicy="Retain")]

    sweeps.look(0, 1, 1)

    ((_, message),) = sweeps.said
    assert "has no PV, and no claim has had it yet: its class said Retain; it was made" in message
    assert "*" not in message


def test_an_orphan_of_nobody_is_reported_too(sweeps: Sweeps) -> None:
    sweeps.listed = [{"name": NAME}]

    sweeps.look(0, 1)

    ((_, said),) = sweeps.said
    assert "and its claim is gone" in said


def test_a_collected_orphan_is_told_on_its_node(sweeps: Sweeps) -> None:
    sweeps.look(0, GRACE_SECONDS)

    assert sweeps.said[-1][0] == "OrphanDeleted"
    assert "deleted volume pvc-u1 of driver flexvol/loop" in sweeps.said[-1][1]


def test_an_orphan_on_no_node_is_collected_without_an_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sweeps = Sweeps(monkeypatch, OF_ALL)

    sweeps.look(0, GRACE_SECONDS)

    assert (sweeps.deleted, sweeps.said) == ([NAME], [])


def secret(of_volume: str | None) -> Any:
    return SimpleNamespace(owner={"flexvol/volume": of_volume} if of_volume else {})


@pytest.mark.parametrize(
    ("wanted", "class_changes", "is_removed"),
    [
        pytest.param(secret(NAME), {}, True, id="a secret made for the volume"),
        pytest.param(secret(OTHER), {}, False, id="a secret made for another volume"),
        pytest.param(secret(None), {}, False, id="a secret that the class names for all"),
        pytest.param(None, {}, False, id="a class without secrets"),
        pytest.param(protocol.InvalidArgument("no"), {}, False, id="a class that is wrong now"),
        pytest.param(
            secret(NAME), {"provisioner": "other"}, False, id="a class of another provisioner now"
        ),
        pytest.param(secret(NAME), None, False, id="a class that is gone"),
    ],
)
def test_the_secret_goes_with_the_orphan_it_was_made_for(
    sweeps: Sweeps, wanted: Any, class_changes: dict[str, Any] | None, is_removed: bool
) -> None:
    sweeps.secret = wanted
    if class_changes is None:
        sweeps.api.storage_class = None
    else:
        sweeps.api.storage_class = {**sweeps.api.storage_class, **class_changes}

    sweeps.look(0, GRACE_SECONDS)

    assert sweeps.deleted == [NAME]
    assert sweeps.removed == ([wanted] if is_removed else [])
    assert sweeps.said[-1][0] == "OrphanDeleted"


@pytest.mark.parametrize("named", [None, "", "../fast"], ids=["nothing", "an empty one", "a path"])
def test_an_orphan_that_names_no_class_is_collected(sweeps: Sweeps, named: Any) -> None:
    sweeps.secret = secret(NAME)
    sweeps.listed = [entry(**{"class": named})]

    sweeps.look(0, GRACE_SECONDS)

    assert (sweeps.deleted, sweeps.removed) == ([NAME], [])


COPY = {"blank": False, "neverMounted": True, "source": "pvc-u0"}


@pytest.mark.parametrize(
    ("policies", "its_pv", "listed", "is_retained"),
    [
        pytest.param({NAME: "Retain"}, None, entry(), True, id="a PV of ours that says Retain"),
        pytest.param({NAME: "Recycle"}, None, entry(), True, id="a PV of ours with another policy"),
        pytest.param({NAME: "Delete"}, None, entry(), False, id="a PV of ours that says Delete"),
        pytest.param({}, pv("Retain"), entry(), True, id="a PV of others that says Retain"),
        pytest.param({}, None, entry(), False, id="no PV"),
        pytest.param(
            {NAME: "Delete"}, None, entry(**COPY), True, id="a copy has its PV: its data is wanted"
        ),
        pytest.param({}, None, entry(**COPY), False, id="a copy without its PV"),
        pytest.param(
            {NAME: "Retain"}, None, entry(blank=False), False, id="a volume that was mounted"
        ),
        pytest.param(
            {NAME: "Retain"},
            None,
            entry(reclaimPolicy="Retain"),
            False,
            id="a record that says Retain already",
        ),
        pytest.param(
            {NAME: "Retain"}, None, entry(owner=None), False, id="a volume that is not described"
        ),
    ],
)
def test_whose_record_is_told_that_the_volume_is_kept(
    sweeps: Sweeps,
    policies: dict[str, str],
    its_pv: Any,
    listed: dict[str, Any],
    is_retained: bool,
) -> None:
    sweeps.policies = policies
    sweeps.api.volume = its_pv
    sweeps.listed = [listed]

    sweeps.look(0)

    assert sweeps.retained == ([NAME] if is_retained else [])


def test_a_claim_without_a_pv_retains_nothing(sweeps: Sweeps) -> None:
    """Its copy may still be in the making."""
    sweeps.listed = [entry(**COPY)]
    sweeps.api.claim_of_volume = claim("")

    sweeps.look(0)

    assert sweeps.retained == []


def test_a_record_that_cannot_be_told_so_is_told_at_the_next_list(sweeps: Sweeps) -> None:
    sweeps.policies = {NAME: "Retain"}
    sweeps.failures = {"adopt": AWAY}
    sweeps.look(0)
    sweeps.failures = {}

    sweeps.look(1)

    assert sweeps.retained == [NAME]


def test_those_that_come_after_a_list_get_all_lists(sweeps: Sweeps) -> None:
    sweeps.look(0)

    assert sweeps.told == [sweeps.listing.listed()]


@pytest.mark.parametrize(
    ("identity", "grace", "seconds"),
    [
        pytest.param(OF_NODE, GRACE_SECONDS, 5, id="on a node, where the lists are there anyway"),
        pytest.param(OF_ALL, GRACE_SECONDS, 60, id="in shared mode, where each look asks"),
        pytest.param(OF_ALL, 30, 30, id="in shared mode with a short grace time"),
        pytest.param(OF_NODE, 2, 2, id="on a node with a short grace time"),
        pytest.param(OF_NODE, 0, 1, id="on a node without a grace time"),
    ],
)
def test_how_often_it_looks(
    monkeypatch: pytest.MonkeyPatch, identity: Identity, grace: float, seconds: float
) -> None:
    sweeps = Sweeps(monkeypatch, identity, grace)

    sweeps.run(rounds=2)

    assert sweeps.slept == [seconds, seconds]


def test_it_looks_again_whatever_has_failed_and_tells_the_same_failure_once(
    sweeps: Sweeps, caplog: pytest.LogCaptureFixture
) -> None:
    refused = cluster.Refused(403, "denied by a policy")
    sweeps.bugs = [refused, refused, cluster.Unreachable("away"), AWAY, ValueError("bug")]
    sweeps.listing.refresh()

    sweeps.run(rounds=6)

    said = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert [one.count("denied by a policy") for one in said] == [1, 0, 0]
    assert sweeps.told, "the sixth look is one like any other"


def test_a_failure_that_is_there_again_is_told_again(
    sweeps: Sweeps, caplog: pytest.LogCaptureFixture
) -> None:
    sweeps.bugs = [AWAY, None, AWAY]

    sweeps.run(rounds=3)

    assert caplog.text.count("cannot look for orphans: its disk is away") == 2
