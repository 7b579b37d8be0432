"""Who may become the owner of a volume that is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers.loop import adopting, pools, records, volumes
from node.drivers.loop.pools import Pool
from node.host import files
from shared import options as keys
from shared.options import ANY, AWAITED, NO_OWNER, Claim, Options
from shared.protocol import Busy, Failure, InvalidArgument
from tests.unit.node import own_pool


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    """The pool that every name leads to."""
    with own_pool.open_pool(tmp_path) as opened:

        def reopened(name: str, pool_id: str | None = None) -> Pool:
            return Pool(name, opened.path, files.open_directory(opened.path), opened.settings)

        monkeypatch.setattr(pools, "open_pool", reopened)
        yield opened


def adopt(name: str = "pvc-1", uid: str = "uid-9", **more: str) -> str:
    """Gives the volume to the claim new/fresh with that uid; returns the message."""
    values = {
        keys.VOLUME: name,
        keys.CLAIM_NAMESPACE: "new",
        keys.CLAIM_NAME: "fresh",
        keys.CLAIM_UID: uid,
        "pool": "default",
        "poolId": "id",
    }
    reply = adopting.adopt(Options({**values, **more}))
    return str(reply.to_dict().get("message", ""))


def owner(pool: Pool, name: str = "pvc-1") -> str:
    with volumes.get(pool, name) as volume:
        return volume.owner.uid if volume.owner else ""


def test_the_claim_owns_the_volume_and_the_volume_is_empty_no_more(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1", move=records.Move("m1", "node2"))

    assert adopt(**{keys.CLUSTER_UID: "here"}) == ""

    with volumes.get(pool, "pvc-1") as volume:
        assert volume.owner is not None
        assert vars(volume.owner) == {"namespace": "new", "name": "fresh", "uid": "uid-9"}
        assert (volume.record.cluster_uid, volume.record.move) == ("here", None)
        assert not volume.record.blank and not volume.never_mounted


def test_the_cluster_stays_where_the_call_names_none(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1")

    adopt()

    with volumes.get(pool, "pvc-1") as volume:
        assert volume.record.cluster_uid == "cluster"


def test_what_was_mounted_is_kept_already(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1", blank=False)

    assert adopt(**{keys.ONLY_IF_BLANK: "true"}) == "it is kept already"

    assert owner(pool) == "uid-1"


def test_a_snapshot_gets_no_owner(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1", kind=records.SNAPSHOT, source="pvc-0")

    with pytest.raises(InvalidArgument, match="is a snapshot of pvc-0"):
        adopt()

    assert owner(pool) == "uid-1"


@pytest.mark.parametrize(
    ("now", "expected", "refused"),
    [
        pytest.param("uid-1", "uid-1", None, id="the owner is the one that was read"),
        pytest.param("uid-9", "uid-1", None, id="the claim has the volume already"),
        pytest.param("uid-2", "uid-1", Busy, id="another claim got the volume meanwhile"),
        pytest.param(None, NO_OWNER, None, id="the volume has no owner, as was read"),
        pytest.param("uid-2", NO_OWNER, Busy, id="the volume had no owner and has one now"),
    ],
)
def test_a_pvs_instance_gets_the_volume_only_from_the_owner_that_it_read(
    pool: Pool, now: str | None, expected: str, refused: type[Failure] | None
) -> None:
    own_pool.add(pool, "pvc-1", owner=None if now is None else Claim("web", "data", now))
    condition = {keys.ONLY_IF_OWNER: expected}

    if refused is None:
        adopt(**condition)
        assert owner(pool) == "uid-9"
    else:
        with pytest.raises(refused):
            adopt(**condition)
        assert owner(pool) == now


@pytest.mark.parametrize(
    ("awaited", "gets"),
    [
        pytest.param(Claim("new", "fresh", AWAITED), True, id="this claim"),
        pytest.param(Claim(ANY, ANY, AWAITED), True, id="any claim"),
        pytest.param(Claim("new", "fresh", "uid-9"), True, id="this claim, which has it already"),
        pytest.param(Claim("new", "other", AWAITED), False, id="another claim"),
        pytest.param(Claim("new", "fresh", "uid-2"), False, id="an earlier claim of that name"),
        pytest.param(None, False, id="nobody"),
    ],
)
def test_a_volume_is_given_to_the_claim_that_it_awaits(
    pool: Pool, awaited: Claim | None, gets: bool
) -> None:
    own_pool.add(pool, "pvc-1", owner=awaited)
    condition = {keys.ONLY_IF_AWAITED: "true"}

    if gets:
        adopt(**condition)
        assert owner(pool) == "uid-9"
    else:
        with pytest.raises(InvalidArgument, match="does not await this claim"):
            adopt(**condition)


def test_a_volume_that_is_being_moved_is_given_to_no_pv(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1", move=records.Move("m1", "node2"))

    with pytest.raises(Busy, match="is being moved to node 'node2'"):
        adopt(**{keys.ONLY_IF_OWNER: "uid-1"})


def test_only_a_person_brings_an_archive_back(pool: Pool) -> None:
    archive: dict[str, Any] = {"archive": records.Archiving(3600, 5), "blank": False}
    own_pool.add(pool, ".archived-0011223344556677-pvc-1", **archive)

    with pytest.raises(Failure, match="volume pvc-1 is not in pool"):
        adopt(**{keys.ONLY_IF_OWNER: "uid-1"})
    assert adopt() == "it is brought back as volume pvc-1"

    assert own_pool.entries(pool) == {"pvc-1"}
    assert owner(pool) == "uid-9"
    with volumes.get(pool, "pvc-1") as volume:
        assert volume.record.archive is not None
        assert vars(volume.record.archive) == {"seconds": 3600, "since": 0}
