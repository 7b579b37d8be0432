"""What a claim can be a copy of: another claim's volume, or a snapshot."""

from __future__ import annotations

from cluster.controller.identity import Identity, node_of
from cluster.controller.objects import FROM_SNAPSHOT, Claim, Object, Volume, table
from shared import protocol


def problem(claim: Claim) -> str:
    """Why no copy can be made of what the claim names as its source; "" if a copy can be made, if a
    populator reads the source, or if the claim names none."""
    source = claim.data_source
    if not source or claim.is_populated:
        return ""
    if claim.snapshot_name:
        return (
            f"the claim names a dataSource beside the annotation {FROM_SNAPSHOT}, and can "
            "begin with only one of the two; make a new claim without the other"
        )
    kind = source.get("kind")
    if kind != "PersistentVolumeClaim" or source.get("apiGroup"):
        return (
            f"its dataSource must be a claim of its own namespace; {kind} is CSI's "
            "alone: snapshots of `kubectl flexvol snapshot` are named in the "
            f"annotation {FROM_SNAPSHOT} of a new claim"
        )
    namespace = source.get("namespace")
    if namespace not in (None, claim.namespace):
        return (
            f"its dataSource must be a claim of its own namespace, {claim.namespace}, "
            f"and is one of namespace {protocol.shown(str(namespace))}; make the copy "
            "in that namespace"
        )
    return ""


def check_source(
    claim: Claim,
    source: Claim | None,
    volume: Volume | None,
    identity: Identity,
) -> None:
    """Checks that a claim can be a copy of another here and now.

    claim: the one that is to be a copy.
    source: the claim that it names, as it is now.
    volume: the PV that the source names.

    :raises NotFound: if the source is not there, or not bound.
    :raises InvalidArgument: if the source is of another class, or its PV is not its own or not
        ours.
    :raises Unavailable: if the source is on another node."""
    name = f"the claim {claim.data_source['name']}, which it is to be a copy of,"
    if source is None or volume is None or not source.is_bound:
        raise protocol.NotFound(f"{name} is not there, or not bound")
    if source.class_name != claim.class_name:
        raise protocol.InvalidArgument(
            f'{name} is of storage class "{source.class_name}"; a copy is of the same'
        )
    if volume.claim.uid != source.uid or not _is_made_alike(volume, claim, identity):
        raise protocol.InvalidArgument(
            f"{name} has a PV that is not its own, or not of this provisioner"
        )
    node = node_of(volume, identity.drivers)
    if identity.node and node != identity.node:
        raise protocol.Unavailable(
            f"{name} is on node {node}, so it is made there, and its pods run there"
        )


def _is_made_alike(volume: Volume, claim: Claim, identity: Identity) -> bool:
    """Whether the provisioner and the driver of the PV are the claim's."""
    driver = identity.drivers.get(claim.provisioner, "")
    return volume.provisioner == claim.provisioner and volume.driver == driver


def check_snapshot(
    claim: Claim,
    listed: list[Object],
    identity: Identity,
) -> None:
    """Checks that a claim may begin with the snapshot that its annotation names.

    Anyone who may create a claim writes the annotation, so the name is compared with what the
    driver lists: a snapshot, owned by the claim's namespace. Where two entries have the name, the
    driver may take either, so both must be allowed.

    listed: the volumes of the claim's driver, as its `list` answers.

    :raises Unavailable: if this node has no such snapshot.
    :raises NotFound: if shared storage has none."""
    name = claim.snapshot_name
    entries = [entry for entry in listed if entry.get("name") == name]
    if entries and all(_is_snapshot_of(entry, claim.namespace) for entry in entries):
        return
    if identity.node:
        raise protocol.Unavailable(
            f"node {identity.node} has no snapshot {name}; the node that has it makes it"
        )
    raise protocol.NotFound(
        f"the storage of {claim.provisioner} has no snapshot {protocol.shown(name)} of "
        f"namespace {claim.namespace}; name one that is listed for that namespace in the "
        f"annotation {FROM_SNAPSHOT} of a new claim"
    )


def _is_snapshot_of(entry: Object, namespace: str) -> bool:
    owner = table(entry.get("owner"))
    return entry.get("kind") == "snapshot" and owner.get("namespace") == namespace
