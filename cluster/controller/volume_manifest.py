"""From a claim, its class and a driver's reply to a PV, and from a PV to the request that deletes
it. Pure."""

from __future__ import annotations

from typing import Any

from cluster.controller import decide
from cluster.controller.quantities import quantity
from shared.options import (
    ACCESS_MODES,
    CLAIM_NAME,
    CLAIM_NAMESPACE,
    CLAIM_UID,
    CLASS_NAME,
    CLASS_SECRET,
    CLUSTER_UID,
    FS_TYPE,
    MOUNT_OPTIONS,
    NODE_NAME,
    ONLY_FIND,
    ONLY_IF_AWAITED,
    ONLY_IF_BLANK,
    ONLY_IF_OWNER,
    RECLAIM_POLICY,
    REQUEST_BYTES,
    REQUEST_GIB,
    REQUEST_MIB,
    SOURCE_VOLUME,
    TAKEN_BACK,
    VOLUME,
    Options,
    is_reserved,
)

Object = dict[str, Any]
_GIB, _MIB = 1 << 30, 1 << 20


def volume_name(claim: Object) -> str:
    """The PV's name comes from the claim's uid, so that every attempt is about the same volume."""
    return "pvc-" + str(claim["metadata"]["uid"])


def provision_request(
    claim: Object,
    storage_class: Object,
    size_bytes: int,
    cluster_uid: str,
    *,
    name: str = "",
    source: str = "",
    only_find: bool = False,
) -> Options:
    """What the driver's provision is called with.

    size_bytes: the claim's request.
    name: of a volume that a person makes.
    source: the volume to copy.
    only_find: nothing is to be made."""
    parameters = dict(storage_class.get("parameters") or {})
    fs_type = decide.fs_type_of(parameters)
    secret = _asks_for_secret(parameters)
    for key in decide.OWN_PARAMETERS:
        parameters.pop(key, None)
    metadata = claim["metadata"]
    return Options(
        {
            **{key: value for key, value in parameters.items() if not is_reserved(key)},
            VOLUME: name or volume_name(claim),
            FS_TYPE: fs_type,
            REQUEST_BYTES: str(size_bytes),
            REQUEST_MIB: str(-(-size_bytes // _MIB)),
            REQUEST_GIB: str(-(-size_bytes // _GIB)),
            CLAIM_NAMESPACE: metadata["namespace"],
            CLAIM_NAME: metadata["name"],
            CLAIM_UID: metadata["uid"],
            ACCESS_MODES: ",".join(claim["spec"].get("accessModes", [])),
            CLASS_NAME: storage_class["metadata"]["name"],
            RECLAIM_POLICY: _reclaim_policy(storage_class),
            MOUNT_OPTIONS: ",".join(storage_class.get("mountOptions") or []),
            NODE_NAME: decide.annotations_of(claim).get(decide.SELECTED_NODE, ""),
            CLUSTER_UID: cluster_uid,
            **({CLASS_SECRET: secret} if secret else {}),
            **({SOURCE_VOLUME: source} if source else {}),
            **({ONLY_FIND: "true"} if only_find else {}),
        }
    )


def _asks_for_secret(parameters: dict[str, str]) -> str:
    """Which parameter of the class means a Secret; "" if none does."""
    name, _, create = decide.SECRET_PARAMETERS
    if parameters.get(create, "false") != "false":
        return create
    return name if name in parameters else ""


def persistent_volume(
    claim: Object,
    storage_class: Object,
    made: dict[str, Any],
    us: decide.Identity,
    hostname: str,
    secret: tuple[str, str] | None = None,
) -> Object:
    """The PV for what the driver made. hostname: the node's own label, in node mode. secret:
    namespace and name of the one that kubelet is to give to the driver.

    The class's mountOptions are not in it: kubelet fails every mount of a FlexVolume that has some.
    """
    provisioner = storage_class["provisioner"]
    spec: Object = {
        "capacity": {"storage": quantity(made["capacityBytes"])},
        "accessModes": claim["spec"].get("accessModes", []),
        "persistentVolumeReclaimPolicy": _reclaim_policy(storage_class),
        "storageClassName": storage_class["metadata"]["name"],
        "volumeMode": "Filesystem",
        "claimRef": _reference(claim["metadata"]),
        "flexVolume": {
            "driver": us.drivers[provisioner],
            "fsType": made["fsType"],
            "options": made["options"],
        },
    }
    if secret is not None:
        spec["flexVolume"]["secretRef"] = {"namespace": secret[0], "name": secret[1]}
    finalizers = [decide.FINALIZER] if _reclaim_policy(storage_class) == "Delete" else []
    notes = {decide.PROVISIONED_BY: provisioner, decide.IDENTITY: us.name}
    if us.node:
        on_node_gone = (storage_class.get("parameters") or {}).get(decide.ON_NODE_GONE_PARAMETER)
        notes.update({decide.ON_NODE_GONE: on_node_gone} if on_node_gone else {})
        spec["nodeAffinity"] = node_affinity(hostname)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(claim),
            "annotations": notes,
            "finalizers": finalizers,
        },
        "spec": spec,
    }


def _reference(metadata: Object) -> Object:
    """What a PV says of its claim, whose metadata it is."""
    named = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion")}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **named}


def node_affinity(hostname: str) -> Object:
    """Of a PV whose storage is on the node with that hostname label."""
    term = {"key": decide.HOSTNAME, "operator": "In", "values": [hostname]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}}


def volume_that_exists(
    name: str,
    claim: Object,
    storage_class: Object,
    made: dict[str, Any],
    us: decide.Identity,
    hostname: str,
    secret: tuple[str, str] | None = None,
) -> Object:
    """The PV for a volume that has none: claim's metadata says whom it is for; without a uid, the
    next one of that name; without a name, any that selects it. Until it is bound, the PV may be
    taken away, and nothing goes with it."""
    metadata = claim["metadata"]
    whole = {
        **claim,
        "metadata": {"namespace": "", "name": "", "uid": "", "resourceVersion": "", **metadata},
    }
    volume = persistent_volume(whole, storage_class, made, us, hostname, secret)
    volume["metadata"].update(name=name, finalizers=[])
    if not metadata.get("uid"):
        volume["metadata"]["annotations"][decide.AWAITS_CLAIM] = "true"
    reference = volume["spec"].pop("claimRef")
    if metadata.get("name"):
        volume["spec"]["claimRef"] = {key: value for key, value in reference.items() if value}
    return volume


def adopt_request(volume: Object, cluster_uid: str = "", only_if_owner: str = "") -> Options:
    """What the driver's adopt is called with.

    cluster_uid: to be recorded: of the cluster that the volume is adopted for.
    only_if_owner: the uid of the owner that the record names so far, NO_OWNER for none.
    With neither of them the volume gets the PV's claim only if its record awaits that claim."""
    also = {CLUSTER_UID: cluster_uid, ONLY_IF_OWNER: only_if_owner}
    if not cluster_uid and not only_if_owner:
        also[ONLY_IF_AWAITED] = "true"
    return _request(volume, {key: value for key, value in also.items() if value})


def delete_request(volume: Object, only_if_blank: bool = False, taken_back: str = "") -> Options:
    """What the driver's delete is called with.

    only_if_blank: what was ever mounted or adopted is to be kept.
    taken_back: the move whose copy goes, and is not archived."""
    also = {
        ONLY_IF_BLANK: "true" if only_if_blank else "",
        TAKEN_BACK: taken_back,
    }
    return _request(volume, {key: value for key, value in also.items() if value})


def listed_request(entry: Object, only_if_blank: bool = False, taken_back: str = "") -> Options:
    """For delete and adopt alike: where the volume is, and its owner, as its driver lists it and
    not as a PV says. Otherwise as delete_request."""
    spec = {"claimRef": entry["owner"], "flexVolume": {"options": entry["options"]}}
    return delete_request(
        {"metadata": {"name": entry["name"]}, "spec": spec}, only_if_blank, taken_back
    )


def _request(volume: Object, also: dict[str, str]) -> Options:
    """Everything in a PV can have been edited: its options cannot stand for the keys that we fill
    in."""
    claim = volume["spec"].get("claimRef") or {}
    options = (volume["spec"].get("flexVolume") or {}).get("options") or {}
    return Options(
        {
            **{key: value for key, value in options.items() if not is_reserved(key)},
            **also,
            VOLUME: volume["metadata"]["name"],
            CLAIM_NAMESPACE: claim.get("namespace", ""),
            CLAIM_NAME: claim.get("name", ""),
            CLAIM_UID: claim.get("uid", ""),
        }
    )


def _reclaim_policy(storage_class: Object) -> str:
    return str(storage_class.get("reclaimPolicy") or "Delete")
