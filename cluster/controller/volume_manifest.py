"""From a claim, its class and a driver's reply to a PV; and from a PV, or from what a driver lists,
to the requests that provision, adopt and delete a volume. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cluster.controller import class_parameters, objects
from cluster.controller.identity import Identity
from cluster.controller.objects import Claim, Object, StorageClass, Volume
from cluster.controller.quantities import GIB, MIB, quantity, round_up
from shared import options
from shared.options import Options

_TRUE = "true"
_REFERENCE = ("namespace", "name", "uid", "resourceVersion")


def volume_name(claim: Claim) -> str:
    """The PV's name comes from the claim's uid, so that every attempt is about the same volume."""
    return "pvc-" + claim.uid


class Variant(NamedTuple):
    """What is special about a volume that is to be made.

    name: its name, where a person makes the volume.
    source: the volume to copy.
    only_find: whether the volume is returned if it exists, and none is made."""

    name: str = ""
    source: str = ""
    only_find: bool = False


_USUAL = Variant()


def provision_request(
    claim: Claim,
    storage_class: StorageClass,
    size_bytes: int,
    cluster_uid: str,
    variant: Variant = _USUAL,
) -> Options:
    """What the driver's provision is called with.

    size_bytes: the claim's request."""
    values = _driver_parameters(storage_class.parameters)
    values.update({
        options.VOLUME: variant.name or volume_name(claim),
        options.FS_TYPE: class_parameters.fs_type_of(storage_class.parameters),
        options.REQUEST_BYTES: str(size_bytes),
        options.REQUEST_MIB: str(round_up(size_bytes, MIB)),
        options.REQUEST_GIB: str(round_up(size_bytes, GIB)),
        options.CLAIM_NAMESPACE: claim.namespace,
        options.CLAIM_NAME: claim.name,
        options.CLAIM_UID: claim.uid,
        options.ACCESS_MODES: ",".join(claim.access_modes),
        options.CLASS_NAME: storage_class.name,
        options.RECLAIM_POLICY: storage_class.reclaim_policy,
        options.MOUNT_OPTIONS: ",".join(storage_class.mount_options),
        options.NODE_NAME: claim.selected_node,
        options.CLUSTER_UID: cluster_uid,
    })  # fmt: skip
    also = {
        options.CLASS_SECRET: class_parameters.secret_parameter(storage_class),
        options.SOURCE_VOLUME: variant.source,
        options.ONLY_FIND: _TRUE if variant.only_find else "",
    }
    values.update(_without_empty(also))
    return Options(values)


