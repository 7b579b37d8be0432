"""Volumes as nodes list them, and PVs."""

from __future__ import annotations

from typing import Any

from cluster.kubectl.adopt.candidates import (
    Candidate,
    ClaimName,
)

DRIVERS = {"loop.flexvol": "flexvol/loop"}
ARCHIVE = "archived-0011223344556677-pvc-1"
CLAIM = ClaimName("shop", "data")


def found(name: str = "pvc-1", node: str = "node1", **changes: Any) -> Candidate:
    owner = {"namespace": "shop", "name": "data", "uid": "old"}
    entry = {
        "name": name,
        "owner": owner,
        "sizeBytes": 64 << 20,
        "fsType": "ext4",
        "blank": False,
        "clusterUid": "lost",
        "options": {"pool": "default", "poolId": "ab"},
        "created": "2026-01-01T00:00:00Z",
    }
    return Candidate(node, "flexvol/loop", {**entry, **changes}, node or "shared")


def archive(name: str = ARCHIVE, **changes: Any) -> Candidate:
    return found(name, state="archived", archiveOf="pvc-1", **changes)


def volume(
    name: str = "pvc-1", node: str = "node1", claim: ClaimName = CLAIM, phase: str = "Bound"
) -> dict[str, Any]:
    notes = {"pv.kubernetes.io/provisioned-by": "loop.flexvol", "flexvol/identity": node}
    spec = {
        "claimRef": claim._asdict(),
        "flexVolume": {"driver": "flexvol/loop"},
        "nodeAffinity": {"required": {}},
    }
    return {
        "metadata": {"name": name, "annotations": notes},
        "spec": spec,
        "status": {"phase": phase},
    }
