"""Whose a volume is follows its PV: when the driver is told, and when nobody is."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller import objects, owners
from cluster.controller.identity import Identity
from cluster.controller.instance import Instance
from cluster.controller.objects import Claim, Volume
from cluster.controller.owners import ADOPT, AGAIN, LEAVE, REFUSE, Owners, Record, VolumeId
from cluster.controller.storage import Listed
from cluster.controller.workqueue import Key, WorkQueue
from shared import options, protocol

US = Identity({"loop.flexvol": "flexvol/loop"}, "node1", "node1")
DRIVER = "flexvol/loop"
NAME = "pvc-1"
PV_UID = "pv-uid"


def volume(claim_uid: str = "new", phase: str = "Bound", **changes: Any) -> dict[str, Any]:
    notes = {objects.PROVISIONED_BY: "loop.flexvol", objects.IDENTITY: "node1"}
    metadata = {
        "name": NAME,
        "uid": PV_UID,
        "annotations": {**notes, **changes.pop("annotations", {})},
        **changes,
    }
    reference = {"namespace": "shop", "name": "data", "uid": claim_uid}
    return {
        "metadata": metadata,
        "spec": {"claimRef": reference, "flexVolume": {"driver": DRIVER}},
        "status": {"phase": phase},
    }


def claim(volume_name: str = NAME) -> dict[str, Any]:
    return {"metadata": {"uid": "new"}, "spec": {"volumeName": volume_name}}


def entry(owner_uid: str | None = "old", **changes: Any) -> dict[str, Any]:
    owner = None
    if owner_uid is not None:
        owner = {"namespace": "prime", "name": "prime", "uid": owner_uid}
    return {"name": NAME, "owner": owner, "clusterUid": "here", **changes}


@pytest.mark.parametrize(
    ("pv", "live", "record", "expected"),
    [
        pytest.param(
            volume(),
            claim(),
            Record("old", "here"),
            ADOPT,
            id="a PV bound to another claim than its record says is told to the driver",
        ),
        pytest.param(
            volume(),
            claim(),
            Record(options.NO_OWNER, "here"),
            ADOPT,
            id="a volume without an owner gets the claim that its PV is bound to",
        ),
        pytest.param(
            volume(),
            claim(),
            Record(options.AWAITED, ""),
            ADOPT,
            id="a volume that awaited a claim of another name gets the one that came",
        ),
        pytest.param(
            volume(),
            claim(),
            Record("new", "here"),
            LEAVE,
            id="a record that names the claim already is left alone",
        ),
        pytest.param(
            volume(annotations={objects.AWAITS_CLAIM: "true"}),
            claim(),
            Record(options.AWAITED, "here"),
            LEAVE,
            id="a PV that awaits its claim is the deletion's to look after",
        ),
        pytest.param(
            volume(annotations={objects.AWAITS_CLAIM: "true"}),
            claim(),
            Record("old", "here"),
            ADOPT,
            id="a PV that was written again as when it awaited its claim, and has another one now",
        ),
        pytest.param(
            volume(), None, Record("old", "here"), LEAVE, id="a claim that is gone gets nothing"
        ),
        pytest.param(
            volume(),
            claim("pvc-9"),
            Record("old", "here"),
            LEAVE,
            id="a claim that has another PV gets nothing",
        ),
        pytest.param(
            volume(),
            claim(""),
            Record("old", "here"),
            AGAIN,
            id="a claim that does not name the PV yet is waited for",
        ),
        pytest.param(
            volume(),
            claim(),
            Record("old", "another"),
            REFUSE,
            id="a volume of another cluster is left to a person",
        ),
    ],
)
def test_who_is_told(
    pv: dict[str, Any], live: dict[str, Any] | None, record: Record, expected: str
) -> None:
    decision = owners.judge(Volume(pv), Claim.of(live), record, "here")
    assert decision.action == expected
    if expected == REFUSE:
        assert f"kubectl flexvol adopt {NAME}" in decision.sentence


@pytest.mark.parametrize(
    ("pv", "is_bound"),
    [
        pytest.param(volume(), True, id="a PV of ours that is bound is looked at"),
        pytest.param(
            volume(phase="Released"), False, id="a released PV gives its volume to nobody"
        ),
        pytest.param(volume(phase="Available"), False, id="an available PV is nobody's yet"),
        pytest.param(volume(claim_uid=""), False, id="a claimRef without a uid is nobody's yet"),
        pytest.param(
            volume(annotations={objects.IDENTITY: "node2"}),
            False,
            id="a PV of another node is not ours",
        ),
        pytest.param(
            volume(annotations={objects.PROVISIONED_BY: "other"}),
            False,
            id="a PV of another provisioner is not ours",
        ),
        pytest.param(
            volume(deletionTimestamp="2026-01-01T00:00:00Z"),
            False,
            id="a PV that is being deleted is left alone",
        ),
    ],
)
def test_which_pvs_count(pv: dict[str, Any], is_bound: bool) -> None:
    assert (owners.bound(Volume(pv), US) is not None) == is_bound


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        pytest.param(entry(), Record("old", "here"), id="a volume has its owner"),
        pytest.param(
            entry(None), Record(options.NO_OWNER, "here"), id="a volume may have no owner"
        ),
        pytest.param({"name": NAME}, None, id="a driver that knows no owners is not asked"),
        pytest.param(
            entry(clusterUid=5), Record("old", "5"), id="a cluster that is no text is not this one"
        ),
        pytest.param(
            entry(owner={"uid": 7}), Record("7", "here"), id="an owner that is no text is an owner"
        ),
        pytest.param(entry(state="moving"), None, id="a volume on the move is left alone"),
        pytest.param(entry(state="archived"), None, id="an archive is left alone"),
        pytest.param(entry(kind="snapshot"), None, id="a snapshot is left alone"),
        pytest.param(entry(error="damaged"), None, id="a damaged record is left alone"),
        pytest.param(entry(owner="old"), None, id="an owner in another form is left alone"),
        pytest.param(entry(kind="volume"), Record("old", "here"), id="a driver may say what it is"),
        pytest.param(entry(kind="lv"), None, id="what is no volume is left alone"),
    ],
)
def test_which_records_count(listed: dict[str, Any], expected: Record | None) -> None:
    found = dict(owners.records({DRIVER: Listed([listed], [])}))
    assert found == ({VolumeId(DRIVER, NAME, ""): expected} if expected else {})


class _Watched:
    """Owners with a real queue; nothing of it calls the API server before `sync`."""

    def __init__(self) -> None:
        self.work = WorkQueue[Key]()
        nothing: Any = None
        self.owners = Owners(Instance(nothing, US, nothing, nothing, self.work, nothing))

    def asked(self) -> bool:
        """Whether the queue has it; takes it out."""
        if not self.work.waiting():
            return False
        key = self.work.get()
        assert key is not None
        self.work.done(key)
        return True


def listing(owner_uid: str) -> dict[str, Listed]:
    return {DRIVER: Listed([entry(owner_uid)], [])}


def test_a_difference_is_asked_for_once_however_often_it_is_listed() -> None:
    watched = _Watched()
    watched.owners.changed(volume("old"))
    watched.owners.drivers_listed(listing("old"))
    assert not watched.asked()

    watched.owners.changed(volume("new"))
    assert watched.asked()
    for _ in range(3):
        watched.owners.drivers_listed(listing("old"))
        watched.owners.changed(volume("new"))
        assert not watched.asked(), "the queue repeats a failure by itself, at its own pace"

    watched.owners.drivers_listed(listing("new"))
    watched.owners.changed(volume("newer"))
    assert watched.asked()


@pytest.mark.parametrize(
    "pools",
    [("of-pv", "other"), ("other", "of-pv")],
    ids=["the PV's own volume is listed first", "the copy is listed first"],
)
def test_a_copy_that_was_put_back_in_another_pool_is_no_record_of_the_pvs_volume(
    pools: tuple[str, str],
) -> None:
    owner_uids = {"of-pv": "new", "other": "old"}
    copies = [entry(owner_uids[pool], options={"poolId": pool}) for pool in pools]
    pv = volume("new")
    pv["spec"]["flexVolume"]["options"] = {"poolId": "of-pv"}
    watched = _Watched()
    watched.owners.changed(pv)

    watched.owners.drivers_listed({DRIVER: Listed(copies, [])})
    assert not watched.asked()

    changed = [entry("old", options={"poolId": pool}) for pool in pools]
    watched.owners.drivers_listed({DRIVER: Listed(changed, [])})
    assert watched.asked()


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("bind"), st.sampled_from("abc")),
        st.tuples(st.just("release"), st.just("")),
        st.tuples(st.just("delete"), st.just("")),
        st.tuples(st.just("list"), st.sampled_from("abc")),
        st.tuples(st.just("list nothing"), st.just("")),
    ),
    max_size=12,
)


@given(_STEPS)
def test_whatever_came_before_the_last_word_of_both_decides(steps: list[tuple[str, str]]) -> None:
    """When PV and list are as they stay, a difference between them has been asked for, and nothing
    is asked for where there is none."""
    watched = _Watched()
    bound_to = ""
    recorded = ""
    was_asked = False
    for step, uid in steps:
        before = (bound_to, recorded)
        if step == "bind":
            watched.owners.changed(volume(uid))
            bound_to = uid
        elif step == "release":
            watched.owners.changed(volume(bound_to or "a", phase="Released"))
            bound_to = ""
        elif step == "delete":
            watched.owners.gone(volume(bound_to or "a"))
            bound_to = ""
        elif step == "list":
            watched.owners.drivers_listed(listing(uid))
            recorded = uid
        else:
            watched.owners.drivers_listed({DRIVER: Listed([], [])})
            recorded = ""
        differs = bool(bound_to and recorded and bound_to != recorded)
        if (bound_to, recorded) != before:
            was_asked = False
        asked = watched.asked()
        assert differs or not asked
        was_asked = was_asked or asked
        assert was_asked == differs


def test_a_pv_that_went_while_nobody_watched_is_forgotten() -> None:
    watched = _Watched()
    watched.owners.changed(volume("new"))
    watched.owners.listed(set())
    watched.owners.drivers_listed(listing("old"))
    assert not watched.asked()


def test_who_waits_for_calls_of_the_driver_to_end_is_tried_again_soon_however_often() -> None:
    """Until the driver is told, the volume's mount refuses the pods of the claim."""
    watched = _Watched()
    watched.owners.changed(volume("old"))
    watched.owners.changed(volume("new"))
    watched.owners.drivers_listed(listing("old"))
    busy = protocol.Pending("4 callouts of the driver run already")

    for _ in range(3):
        key: Any = watched.work.get()
        began = time.monotonic()
        watched.owners._failed(key, Volume(volume("new")), busy)

    assert watched.work.get() == key
    assert time.monotonic() - began < 1.5


