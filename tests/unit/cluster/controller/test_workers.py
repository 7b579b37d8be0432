"""Which keys each worker works on."""

from __future__ import annotations

import pytest

from cluster.controller import workers


@pytest.mark.parametrize(
    "makers",
    [
        pytest.param(1, id="one maker"),
        pytest.param(2, id="two makers"),
        pytest.param(4, id="four makers"),
    ],
)
def test_neither_claims_nor_deletions_take_all_workers(makers: int) -> None:
    all_of_them = workers.what_workers_take(makers)

    take_claims = [takes(("claim", "u")) for takes in all_of_them]
    take_volumes = [takes(("volume", "pvc-u")) for takes in all_of_them]
    assert take_claims.count(True) == take_volumes.count(True) == makers
    assert take_claims.count(False) == take_volumes.count(False) == 1