def _driver_parameters(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters of a class that its driver gets: those that are neither the provisioner's own
    nor able to stand for a key that the provisioner fills in."""
    return {
        key: value
        for key, value in parameters.items()
        if key not in class_parameters.OWN_PARAMETERS and not options.is_reserved(key)
    }


def _without_empty(values: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def persistent_volume(
    claim: Claim,
    storage_class: StorageClass,
    made: dict[str, Any],
    identity: Identity,
    hostname: str,
    secret: tuple[str, str] | None = None,
) -> Object:
    """The PV for the volume that the driver made.

    The class's mountOptions are not in it: kubelet fails every mount of a FlexVolume that has some.

    made: the driver's reply: its options, capacityBytes and fsType.
    hostname: the node's own label, in node mode.
    secret: namespace and name of the one that kubelet is to give to the driver."""
    flex_volume: Object = {
        "driver": identity.drivers[storage_class.provisioner],
        "fsType": made["fsType"],
        "options": made["options"],
    }
    if secret is not None:
        namespace, name = secret
        flex_volume["secretRef"] = {"namespace": namespace, "name": name}
    spec: Object = {
        "capacity": {"storage": quantity(made["capacityBytes"])},
        "accessModes": claim.access_modes,
        "persistentVolumeReclaimPolicy": storage_class.reclaim_policy,
        "storageClassName": storage_class.name,
        "volumeMode": "Filesystem",
        "claimRef": _reference(claim),
        "flexVolume": flex_volume,
    }
    if identity.node:
        spec["nodeAffinity"] = objects.node_affinity(hostname)
    metadata = {
        "name": volume_name(claim),
        "annotations": _annotations(storage_class, identity),
        "finalizers": _finalizers(storage_class),
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}


def _annotations(
    storage_class: StorageClass,
    identity: Identity,
) -> dict[str, str]:
    annotations = {
        objects.PROVISIONED_BY: storage_class.provisioner,
        objects.IDENTITY: identity.name,
    }
    on_node_gone = storage_class.parameters.get(class_parameters.ON_NODE_GONE_PARAMETER)
    if identity.node and on_node_gone:
        annotations[objects.ON_NODE_GONE] = on_node_gone
    return annotations


def _finalizers(storage_class: StorageClass) -> list[str]:
    if storage_class.reclaim_policy == "Delete":
        return [objects.FINALIZER]
    return []


def _reference(claim: Claim) -> Object:
    """What a PV says of its claim."""
    names = {key: claim.metadata[key] for key in _REFERENCE if claim.metadata.get(key)}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **names}


def volume_that_exists(name: str, volume: Object) -> Object:
    """The PV for a volume that exists without a PV: of the claim that the PV names; where it names
    no uid, of the next claim of that name; where it names no claim, of any that selects the PV.
    Until it is bound, the PV may be taken away, and nothing goes with it.

    name: of the volume.
    volume: the PV as persistent_volume makes it."""
    reference = volume["spec"]["claimRef"]
    annotations = dict(volume["metadata"]["annotations"])
    if not reference.get("uid"):
        annotations[objects.AWAITS_CLAIM] = _TRUE
    spec = dict(volume["spec"])
    if not reference.get("name"):
        del spec["claimRef"]
    metadata = {"name": name, "annotations": annotations, "finalizers": []}
    return {**volume, "metadata": metadata, "spec": spec}


def adopt_request(
    volume: Volume,
    cluster_uid: str = "",
    only_if_owner: str = "",
) -> Options:
    """What the driver's adopt is called with. With neither of the two words the volume gets the
    PV's claim only if its record awaits that claim.

    cluster_uid: to be recorded: of the cluster that the volume is adopted for.
    only_if_owner: the uid of the owner that the record names so far, NO_OWNER for none."""
    only_if_awaited = "" if cluster_uid or only_if_owner else _TRUE
    also = {
        options.CLUSTER_UID: cluster_uid,
        options.ONLY_IF_OWNER: only_if_owner,
        options.ONLY_IF_AWAITED: only_if_awaited,
    }
    return _request(volume, also)


def delete_request(
    volume: Volume,
    only_if_blank: bool = False,
    cancelled_move: str = "",
) -> Options:
    """What the driver's delete is called with.

    only_if_blank: whether a volume is kept that was ever mounted or adopted.
    cancelled_move: the id of the cancelled move whose copy is being removed. The copy is then not
        archived."""
    also = {
        options.ONLY_IF_BLANK: _TRUE if only_if_blank else "",
        options.CANCELLED_MOVE: cancelled_move,
    }
    return _request(volume, also)


def listed_request(
    entry: Object,
    only_if_blank: bool = False,
    cancelled_move: str = "",
) -> Options:
    """For delete and adopt alike: where the volume is, and its owner, as its driver lists it and
    not as a PV says. Otherwise as delete_request."""
    spec = {"claimRef": entry["owner"], "flexVolume": {"options": entry["options"]}}
    volume = Volume({"metadata": {"name": entry["name"]}, "spec": spec})
    return delete_request(volume, only_if_blank, cancelled_move)


def _request(volume: Volume, also: Mapping[str, str]) -> Options:
    """Everything in a PV can have been edited: its options cannot stand for the keys that the
    provisioner fills in.

    also: further keys; those without a value are left out."""
    values = {key: value for key, value in volume.options.items() if not options.is_reserved(key)}
    values.update(_without_empty(also))
    values.update({
        options.VOLUME: volume.name,
        options.CLAIM_NAMESPACE: volume.claim.namespace,
        options.CLAIM_NAME: volume.claim.name,
        options.CLAIM_UID: volume.claim.uid,
    })  # fmt: skip
    return Options(values)