class _Served:
    """Owners beside one PV, its claim, and a driver that adopts what it is told."""

    def __init__(self, record: Any = None, live: Any = None) -> None:
        self.pv: Any = volume()
        self.live = claim() if live is None else live
        self.failure: protocol.Failure | None = None
        self.adopted: list[options.Options] = []
        self.events: list[tuple[str, str, str]] = []
        self.work = WorkQueue[Key]()
        api: Any = SimpleNamespace(get=self._get, claim=self._claim, uid=lambda: "here")
        storage: Any = SimpleNamespace(adopt=self._adopt)
        events: Any = SimpleNamespace(
            warning=lambda about, reason, said: self._say("warning", about, reason, said),
            normal=lambda about, reason, said: self._say("normal", about, reason, said),
        )
        nothing: Any = None
        self.owners = Owners(Instance(api, US, storage, events, self.work, nothing))
        self.owners.drivers_listed({DRIVER: Listed([entry() if record is None else record], [])})
        self.owners.changed(self.pv)

    def sync(self) -> float | None:
        """One attempt; returns how many seconds later there is another one, None for never."""
        key = self.work.get()
        assert key == ("owner", NAME)
        began = time.monotonic()
        self.owners.sync(key)
        assert key not in self.work._working
        due = self.work._due.get(key)
        return None if due is None else due - began

    def _get(self, path: str) -> Any:
        assert path == f"/api/v1/persistentvolumes/{NAME}"
        return self.pv

    def _claim(self, whose: dict[str, str]) -> Any:
        assert whose["uid"] in ("new", "newer")
        return self.live or None

    def _adopt(self, driver: str, request: options.Options) -> None:
        assert driver == DRIVER
        if self.failure is not None:
            raise self.failure
        self.adopted.append(request)

    def _say(self, kind: str, about: Any, reason: str, said: str) -> None:
        assert about == self.pv
        self.events.append((kind, reason, said))


