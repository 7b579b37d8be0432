"""What may be collected of the volumes that have neither PV nor claim, one row for each way not to be it."""

from __future__ import annotations

from typing import Any

import pytest

from controller import orphans

OURS = "b9f1"
OWNER = {"namespace": "shop", "name": "data", "uid": "u1"}
LISTED: dict[str, Any] = {
    "name": "pvc-u1", "owner": OWNER, "clusterUid": OURS, "reclaimPolicy": "Delete", "blank": True,
    "options": {"pool": "default", "poolId": "5f"},
}  # fmt: skip


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in LISTED.items() if name != key}


def test_what_was_never_mounted_is_collected() -> None:
    assert orphans.judge(LISTED, OURS)[0] == orphans.BLANK


@pytest.mark.parametrize(
    ("entry", "reason", "words"),
    [
        ({**LISTED, "blank": False}, orphans.USED, "may hold data"),
        ({**LISTED, "reclaimPolicy": "Retain"}, orphans.RETAINED, "its class said Retain"),
        ({**LISTED, "clusterUid": "a7"}, orphans.FOREIGN, f"made for the cluster a7, and this one is {OURS}"),
        # Other drivers, older ones, damaged records: what is not said is never taken for permission.
        *[(without(key), orphans.UNKNOWN, "does not say") for key in LISTED if key != "name"],
        ({"name": "pvc-u1", "error": "volume.json is missing"}, orphans.UNKNOWN, "volume.json is missing"),
        ({**LISTED, "blank": "true"}, orphans.UNKNOWN, "does not say"),
        ({**LISTED, "blank": 1}, orphans.UNKNOWN, "does not say"),
        ({**LISTED, "owner": {**OWNER, "uid": ""}}, orphans.UNKNOWN, "does not say"),
        ({**LISTED, "owner": {"uid": "u1"}}, orphans.UNKNOWN, "does not say"),
        ({**LISTED, "owner": "u1"}, orphans.UNKNOWN, "does not say"),
        ({**LISTED, "options": {"pool": 1}}, orphans.UNKNOWN, "does not say"),
        ({**LISTED, "options": []}, orphans.UNKNOWN, "does not say"),
        ({**LISTED, "reclaimPolicy": None}, orphans.UNKNOWN, "does not say"),
    ],
)
def test_all_else_is_only_reported(entry: dict[str, Any], reason: str, words: str) -> None:
    found, sentence = orphans.judge(entry, OURS)

    assert found == reason
    assert words in sentence


@pytest.mark.parametrize("recorded", ["", OURS])
def test_without_a_cluster_nothing_is_ours(recorded: str) -> None:
    """An API server that has no kube-system yet."""
    assert orphans.judge({**LISTED, "clusterUid": recorded}, "")[0] != orphans.BLANK
