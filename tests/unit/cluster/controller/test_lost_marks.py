"""The mark on a PV whose pool was replaced: when it is put, when it is taken away, and who is
told."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cluster.controller import cluster, objects
from cluster.controller.identity import Identity
from cluster.controller.lost_marks import LostMarks
from cluster.controller.storage import Listed
from tests.unit.cluster.controller.objects import OWNER, volume_of_node

DRIVER = "flexvol/loop"
US = Identity({"loop.flexvol": DRIVER, "new.flexvol": "flexvol/new"}, "node1", "node1")
THERE = {"name": "default", "id": "1"}
REPLACED = {"name": "default", "id": "2"}
AWAY = {"name": "default", "error": "away"}


class Marks:
    """LostMarks beside PVs of its node. changes: the marks that were written, by the PV's name."""

    def __init__(self, *volumes: dict[str, Any]) -> None:
        self.volumes = {volume["metadata"]["name"]: volume for volume in volumes}
        self.changes: dict[str, Any] = {}
        self.told: list[tuple[str, str, str]] = []
        self.refusal: cluster.Refused | None = None
        api: Any = self
        self.marks = LostMarks(api, api, US, lambda: None)
        for volume in volumes:
            self.marks.volumes.changed(copy.deepcopy(volume))

    def check(self, *pools: dict[str, str]) -> None:
        self.marks.check({DRIVER: Listed([], list(pools))})

    def patch(self, path: str, change: dict[str, Any]) -> Any:
        if self.refusal is not None:
            raise self.refusal
        name = path.rpartition("/")[2]
        assert path == f"/api/v1/persistentvolumes/{name}"
        assert change["metadata"]["resourceVersion"] == "7"
        ((key, mark),) = change["metadata"]["annotations"].items()
        assert key == objects.LOST
        self.changes[name] = mark
        volume = copy.deepcopy(self.volumes[name])
        volume["metadata"]["annotations"][objects.LOST] = mark or ""
        return volume

    def warning(self, about: dict[str, Any], reason: str, said: str) -> None:
        self.told.append((about["metadata"]["name"], reason, said))


def volume(mark: str = "", name: str = "pvc-u1", pool_id: str = "1", **more: Any) -> dict[str, Any]:
    made = volume_of_node(mark, pool="default", poolId=pool_id, **more)
    made["metadata"].update(name=name, uid=f"uid-of-{name}", resourceVersion="7")
    return made


@pytest.mark.parametrize(
    ("mark", "pool", "marked"),
    [
        pytest.param("", THERE, False, id="a pool that is there"),
        pytest.param("", AWAY, False, id="a pool whose disk is away"),
        pytest.param("", REPLACED, True, id="a pool that was replaced"),
        pytest.param("its pool was replaced", REPLACED, False, id="a PV that has its mark already"),
        pytest.param("its pool was replaced", AWAY, False, id="a pool that may be there again"),
        pytest.param("its pool was replaced", THERE, True, id="a pool that is there again"),
    ],
)
def test_which_mark_is_written(mark: str, pool: dict[str, str], marked: bool) -> None:
    marks = Marks(volume(mark))

    marks.check(pool)

    assert list(marks.changes) == (["pvc-u1"] if marked else [])
    if marked and mark:
        assert marks.changes["pvc-u1"] is None
    elif marked:
        assert "its id is 2, the volume's is '1'" in marks.changes["pvc-u1"]


def test_a_pool_that_was_replaced_is_told_on_the_pv_and_its_claim() -> None:
    marks = Marks(volume())

    marks.check(REPLACED)

    (of_pv, of_claim) = marks.told
    assert of_pv[:2] == ("pvc-u1", "VolumeLost")
    assert of_claim[:2] == (OWNER["name"], "VolumeLost")
    assert of_pv[2] == of_claim[2]
    assert of_pv[2].endswith("kubectl flexvol release pvc-u1")


def test_a_pv_without_a_claim_is_told_of_alone() -> None:
    unclaimed = volume()
    del unclaimed["spec"]["claimRef"]
    marks = Marks(unclaimed)

    marks.check(REPLACED)

    assert [name for name, _, _ in marks.told] == ["pvc-u1"]


def test_a_pool_that_is_there_again_is_no_event() -> None:
    marks = Marks(volume("its pool was replaced"))

    marks.check(THERE)

    assert marks.told == []


def test_each_pv_is_compared_with_its_own_pool() -> None:
    marks = Marks(
        volume(name="of-none", pool_id=""),
        volume(name="lost"),
        volume(name="there", pool_id="2"),
        volume(name="lost-too", pool_id="9"),
    )

    marks.check(REPLACED)

    assert list(marks.changes) == ["lost", "lost-too"]


def test_a_pv_of_a_driver_that_has_never_listed_is_passed_over() -> None:
    of_another = volume(name="of-another", by="new.flexvol")
    of_another["spec"]["flexVolume"]["driver"] = "flexvol/new"
    marks = Marks(of_another, volume())

    marks.check(REPLACED)

    assert list(marks.changes) == ["pvc-u1"]


def test_pvs_of_others_are_not_marked() -> None:
    foreign = volume(name="foreign")
    foreign["metadata"]["annotations"][objects.IDENTITY] = "node2"
    marks = Marks(foreign, volume(name="other", by="other"))

    marks.check(REPLACED)

    assert marks.changes == {}


@pytest.mark.parametrize("status", [409, 403], ids=["it was changed", "a policy denies it"])
def test_a_mark_that_is_refused_is_tried_at_the_next_list(status: int) -> None:
    marks = Marks(volume())
    marks.refusal = cluster.Refused(status, "no")
    marks.check(REPLACED)
    assert marks.told == []
    marks.refusal = None

    marks.check(REPLACED)

    assert list(marks.changes) == ["pvc-u1"]


def test_a_pv_that_is_gone_when_it_is_marked_is_nobodys_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marks = Marks(volume())
    monkeypatch.setattr(marks, "patch", lambda path, change: None)

    marks.check(REPLACED)

    assert marks.told == []