@pytest.mark.parametrize(
    ("record", "before", "words"),
    [
        pytest.param(entry(), "old", "it was of the claim with the uid old", id="of another claim"),
        pytest.param(entry(None), options.NO_OWNER, "it had no owner", id="of nobody"),
    ],
)
def test_the_driver_is_told_whose_the_volume_was_and_whose_it_is(
    record: dict[str, Any], before: str, words: str
) -> None:
    served = _Served(record)

    assert served.sync() is None

    (given,) = served.adopted
    assert (given.claim.uid, given.cluster_uid) == ("new", "here")
    assert given.only_if_owner == before, "nobody else's claim is overwritten"
    ((kind, reason, said),) = served.events
    assert (kind, reason) == ("normal", "VolumeAdopted")
    assert "belongs to the claim shop/data" in said
    assert said.endswith(words)


def test_what_the_driver_was_told_is_not_told_again_before_it_lists() -> None:
    served = _Served()
    served.sync()

    served.owners.changed(volume("new"))
    assert not served.work.waiting()
    served.owners.changed(volume("newer"))
    assert served.work.waiting(), "a further change is told as well"


def test_a_claim_that_does_not_name_its_pv_yet_is_looked_at_soon() -> None:
    served = _Served(live=claim(""))

    again = served.sync()

    assert again is not None
    assert again < 2
    assert (served.adopted, served.events) == ([], [])


