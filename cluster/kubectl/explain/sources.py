"""A claim that is to begin with the data of another claim, or of a snapshot: where its source is,
and why the copy cannot be made there."""

from __future__ import annotations

from cluster.controller.identity import Identity, node_of
from cluster.controller.objects import Claim, Object, Volume, table
from cluster.controller.quantities import quantity
from cluster.controller.sources import check_source
from cluster.kubectl.explain.findings import Finding, problem
from cluster.kubectl.explain.rooms import obstacle_on
from cluster.kubectl.explain.scene import Scene, WaitingClaim
from cluster.kubectl.explain.wording import nodes_named
from shared import protocol
from shared.table import human_bytes


def node_of_source(claim: Claim, scene: Scene) -> str:
    """The node where a copy must be made; empty if the claim is no copy, or if its source's node is
    not known."""
    if claim.snapshot_name:
        found = snapshots(claim.snapshot_name, claim.namespace, scene)
        if not found:
            return ""
        node, _ = found[0]
        return node
    volume = _volume_of_source(claim, scene)
    return "" if volume is None else node_of(volume, scene.drivers)


def _source_claim(claim: Claim, scene: Scene) -> Claim | None:
    return scene.claims.get(claim.data_source.get("name", ""))


def _volume_of_source(claim: Claim, scene: Scene) -> Volume | None:
    source = _source_claim(claim, scene)
    return None if source is None else scene.volumes.get(source.volume_name)


def snapshots(
    name: str,
    namespace: str,
    scene: Scene,
) -> list[tuple[str, Object]]:
    """Node and entry of each snapshot of that name and namespace that was listed."""
    found = []
    for (node, _), listed in sorted(scene.listed.items()):
        for entry in listed.volumes:
            if entry.get("name") != name or entry.get("kind") != "snapshot":
                continue
            if table(entry.get("owner")).get("namespace") == namespace:
                found.append((node, entry))
    return found


def on_source(waiting: WaitingClaim, scene: Scene) -> list[Finding]:
    """What hinders a copy, whose node and pool are those of its source; nothing for a claim that is
    no copy."""
    claim = waiting.claim
    if not claim.is_copy:
        return []
    if claim.snapshot_name:
        obstacle = _on_snapshot(claim.snapshot_name, waiting, scene)
    else:
        obstacle = _on_source_claim(waiting, scene)
    return [problem(obstacle)] if obstacle else []


def _on_snapshot(name: str, waiting: WaitingClaim, scene: Scene) -> str:
    namespace = waiting.claim.namespace
    found = snapshots(name, namespace, scene)
    if not found:
        return _on_no_snapshot(name, namespace, scene)
    node, entry = found[0]
    pool = entry.get("pool")
    if pool and pool != waiting.pool_name:
        return (
            f"the snapshot {name} is in pool {pool} of node {node}, and a copy "
            "is made in the pool of its source; the claim's class names "
            f"{waiting.pool}: use a class with pool: {pool}"
        )
    return _on_copy(f"the snapshot {name}", node, entry, waiting, scene)


def _on_no_snapshot(name: str, namespace: str, scene: Scene) -> str:
    shown = protocol.shown(name)
    silent = {node for node, _ in scene.silent if node}
    if silent:
        return (
            f"no node that answered has a snapshot {shown} of namespace "
            f"{namespace}; {nodes_named(silent)} did not answer"
        )
    return (
        f"no node has a snapshot {shown} of namespace {namespace}; kubectl "
        "flexvol inventory lists those there are"
    )


def _on_source_claim(waiting: WaitingClaim, scene: Scene) -> str:
    claim = waiting.claim
    source = _source_claim(claim, scene)
    volume = _volume_of_source(claim, scene)
    try:
        check_source(claim, source, volume, Identity(scene.drivers, "", ""))
    except protocol.Failure as failure:
        return str(failure)
    if source is None or volume is None:
        return ""
    node = node_of(volume, scene.drivers)
    if not node:
        return ""
    entry = _entry_of(volume, node, scene)
    what = f"the volume of the claim {source.name}"
    return _on_copy(what, node, entry, waiting, scene)


def _entry_of(volume: Volume, node: str, scene: Scene) -> Object:
    """The volume as its node lists it; empty if it does not."""
    listed = scene.listed.get((node, volume.driver))
    for entry in listed.volumes if listed else []:
        if entry.get("name") == volume.name:
            return entry
    return {}


def _on_copy(
    what: str,
    node: str,
    entry: Object,
    waiting: WaitingClaim,
    scene: Scene,
) -> str:
    size_bytes = entry.get("sizeBytes")
    asked_bytes = waiting.claim.requested_bytes
    if isinstance(size_bytes, int) and asked_bytes < size_bytes:
        return (
            f"{what} has {human_bytes(size_bytes)}, and the claim asks for "
            f"{human_bytes(asked_bytes)}; a copy is as large as its source, or "
            f"larger: ask for {quantity(size_bytes)} in a new claim"
        )
    obstacle = obstacle_on(node, waiting, scene)
    if not obstacle:
        return ""
    return f"{what} is on node {node}, so the copy is made there, and {obstacle}"
