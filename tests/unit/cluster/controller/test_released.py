"""What is done about a PV of ours and its claim; on the real API server it is tested on a cluster.
Here are the states in which nothing is to be deleted, and how often they are looked at."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller import cluster, metrics, objects
from cluster.controller.delete import Delete
from cluster.controller.instance import Instance
from cluster.controller.retry import GROWING
from cluster.controller.room_news import RoomNews
from cluster.controller.secrets import Secrets
from cluster.controller.storage import Storage
from cluster.controller.workqueue import Key, WorkQueue
from shared import options, protocol
from tests.unit.cluster.controller.objects import ELSEWHERE, HERE, NODE, OWNER, UNBOUND, live, of

KEY = ("volume", HERE)
PATH = f"/api/v1/persistentvolumes/{HERE}"


class Api:
    """One PV and its claim, and what became of the PV."""

    def __init__(self, volume: dict[str, Any], claim: dict[str, Any] | None) -> None:
        self.volume: dict[str, Any] | None = volume
        self._claim = claim
        self.conflicts = 0
        self.refusal: cluster.Refused | None = None
        self.remade: dict[str, Any] | None = None  # the PV that has its name once it is gone
        self.reads = 0

    def get(self, path: str) -> Any:
        assert path == PATH
        self.reads += 1
        return copy.deepcopy(self.volume)

    def claim(self, whose: dict[str, Any]) -> Any:
        return self._claim if whose.get("uid") else None

    def patch(self, path: str, change: dict[str, Any]) -> None:
        assert path == PATH and self.volume is not None
        if self.refusal is not None:
            raise self.refusal
        metadata = self.volume["metadata"]
        changed = dict(change["metadata"])
        if "uid" in changed:
            assert changed == {"uid": metadata["uid"], "annotations": {objects.AWAITS_CLAIM: None}}
            del metadata["annotations"][objects.AWAITS_CLAIM]
            return
        if changed["resourceVersion"] != metadata["resourceVersion"]:
            raise cluster.Refused(409, "it was changed")
        if self.conflicts:
            self.conflicts -= 1
            metadata["resourceVersion"] += "0"
            raise cluster.Refused(409, "it was changed")
        metadata["finalizers"] = changed["finalizers"]
        self._go()

    def delete(self, path: str, uid: str) -> None:
        assert path == PATH
        assert self.volume is not None and uid == self.volume["metadata"]["uid"]
        self.volume["metadata"]["deletionTimestamp"] = "now"
        self._go()

    def _go(self) -> None:
        """As the API server and kube-controller-manager do once no finalizer of ours is there."""
        assert self.volume is not None
        metadata = self.volume["metadata"]
        if metadata.get("deletionTimestamp") and objects.FINALIZER not in metadata["finalizers"]:
            self.volume = self.remade


class Parts:
    def __init__(self, plugins: Path, volume: dict[str, Any], claim: Any) -> None:
        volume["metadata"]["resourceVersion"] = "1"
        self.api = Api(volume, claim)
        self.work = WorkQueue[Key]()
        self.said: list[str] = []
        self.reasons: list[str] = []  # of the events
        self.calls = plugins / "calls"
        self.calls.touch()
        self.options = plugins / "options"
        self.answers = plugins / "answers"
        self.answers.mkdir()
        path = plugins / "flexvol~loop/loop"
        path.parent.mkdir()
        path.write_text(
            f"#!/bin/sh\necho $1 >>{self.calls}\necho $2 >{self.options}\n"
            f'cat {self.answers}/$1 2>/dev/null || echo \'{{"status": "Success"}}\'\n'
        )
        path.chmod(0o755)
        events: Any = SimpleNamespace(warning=self._warn)
        api: Any = self.api
        secrets = Secrets(api, NODE, "flexvol")
        storage = Storage(str(plugins))
        instance = Instance(api, NODE, storage, events, self.work, secrets)
        self.delete = Delete(instance, RoomNews())
        self.delete.changed(volume)

    def _warn(self, about: dict[str, Any], reason: str, said: str) -> None:
        assert about["metadata"]["name"] == HERE
        self.said.append(said)
        self.reasons.append(reason)

    def sync(self) -> None:
        key: Any = self.work.get()
        assert key == KEY
        self.delete.sync(key)

    def answer(self, callout: str, **answer: Any) -> None:
        """What the driver answers from now on."""
        (self.answers / callout).write_text(json.dumps({"status": "Success", **answer}))

    def fail(self, callout: str) -> None:
        self.answer(callout, status="Failure", reason="Unavailable", message="asleep")

    def called(self) -> list[str]:
        return self.calls.read_text().split()

    @property
    def last_options(self) -> dict[str, str]:
        """Of the last call of the driver."""
        given: dict[str, str] = json.loads(self.options.read_text())
        return given

    @property
    def is_settled(self) -> bool:
        """Whether the PV is neither waiting nor in work; then it comes anew, with no failures."""
        return not self.work.waiting_keys() and KEY not in self.work._working


def test_a_pv_whose_claim_lives_and_is_bound_elsewhere_is_deleted(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(OWNER), live(ELSEWHERE))

    deleted = metrics.deleted.labels("")
    before = deleted._value.get()

    parts.sync()

    assert deleted._value.get() == before + 1
    assert parts.called() == ["delete"]
    assert parts.last_options[options.CLAIM_UID] == "u1"
    assert options.ONLY_IF_BLANK not in parts.last_options, "its data goes with it"
    assert parts.api.volume is None
    assert parts.is_settled


def test_a_pv_that_is_made_anew_under_the_name_keeps_our_finalizer(tmp_path: Path) -> None:
    """Somebody else has taken our finalizer from the first PV while its storage was deleted."""
    volume = of(OWNER)
    parts = Parts(tmp_path, volume, live(ELSEWHERE))
    another = copy.deepcopy(volume)
    another["metadata"]["uid"] = "another"
    parts.api.remade = another
    volume["metadata"]["finalizers"] = []

    parts.sync()

    assert parts.called() == ["delete"]
    assert parts.api.volume == another
    assert objects.FINALIZER in another["metadata"]["finalizers"]


@pytest.mark.parametrize(
    "bound_to",
    [
        pytest.param(HERE, id="its claim is bound to it"),
        pytest.param(UNBOUND, id="its claim is not bound"),
    ],
)
def test_a_released_pv_whose_claim_lives_is_told_and_looked_at_less_and_less_often(
    tmp_path: Path, bound_to: str
) -> None:
    parts = Parts(tmp_path, of(OWNER), live(bound_to))
    pauses = []
    for _ in range(3):
        parts.sync()
        began = time.monotonic()
        assert parts.work.waiting_keys() == [KEY]
        pauses.append(parts.work._due[KEY] - began)
        parts.work.add(KEY)

    assert parts.called() == []
    assert len(parts.said) == 3 and "is deleted when that claim is gone" in parts.said[0]
    assert all(
        pause > 0.7 * GROWING.first_seconds * 2**number for number, pause in enumerate(pauses)
    )
    assert parts.api.volume is not None and "deletionTimestamp" not in parts.api.volume["metadata"]


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param(None, id="it has no claimRef"),
        pytest.param({"namespace": "shop", "name": "data"}, id="its claimRef has no uid"),
    ],
)
def test_a_released_pv_that_names_no_claim_is_left_to_kube_controller_manager(
    tmp_path: Path, owner: dict[str, str] | None
) -> None:
    parts = Parts(tmp_path, of(owner), None)

    parts.sync()

    assert (parts.called(), parts.said) == ([], [])
    assert parts.api.volume is not None
    assert parts.is_settled


def test_a_pv_deleted_before_it_was_bound_goes_and_its_storage_stays_for_the_claim(
    tmp_path: Path,
) -> None:
    parts = Parts(tmp_path, of(OWNER, phase="Pending", deleted=True), live(UNBOUND))
    parts.api.conflicts = 1

    parts.sync()
    assert parts.api.volume is not None, "it was changed, and is looked at once more"
    parts.sync()

    assert parts.api.volume is None
    assert parts.called() == []
    assert parts.is_settled


def test_a_pv_without_a_claim_that_is_deleted_is_retained(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(None, phase="Available", deleted=True), None)

    parts.sync()

    assert parts.api.volume is None
    assert "delete" not in parts.called()
    assert "list" in parts.called(), "its record is to say that it is kept"


def test_a_retained_pv_whose_record_cannot_be_told_so_stays_and_says_why(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(None, phase="Available", deleted=True), None)
    parts.fail("list")

    parts.sync()

    assert parts.said == ["Unavailable: asleep"]
    assert parts.reasons == ["VolumeFailedRetain"]
    assert parts.api.volume is not None, "else a volume that was never mounted would be collected"
    assert parts.work.waiting_keys() == [KEY]


LISTED: dict[str, Any] = {
    "name": HERE,
    "owner": OWNER,
    "options": {"pool": "default", "poolId": "5f"},
    "blank": True,
    "clusterUid": "c1",
    "reclaimPolicy": "Delete",
}


def test_the_record_of_a_retained_pv_is_told_so_and_no_other(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(OWNER, policy="Retain", phase="Bound"), live(HERE))
    others = [{**LISTED, "name": "pvc-u0"}, {**LISTED, "name": "pvc-u2"}]
    parts.answer("list", volumes=[others[0], LISTED, others[1]])

    parts.sync()

    assert parts.called() == ["list", "adopt"]
    assert parts.last_options["kubernetes.io/pvOrVolumeName"] == HERE
    assert parts.api.volume is not None
    assert objects.FINALIZER not in parts.api.volume["metadata"]["finalizers"]
    assert parts.is_settled


def test_a_bound_pv_that_is_to_be_deleted_with_its_storage_gets_our_finalizer(
    tmp_path: Path,
) -> None:
    parts = Parts(tmp_path, of(OWNER, phase="Bound", held=False), live(HERE))

    parts.sync()

    assert parts.api.volume is not None
    assert parts.api.volume["metadata"]["finalizers"] == [
        "kubernetes.io/pv-protection",
        objects.FINALIZER,
    ]
    assert parts.called() == []
    assert parts.is_settled


def test_a_pv_whose_storage_is_not_deleted_stays_says_why_and_counts(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(OWNER), None)
    parts.fail("delete")
    failed = metrics.delete_failed.labels("")
    before = failed._value.get()

    parts.sync()

    assert parts.api.volume is not None
    assert "deletionTimestamp" not in parts.api.volume["metadata"]
    assert (parts.said, parts.reasons) == (["Unavailable: asleep"], ["VolumeFailedDelete"])
    assert parts.work.waiting_keys() == [KEY]
    assert failed._value.get() == before + 1


def test_the_secret_that_was_made_for_a_volume_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = of(OWNER)
    named = {"namespace": "vault", "name": f"{HERE}-key.node1"}
    volume["spec"]["flexVolume"]["secretRef"] = named
    parts = Parts(tmp_path, volume, None)
    removed: list[Any] = []
    monkeypatch.setattr(parts.delete._secrets, "remove", removed.append)

    parts.sync()

    (secret,) = removed
    assert (secret.namespace, secret.name) == ("vault", f"{HERE}-key.node1")
    assert parts.api.volume is None


def test_a_pv_whose_secret_is_not_removed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PV is all that names the Secret."""
    volume = of(OWNER)
    parts = Parts(tmp_path, volume, None)

    def refuse(reference: Any) -> None:
        raise protocol.Unavailable("not now")

    monkeypatch.setattr(parts.delete._secrets, "remove", refuse)
    parts.sync()

    assert parts.called() == ["delete"]
    assert parts.api.volume is not None
    assert "deletionTimestamp" not in parts.api.volume["metadata"]
    assert parts.work.waiting_keys() == [KEY]


