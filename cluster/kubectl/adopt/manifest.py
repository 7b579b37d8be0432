"""The PV that an adopted volume gets."""

from __future__ import annotations

import argparse

from cluster.controller import secrets, volume_manifest
from cluster.controller.cluster import CLASSES, Cluster, path_to
from cluster.controller.identity import Identity
from cluster.controller.objects import Claim, Object, StorageClass, Volume
from cluster.controller.storage import provisioner_of
from cluster.kubectl import nodes
from cluster.kubectl.adopt.candidates import Candidate, ClaimName
from shared import protocol
from shared.options import is_reserved


def volume_for(
    api: Cluster,
    settings: argparse.Namespace,
    candidate: Candidate,
    name: ClaimName,
    claim: Claim | None,
) -> Volume:
    """name: of the claim that the PV is for. claim: as it is now, if it is there.

    :raises Failure: if the volume's driver or provisioner does not tell enough."""
    if not candidate.identity:
        raise protocol.Unavailable(
            f"the pod that serves {candidate.driver} does not tell its "
            "provisioner's --identity in its arguments, and the PV needs it"
        )
    provisioner = provisioner_of(candidate.driver)
    identity = Identity({provisioner: candidate.driver}, candidate.identity, candidate.node)
    storage_class = _storage_class(api, settings, candidate)
    secret = secrets.wanted(
        Claim.of(_claim_of_volume(candidate, name, claim)),
        StorageClass.of(storage_class),
        identity,
        f"{settings.namespace}-secrets",
    )
    reference = {"metadata": _reference(name, claim), "spec": _spec(candidate)}
    hostname = nodes.hostname(api, candidate.node) if candidate.node else ""
    json = volume_manifest.persistent_volume(
        Claim(reference),
        StorageClass(storage_class),
        made(candidate.entry),
        identity,
        hostname,
        secret.names if secret else None,
    )
    return Volume(volume_manifest.volume_that_exists(candidate.name, json))


def _storage_class(
    api: Cluster,
    settings: argparse.Namespace,
    candidate: Candidate,
) -> Object:
    """The class that the volume was made with, as far as it is still there. The policy is Retain
    unless the person wants the recorded one."""
    provisioner = provisioner_of(candidate.driver)
    name = str(candidate.entry.get("class") or "")
    known = None
    if protocol.is_object_name(name):
        known = StorageClass.of(api.get(path_to(CLASSES, name)))
    parameters: dict[str, str] = {}
    if known is not None and known.provisioner == provisioner:
        parameters = known.parameters
    policy = candidate.entry.get("reclaimPolicy") if settings.recorded_policy else ""
    return {
        "metadata": {"name": name},
        "provisioner": provisioner,
        "reclaimPolicy": policy or "Retain",
        "parameters": parameters,
    }


def _claim_of_volume(
    candidate: Candidate,
    name: ClaimName,
    claim: Claim | None,
) -> Object:
    """The claim that the volume was made for, whose uid is in the volume's name: a Secret that was
    made for the volume is found by it."""
    metadata = {
        "namespace": name.namespace,
        "name": name.name,
        "uid": candidate.name.removeprefix("pvc-"),
        "annotations": {} if claim is None else claim.annotations,
    }
    return {"metadata": metadata}


def _reference(name: ClaimName, claim: Claim | None) -> Object:
    """The claim that the PV is for. A claim that has lost this very PV takes only a PV with its
    uid. Any other claim is awaited by its name, as it may go meanwhile."""
    reference = {"namespace": name.namespace, "name": name.name}
    if claim is not None and claim.volume_name:
        reference["uid"] = claim.uid
    return reference


def _spec(candidate: Candidate) -> Object:
    modes = candidate.entry.get("accessModes")
    if not isinstance(modes, list) or not modes:
        return {"accessModes": ["ReadWriteOnce"]}
    return {"accessModes": [str(mode) for mode in modes]}


def made(entry: Object) -> Object:
    """What of the entry the PV needs, as from a driver's provision.

    :raises Internal: if the driver does not list all of that."""
    options = entry.get("options")
    size = entry.get("sizeBytes")
    fs_type = entry.get("fsType")
    is_size = isinstance(size, int) and not isinstance(size, bool) and size >= 1
    if not _are_options(options) or not is_size or not isinstance(fs_type, str):
        raise protocol.Internal(
            "the volume's driver does not list its size, file system and "
            "options in full; see its list on the node"
        )
    return {"options": options, "capacityBytes": size, "fsType": fs_type}


def _are_options(options: object) -> bool:
    if not isinstance(options, dict):
        return False
    return all(isinstance(value, str) and not is_reserved(key) for key, value in options.items())
