"""What a claim can be a copy of."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller import sources
from cluster.controller.objects import Claim, Volume
from shared import protocol
from tests.unit.cluster.controller.objects import NODE, claim, volume


def check_source(source: dict[str, Any] | None, pv: dict[str, Any] | None) -> None:
    """Of a claim that is to be a copy of the claim `old`."""
    copy = Claim(claim(dataSourceRef={"kind": "PersistentVolumeClaim", "name": "old"}))
    sources.check_source(copy, Claim.of(source), Volume.of(pv), NODE)


def source(phase: str = "Bound", name: str = "c") -> dict[str, Any]:
    spec = {"storageClassName": name, "volumeName": "pvc-u1"}
    return {
        "metadata": {"name": "old", "namespace": "shop", "uid": "u0"},
        "spec": spec,
        "status": {"phase": phase},
    }


def bound(identity: str = "node1", uid: str = "u0", **changes: Any) -> dict[str, Any]:
    found = volume(phase="Bound", identity=identity, **changes)
    found["spec"].update(claimRef={"uid": uid}, nodeAffinity={"required": {}})
    return found


@pytest.mark.parametrize(
    ("of", "pv", "kind", "words"),
    [
        pytest.param(
            None,
            None,
            protocol.NotFound,
            "the claim old, which it is to be a copy of, is not there",
            id="the source is gone",
        ),
        pytest.param(
            source("Pending"),
            None,
            protocol.NotFound,
            "not bound",
            id="the source is not bound yet",
        ),
        pytest.param(
            source(), None, protocol.NotFound, "not bound", id="the source's PV is gone just now"
        ),
        pytest.param(
            source("Lost"), bound(), protocol.NotFound, "not bound", id="the source has lost its PV"
        ),
        pytest.param(
            source(name="other"),
            bound(),
            protocol.InvalidArgument,
            'is of storage class "other"',
            id="the source is of another class",
        ),
        pytest.param(
            source(),
            bound(uid="u7"),
            protocol.InvalidArgument,
            "not its own",
            id="the source's PV is bound to another claim",
        ),
        pytest.param(
            source(),
            bound(by="other"),
            protocol.InvalidArgument,
            "not of this provisioner",
            id="the source's PV is of another provisioner",
        ),
        pytest.param(
            source(),
            bound(driver="other/loop"),
            protocol.InvalidArgument,
            "not of this provisioner",
            id="the source's PV is of another driver",
        ),
        pytest.param(
            source(),
            bound("node2"),
            protocol.Unavailable,
            "is on node node2, so it is made there",
            id="the source is on another node",
        ),
    ],
)
def test_a_copy_of_what_cannot_be_copied_here(
    of: Any, pv: Any, kind: type[protocol.Failure], words: str
) -> None:
    with pytest.raises(kind, match=words):
        check_source(of, pv)


def test_a_copy_of_a_bound_claim_of_this_node_can_be_made() -> None:
    check_source(source(), bound())