@pytest.mark.parametrize(
    ("phase", "only_if"),
    [
        pytest.param(
            "Bound",
            {options.ONLY_IF_OWNER: options.AWAITED},
            id="a bound PV is its claim's, whatever name was awaited",
        ),
        pytest.param(
            "Released",
            {options.ONLY_IF_AWAITED: "true"},
            id="a claim that has gone again must have the name that was awaited",
        ),
    ],
)
def test_the_driver_is_told_of_the_claim_that_came_before_all_else(
    tmp_path: Path, phase: str, only_if: dict[str, str]
) -> None:
    parts = Parts(tmp_path, of(OWNER, phase=phase, awaits=True), None)

    parts.sync()

    assert parts.called() == ["adopt"]
    given = parts.last_options
    assert given[options.CLAIM_UID] == "u1"
    conditions = (options.ONLY_IF_OWNER, options.ONLY_IF_AWAITED)
    assert {key: given[key] for key in conditions if key in given} == only_if
    assert parts.api.volume is not None
    assert objects.AWAITS_CLAIM not in parts.api.volume["metadata"]["annotations"]
    assert parts.is_settled


def test_a_claim_that_the_driver_refuses_leaves_the_mark(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(OWNER, phase="Bound", awaits=True), live(HERE))
    parts.fail("adopt")

    parts.sync()

    assert parts.reasons == ["VolumeFailedAdopt"]
    assert parts.api.volume is not None
    assert parts.api.volume["metadata"]["annotations"][objects.AWAITS_CLAIM]
    assert parts.work.waiting_keys() == [KEY]


