"""How a program in a pod ended, from what the API server says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cluster.controller import execute
from cluster.controller.api_errors import Refused, Unreachable

EXIT_3 = {"causes": [{"reason": "ExitCode", "message": "3"}]}


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        pytest.param({"status": "Success"}, 0, id="it succeeded"),
        pytest.param(
            {"status": "Failure", "details": EXIT_3},
            3,
            id="it failed with a status",
        ),
    ],
)
def test_a_program_in_a_pod_ends_with_its_own_status(ending: Any, status: int) -> None:
    assert execute.exit_status(json.dumps(ending).encode(), "x") == status


def test_a_program_that_was_never_started_or_not_seen_to_end_is_an_error() -> None:
    with pytest.raises(Refused, match="x: no such file"):
        execute.exit_status(
            b'{"status": "Failure", "message": "no such file", "code": 500}',
            "x",
        )
    for cut in (b"", b'{"status": "Fai', b"[]", b"null", b'{"status": "Failure"}'):
        with pytest.raises(
            Unreachable,
            match="x: the connection ended before the program did",
        ):
            execute.exit_status(cut, "x")
