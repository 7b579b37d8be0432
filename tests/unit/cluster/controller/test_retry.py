"""What follows each failure of a driver: one row of the table for each reason of the contract."""

from __future__ import annotations

import pytest

from cluster.controller import retry
from cluster.controller.retry import GROWING, SLOW, SOON, Retry
from shared import protocol
from tests import documents


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        pytest.param(
            protocol.InvalidArgument, Retry(SLOW), id="only a change helps an invalid request"
        ),
        pytest.param(
            protocol.NotSupported, Retry(SLOW), id="only a change helps what no driver supports"
        ),
        pytest.param(
            protocol.ResourceExhausted,
            Retry(GROWING, elsewhere=True),
            id="a node without room gives the claim to another",
        ),
        pytest.param(
            protocol.Unavailable,
            Retry(GROWING, elsewhere=True),
            id="a node whose storage is away gives the claim to another",
        ),
        pytest.param(
            protocol.Busy,
            Retry(
                GROWING,
                may_exist=True,
            ),
            id="a busy driver may be making it",
        ),
        pytest.param(
            protocol.NotFound, Retry(GROWING), id="a volume that is not found is not there"
        ),
        pytest.param(
            protocol.Pending,
            Retry(SOON, warns=False, may_exist=True),
            id="a volume that is being made is no news",
        ),
        pytest.param(
            protocol.Internal,
            Retry(GROWING, may_exist=True),
            id="an unknown outcome may be a volume",
        ),
        pytest.param(
            protocol.Failure,
            Retry(GROWING, may_exist=True),
            id="an unnamed failure is an unknown outcome",
        ),
    ],
)
def test_what_follows_a_failure(failure: type[protocol.Failure], expected: Retry) -> None:
    assert retry.after(failure("x")) == expected


def test_every_reason_of_the_contract_has_its_row() -> None:
    assert set(retry.AFTER) == set(protocol.FAILURES.values())


def test_a_kind_of_a_failure_is_followed_by_the_same() -> None:
    class Hangs(protocol.Unavailable):
        """Not a reason of the contract."""

    assert retry.after(Hangs("x")) == retry.AFTER[protocol.Unavailable]


def test_a_pause_doubles_up_to_its_last() -> None:
    pauses = [GROWING.seconds(failures) for failures in (0, 1, 2, 8, 9, 10_000)]

    assert pauses == [1.0, 2.0, 4.0, 256.0, 300.0, 300.0]
    assert not SLOW.grows
    assert not SOON.grows


def test_the_documents_have_the_same_table() -> None:
    rows = documents.table("reason")

    for reason, row in retry.AFTER.items():
        begin = f"`{reason.__name__}`"
        (cells,) = [cells for first, cells in rows.items() if first.startswith(begin)]
        assert cells == cells_of(row), (
            f"correct the row of {reason.__name__} in docs/your-own-driver.md"
        )


def cells_of(row: Retry) -> list[str]:
    pause = f"{row.pause.first_seconds:.0f}"
    if row.pause.grows:
        pause += f" to {row.pause.last_seconds:.0f}"
    facts = (row.warns, row.elsewhere, row.may_exist)
    return [pause, *("yes" if fact else "no" for fact in facts)]