def test_a_finalizer_is_tried_again_while_others_change_the_pv_and_not_for_ever(
    tmp_path: Path,
) -> None:
    parts = Parts(tmp_path, of(OWNER, phase="Bound", held=False), live(HERE))
    parts.api.conflicts = 5

    with pytest.raises(cluster.Refused, match="is changed all the time") as refused:
        parts.sync()
    assert refused.value.status == 409
    parts.api.conflicts = 4
    parts.delete.sync(KEY)

    assert parts.api.volume is not None
    assert objects.FINALIZER in parts.api.volume["metadata"]["finalizers"]


@pytest.mark.parametrize(
    "volume",
    [
        pytest.param(of(OWNER, phase="Bound", held=False), id="that is to get our finalizer"),
        pytest.param(of(OWNER, phase="Pending", deleted=True), id="that is to be let go"),
    ],
)
def test_what_the_api_server_does_not_allow_is_not_tried_at_once_again(
    tmp_path: Path, volume: dict[str, Any]
) -> None:
    parts = Parts(tmp_path, copy.deepcopy(volume), live(UNBOUND))
    parts.api.refusal = cluster.Refused(403, "denied by a policy")

    with pytest.raises(cluster.Refused, match="denied by a policy"):
        parts.sync()

    assert parts.api.reads <= 2