def test_a_volume_of_another_cluster_is_reported_and_looked_at_seldom() -> None:
    served = _Served(entry(clusterUid="another"))

    again = served.sync()

    assert again is not None
    assert again > 100
    assert served.adopted == []
    ((kind, reason, said),) = served.events
    assert (kind, reason) == ("warning", "VolumeNotAdopted")
    assert "made for the cluster another, and this one is here" in said


@pytest.mark.parametrize(
    ("failure", "again"),
    [
        pytest.param(protocol.Unavailable("asleep"), True, id="a disk that is away"),
        pytest.param(protocol.NotSupported("no"), False, id="a driver without owners"),
    ],
)
def test_a_volume_that_the_driver_does_not_give(failure: protocol.Failure, again: bool) -> None:
    served = _Served()
    served.failure = failure

    assert (served.sync() is not None) == again

    assert [one[:2] for one in served.events] == [("warning", "VolumeFailedAdopt")] * again
    assert not any("belongs" in said for _, _, said in served.events)


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(None, id="it is gone"),
        pytest.param(volume(phase="Released"), id="it is released"),
        pytest.param(volume(annotations={objects.IDENTITY: "node2"}), id="it is another node's"),
    ],
)
def test_a_pv_that_is_another_one_when_its_turn_comes_is_left(now: Any) -> None:
    served = _Served()
    served.pv = now

    assert served.sync() is None
    assert (served.adopted, served.events) == ([], [])


def test_a_volume_that_no_driver_lists_any_more_is_left() -> None:
    served = _Served()
    served.owners.drivers_listed({DRIVER: Listed([], [])})

    assert served.sync() is None
    assert served.adopted == []


def test_a_claim_that_is_gone_gets_nothing() -> None:
    served = _Served(live=False)

    assert served.sync() is None
    assert (served.adopted, served.events) == ([], [])


def test_a_pv_that_is_gone_is_not_worked_on() -> None:
    served = _Served()
    assert served.work.waiting()

    served.owners.gone(served.pv)

    assert not served.work.waiting()


def test_a_pv_that_goes_back_before_the_driver_lists_is_told_again() -> None:
    served = _Served()
    served.sync()

    served.pv = volume("old")
    served.owners.changed(served.pv)

    assert served.work.waiting(), "what the driver listed last is not what it was told last"


def test_a_pv_that_goes_on_before_the_driver_lists_is_given_on() -> None:
    served = _Served()
    served.sync()
    served.pv = volume("newer")
    served.live = {**claim(), "metadata": {"uid": "newer"}}

    served.owners.changed(served.pv)
    assert served.sync() is None

    assert [one.claim.uid for one in served.adopted] == ["new", "newer"]
    assert served.adopted[-1].only_if_owner == "new"


def test_a_pv_that_was_made_again_as_it_was_is_told_again() -> None:
    served = _Served()
    served.failure = protocol.NotSupported("not yet")
    served.sync()
    served.owners.gone(served.pv)

    served.owners.changed(served.pv)

    assert served.work.waiting()


def test_a_volume_that_an_older_copy_took_the_place_of_is_given_again() -> None:
    served = _Served()
    served.sync()

    served.owners.drivers_listed(listing("old"))

    assert served.work.waiting()
