"""What is done about a PV of ours and its claim; on the real API server it is tested on a cluster.
Here are the states in which nothing is to be deleted, and how often they are looked at."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller import cluster, objects
from cluster.controller.delete import Delete
from cluster.controller.instance import Instance
from cluster.controller.retry import GROWING
from cluster.controller.room_news import RoomNews
from cluster.controller.secrets import Secrets
from cluster.controller.storage import Storage
from cluster.controller.workqueue import Key, WorkQueue
from tests.unit.cluster.controller.objects import ELSEWHERE, HERE, NODE, OWNER, UNBOUND, live, of

KEY = ("volume", HERE)
PATH = f"/api/v1/persistentvolumes/{HERE}"


class Api:
    """One PV and its claim, and what became of the PV."""

    def __init__(self, volume: dict[str, Any], claim: dict[str, Any] | None) -> None:
        self.volume: dict[str, Any] | None = volume
        self._claim = claim
        self.conflicts = 0
        self.remade: dict[str, Any] | None = None  # the PV that has its name once it is gone
        self.reads = 0

    def get(self, path: str) -> Any:
        assert path == PATH
        self.reads += 1
        return copy.deepcopy(self.volume)

    def claim(self, whose: dict[str, Any]) -> Any:
        return self._claim if whose.get("uid") else None

    def patch(self, path: str, change: dict[str, Any]) -> None:
        assert self.volume is not None
        metadata = self.volume["metadata"]
        if change["metadata"].get("resourceVersion") != metadata["resourceVersion"]:
            raise cluster.Refused(409, "it was changed")
        if self.conflicts:
            self.conflicts -= 1
            metadata["resourceVersion"] += "0"
            raise cluster.Refused(409, "it was changed")
        metadata["finalizers"] = change["metadata"]["finalizers"]
        self._go()

    def delete(self, path: str, uid: str) -> None:
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
        self.calls = plugins / "calls"
        self.calls.touch()
        path = plugins / "flexvol~loop/loop"
        path.parent.mkdir()
        path.write_text(f'#!/bin/sh\necho $1 >>{self.calls}\necho \'{{"status": "Success"}}\'\n')
        path.chmod(0o755)
        events: Any = SimpleNamespace(warning=lambda about, reason, said: self.said.append(said))
        api: Any = self.api
        secrets = Secrets(api, NODE, "flexvol")
        storage = Storage(str(plugins))
        instance = Instance(api, NODE, storage, events, self.work, secrets)
        self.delete = Delete(instance, RoomNews())
        self.delete.changed(volume)

    def sync(self) -> None:
        key: Any = self.work.get()
        assert key == KEY
        self.delete.sync(key)

    def called(self) -> list[str]:
        return self.calls.read_text().split()


def test_a_pv_whose_claim_lives_and_is_bound_elsewhere_is_deleted(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(OWNER), live(ELSEWHERE))

    parts.sync()

    assert parts.called() == ["delete"]
    assert parts.api.volume is None
    assert parts.work.waiting_keys() == []


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

    assert (parts.called(), parts.said, parts.work.waiting_keys()) == ([], [], [])
    assert parts.api.volume is not None


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


def test_a_pv_without_a_claim_that_is_deleted_is_retained(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(None, phase="Available", deleted=True), None)

    parts.sync()

    assert parts.api.volume is None
    assert "delete" not in parts.called()
    assert "list" in parts.called(), "its record is to say that it is kept"


def test_a_retained_pv_whose_record_cannot_be_told_so_stays_and_says_why(tmp_path: Path) -> None:
    parts = Parts(tmp_path, of(None, phase="Available", deleted=True), None)
    failure = '{"status": "Failure", "reason": "Unavailable", "message": "asleep"}'
    (tmp_path / "flexvol~loop/loop").write_text(f"#!/bin/sh\necho '{failure}'\n")

    parts.sync()

    assert parts.said == ["Unavailable: asleep"]
    assert parts.api.volume is not None, "else a volume that was never mounted would be collected"
    assert parts.work.waiting_keys() == [KEY]