def test_a_pv_that_is_gone_when_its_turn_comes_is_settled(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(OWNER), None)
    parts.api.volume = None

    parts.sync()

    assert parts.called() == []
    assert parts.is_settled


def test_the_policies_are_those_of_our_pvs_that_are_there(tmp_path: Path) -> None:
    volume = of(OWNER, policy="Retain")
    parts = Parts(tmp_path, volume, None)
    assert parts.delete.policies() == {HERE: "Retain"}

    parts.delete.changed({**volume, "spec": {**volume["spec"], **of(OWNER)["spec"]}})
    assert parts.delete.policies() == {HERE: "Delete"}

    parts.delete.listed({"v1"})
    assert parts.delete.policies() == {HERE: "Delete"}
    parts.delete.listed({"v2"})
    assert parts.delete.policies() == {}

    parts.delete.changed(volume)
    parts.delete.gone(volume)
    assert parts.delete.policies() == {}
    assert parts.work.waiting_keys() == []


def test_a_pv_that_became_anothers_is_forgotten(tmp_path: Path) -> None:
    volume = of(OWNER)
    parts = Parts(tmp_path, volume, None)

    for _ in range(2):  # it is seen as another's again and again
        parts.delete.changed(of(OWNER, identity="node2"))

    assert parts.delete.policies() == {}
    assert parts.work.waiting_keys() == []


def test_a_pv_that_is_bound_again_before_its_turn_is_left(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(OWNER), None)

    parts.delete.changed(of(OWNER, phase="Bound"))

    assert parts.work.waiting_keys() == []
