"""Which volumes the callout delete takes away, and which it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.drivers.loop import deleting, records
from node.drivers.loop.pools import Pool
from shared import options as keys
from shared.options import AWAITED, Claim, Options
from shared.protocol import InvalidArgument
from tests.unit.node import own_pool

ARCHIVE = records.Archiving(3600, 0)
UUID = "0f0e0d0c-0b0a-4908-8706-050403020100"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    with own_pool.open_pool(tmp_path) as opened:
        yield opened


def delete(pool: Pool, uid: str = "uid-1", **more: str) -> str:
    """Deletes pvc-1 for the claim with that uid; returns the message."""
    values = {
        keys.VOLUME: "pvc-1",
        keys.CLAIM_NAMESPACE: "web",
        keys.CLAIM_NAME: "data",
        keys.CLAIM_UID: uid,
    }
    reply = deleting.delete(pool, Options({**values, **more}))
    return str(reply.to_dict().get("message", ""))


def test_a_volume_goes_with_its_claim(pool: Pool) -> None:
    own_pool.add(pool, "pvc-1", blank=False)
    own_pool.add(pool, "pvc-2", name="pvc-2")

    assert delete(pool) == ""

    assert own_pool.entries(pool) == {"pvc-2"}


def test_what_a_killed_provision_left_goes_too(pool: Pool) -> None:
    own_pool.add(pool, ".new-pvc-1")

    assert delete(pool) == "it was already gone"

    assert own_pool.entries(pool) == set()


def test_a_volume_that_is_gone_is_deleted(pool: Pool) -> None:
    assert delete(pool) == "it was already gone"


@pytest.mark.parametrize(
    ("changes", "uid", "words"),
    [
        pytest.param({}, "uid-2", "claim uid 'uid-1', not 'uid-2'", id="another claim's"),
        pytest.param({"owner": None}, "uid-1", "claim uid none, not", id="nobody's"),
        pytest.param(
            {"owner": Claim("web", "data", AWAITED)},
            AWAITED,
            "it is left alone",
            id="a claim's that has not come",
        ),
        pytest.param(
            {"kind": records.SNAPSHOT, "source": "pvc-0"},
            "uid-1",
            "is a snapshot of pvc-0",
            id="a snapshot",
        ),
    ],
)
def test_a_volume_stays_that_is_not_the_claims(
    pool: Pool, changes: dict[str, Any], uid: str, words: str
) -> None:
    own_pool.add(pool, "pvc-1", **changes)

    with pytest.raises(InvalidArgument, match=words):
        delete(pool, uid)

    assert own_pool.entries(pool) == {"pvc-1"}


@pytest.mark.parametrize(
    ("changes", "cancelled_move", "is_archived"),
    [
        pytest.param({"archive": ARCHIVE}, None, True, id="its class archives"),
        pytest.param({"archive": None}, None, False, id="its class deletes"),
        pytest.param({"archive": ARCHIVE, "blank": True}, None, False, id="it is empty"),
        pytest.param(
            {"archive": ARCHIVE, "move": records.Move("m1", "node2")},
            None,
            False,
            id="its data was moved to another node",
        ),
        pytest.param(
            {"archive": ARCHIVE, "move": records.Move("m1", "")},
            "m1",
            False,
            id="it is the copy of a move that was cancelled",
        ),
        pytest.param(
            {"archive": ARCHIVE, "move": records.Move("m1", "")},
            "m2",
            True,
            id="it is the copy of another move than the cancelled one",
        ),
    ],
)
def test_a_volume_is_archived(
    pool: Pool, changes: dict[str, Any], cancelled_move: str | None, is_archived: bool
) -> None:
    own_pool.add(pool, "pvc-1", **{"blank": False, **changes})
    more = {} if cancelled_move is None else {keys.CANCELLED_MOVE: cancelled_move}

    message = delete(pool, **more)

    left = own_pool.entries(pool)
    assert len(left) == int(is_archived)
    assert all(name.startswith(".archived-") and name.endswith("-pvc-1") for name in left)
    assert message == "".join(f"it is archived as {name[1:]}" for name in left)


@pytest.mark.parametrize(
    ("changes", "goes"),
    [
        pytest.param({"blank": True}, True, id="it is empty"),
        pytest.param({"blank": True, "reclaim_policy": "Retain"}, True, id="it is empty and kept"),
        pytest.param({"blank": False}, False, id="a pod has had it"),
        pytest.param(
            {"blank": False, "clone_never_mounted": True, "new_uuid": UUID, "source": "pvc-0"},
            True,
            id="it is a clone that nobody has had",
        ),
        pytest.param(
            {
                "blank": False,
                "clone_never_mounted": True,
                "new_uuid": UUID,
                "source": "pvc-0",
                "reclaim_policy": "Retain",
            },
            False,
            id="it is a clone that nobody has had, and its class keeps volumes",
        ),
        pytest.param(
            {"blank": False, "clone_never_mounted": True, "new_uuid": "", "source": "pvc-0"},
            False,
            id="an older flexvol has mounted the clone",
        ),
        pytest.param(
            {
                "blank": False,
                "clone_never_mounted": True,
                "new_uuid": UUID,
                "move": records.Move("m1", ""),
            },
            False,
            id="the clone was moved",
        ),
    ],
)
def test_undone_provisioning_takes_only_what_nobody_has_had(
    pool: Pool, changes: dict[str, Any], goes: bool
) -> None:
    own_pool.add(pool, "pvc-1", **changes)
    only_if_blank = {keys.ONLY_IF_BLANK: "true"}

    if goes:
        delete(pool, **only_if_blank)
    else:
        why = r"has been mounted and may hold data|is a copy of pvc-0, and its class .* \(Retain\)"
        with pytest.raises(InvalidArgument, match=rf"^volume pvc-1 ({why}); it is left alone$"):
            delete(pool, **only_if_blank)

    assert own_pool.entries(pool) == (set() if goes else {"pvc-1"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({}, "it was a copy that was half made", id="it is the claim's"),
        pytest.param(
            {"owner": Claim("web", "data", "uid-2")},
            "it was already gone",
            id="it is another claim's",
        ),
        pytest.param({"owner": None}, "it was already gone", id="it is nobody's"),
    ],
)
def test_a_copy_that_is_half_made_goes_with_its_claim(
    pool: Pool, changes: dict[str, Any], message: str
) -> None:
    own_pool.add(pool, ".new-pvc-1", copied_bytes=5, **changes)

    assert delete(pool) == message

    is_gone = not changes
    assert own_pool.entries(pool) == (set() if is_gone else {".new-pvc-1"})


def test_an_archive_goes_when_its_claims_volume_is_deleted_by_its_name(pool: Pool) -> None:
    name = "archived-0011223344556677-pvc-1"
    own_pool.add(pool, "." + name, blank=False, archive=ARCHIVE)

    assert delete(pool, **{keys.VOLUME: name}) == ""

    assert own_pool.entries(pool) == set()


def test_another_claims_archive_stays_and_is_named_as_people_name_it(pool: Pool) -> None:
    name = "archived-0011223344556677-pvc-1"
    own_pool.add(pool, "." + name, blank=False, archive=ARCHIVE)

    with pytest.raises(InvalidArgument, match=f"^volume {name} is owned by claim uid 'uid-1'"):
        delete(pool, "uid-2", **{keys.VOLUME: name})

    assert own_pool.entries(pool) == {"." + name}
