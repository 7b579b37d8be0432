"""What deleting a claim does to its volume and to the data."""

from __future__ import annotations

import pytest

from cluster.controller import decide
from cluster.controller.objects import Claim, Object, Volume
from cluster.kubectl.explain.deletion import on_deletion, on_owner
from cluster.kubectl.explain.findings import Finding
from tests.unit.cluster.kubectl.explain.scenes import (
    EPHEMERAL,
    claim,
    of_pod,
    pod,
    scene,
    volume,
)

DELETES = decide.Decision(decide.DELETE)
ARCHIVES = {"name": "a", "onDelete": "archive", "archiveSeconds": 720 * 3600, "blank": False}


@pytest.mark.parametrize(
    ("decision", "entry", "words"),
    [
        pytest.param(
            DELETES,
            {"name": "a"},
            "deletes the volume and its data",
            id="deleted",
        ),
        pytest.param(
            DELETES,
            ARCHIVES,
            "archives the volume: its data is kept for 720 hours in which its node is up",
            id="archived for some time",
        ),
        pytest.param(
            DELETES,
            {**ARCHIVES, "archiveSeconds": 0},
            "its data is kept until somebody deletes it",
            id="archived for ever",
        ),
        pytest.param(
            DELETES, {**ARCHIVES, "blank": True}, "which was never mounted", id="nothing to archive"
        ),
        pytest.param(
            DELETES,
            {},
            "or archives it, if its class said",
            id="a node that is silent",
        ),
        pytest.param(
            DELETES,
            {"name": "a", "error": "volume.json is missing"},
            "or archives it, if its class said",
            id="a record that cannot be read",
        ),
        pytest.param(
            decide.Decision(decide.DROP_FINALIZER, "it keeps it"),
            {"name": "a"},
            "leaves the volume",
            id="kept",
        ),
    ],
)
def test_what_deleting_the_claim_does_to_the_data(
    decision: decide.Decision, entry: Object, words: str
) -> None:
    finding = on_deletion(decision, Volume(volume("pv", "node1", "data")), entry, is_used=False)

    assert words in finding.sentence
    assert ("deletes the volume and its data" in finding.sentence) == (
        decision == DELETES and entry.get("onDelete") != "archive"
    )


def test_a_claim_of_an_ephemeral_volume_goes_with_its_pod() -> None:
    owned = claim("web-scratch", "pv")
    owned["metadata"]["ownerReferences"] = [{"kind": "Pod", "name": "web", "uid": "uid-web"}]

    (finding,) = on_owner(Claim(owned))

    assert "is deleted with that pod" in finding.sentence
    assert of_pod(pod(**EPHEMERAL), scene([owned], [volume("pv", "node1", "x")])) == [
        Finding("pod web uses the claim, and the scheduler says: 0/2 nodes are available", True)
    ]
