"""What may be collected of the volumes that have neither PV nor claim, with one row for each way in
which a volume is not to be collected."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller import leftovers

OURS = "b9f1"
OWNER = {"namespace": "shop", "name": "data", "uid": "u1"}
LISTED: dict[str, Any] = {
    "name": "pvc-u1",
    "owner": OWNER,
    "clusterUid": OURS,
    "reclaimPolicy": "Delete",
    "blank": True,
    "options": {"pool": "default", "poolId": "5f"},
}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in LISTED.items() if name != key}


COPY = {**LISTED, "blank": False, "neverMounted": True, "source": "pvc-u0"}


def test_what_was_never_mounted_is_collected() -> None:
    assert leftovers.judge(LISTED, OURS)[0] == leftovers.BLANK
    assert leftovers.judge(COPY, OURS)[0] == leftovers.BLANK
    assert "a copy of pvc-u0 that was never mounted" in leftovers.judge(COPY, OURS)[1]


@pytest.mark.parametrize(
    ("entry", "reason", "words"),
    [
        pytest.param(
            {**LISTED, "blank": False},
            leftovers.USED,
            "may hold data",
            id="a volume that was mounted",
        ),
        pytest.param(
            {**COPY, "neverMounted": False},
            leftovers.USED,
            "may hold data",
            id="a copy that was mounted",
        ),
        pytest.param(
            {**COPY, "neverMounted": "true"},
            leftovers.USED,
            "may hold data",
            id="a copy whose driver says it in a text",
        ),
        pytest.param(
            {**COPY, "neverMounted": 1},
            leftovers.USED,
            "may hold data",
            id="a copy whose driver says it in a number",
        ),
        pytest.param(
            {**COPY, "reclaimPolicy": "Retain"},
            leftovers.RETAINED,
            "its class said Retain",
            id="a copy of a class that retains",
        ),
        pytest.param(
            {**COPY, "clusterUid": "a7"},
            leftovers.FOREIGN,
            "made for the cluster a7",
            id="a copy of another cluster",
        ),
        pytest.param(
            {**LISTED, "reclaimPolicy": "Retain"},
            leftovers.RETAINED,
            "its class said Retain",
            id="a volume of a class that retains",
        ),
        pytest.param(
            {**LISTED, "clusterUid": "a7"},
            leftovers.FOREIGN,
            f"made for the cluster a7, and this one is {OURS}",
            id="a volume of another cluster",
        ),
        # Other drivers, older ones, damaged records: what is not said is never taken for
        # permission.
        *[
            pytest.param(without(key), leftovers.UNKNOWN, "does not say", id=f"no {key}")
            for key in LISTED
            if key != "name"
        ],
        pytest.param(
            {"name": "pvc-u1", "error": "volume.json is missing"},
            leftovers.UNKNOWN,
            "volume.json is missing",
            id="a record that cannot be read",
        ),
        pytest.param(
            {**LISTED, "blank": "true"},
            leftovers.UNKNOWN,
            "does not say",
            id="a driver that says blank in a text",
        ),
        pytest.param(
            {**LISTED, "blank": 1},
            leftovers.UNKNOWN,
            "does not say",
            id="a driver that says blank in a number",
        ),
        pytest.param(
            {**LISTED, "owner": {**OWNER, "uid": ""}},
            leftovers.UNKNOWN,
            "does not say",
            id="an owner with an empty uid",
        ),
        pytest.param(
            {**LISTED, "owner": {"uid": "u1"}},
            leftovers.UNKNOWN,
            "does not say",
            id="an owner without a name",
        ),
        pytest.param(
            {**LISTED, "owner": "u1"},
            leftovers.UNKNOWN,
            "does not say",
            id="an owner that is no object",
        ),
        pytest.param(
            {**LISTED, "options": {"pool": 1}},
            leftovers.UNKNOWN,
            "does not say",
            id="an option that is no text",
        ),
        pytest.param(
            {**LISTED, "options": []},
            leftovers.UNKNOWN,
            "does not say",
            id="options that are no object",
        ),
        pytest.param(
            {**LISTED, "reclaimPolicy": None},
            leftovers.UNKNOWN,
            "does not say",
            id="a policy that is null",
        ),
    ],
)
def test_all_else_is_only_reported(entry: dict[str, Any], reason: str, words: str) -> None:
    found, sentence = leftovers.judge(entry, OURS)

    assert found == reason
    assert words in sentence


@pytest.mark.parametrize(
    "recorded",
    [
        pytest.param("", id="a record without a cluster"),
        pytest.param(OURS, id="a record of a cluster"),
    ],
)
def test_without_a_cluster_nothing_is_ours(recorded: str) -> None:
    """An API server that has no kube-system yet."""
    assert leftovers.judge({**LISTED, "clusterUid": recorded}, "")[0] != leftovers.BLANK
