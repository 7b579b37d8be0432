"""Claims, volumes, storage classes, nodes and pods as this program reads them: thin views over the
JSON of the API.

A view has an answer for each field that the API may leave out or send as null, so that no reader of
a view has to think of that. What this program writes to the API is made as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from cluster.controller.quantities import size_bytes
from shared.options import ANY

Object = dict[str, Any]
View = TypeVar("View", bound="ApiObject")

# The names of annotations, labels and finalizers that Kubernetes gives.
PROVISIONER = (
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
)
CLASS = "volume.beta.kubernetes.io/storage-class"
# On a node; also what the affinity of a PV and a capacity object name the node by.
HOSTNAME = "kubernetes.io/hostname"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
FINALIZER = "external-provisioner.volume.kubernetes.io/finalizer"

# Our own annotations.
IDENTITY = "flexvol/identity"  # on a PV: the instance that made it
LOST = "flexvol/lost"  # on a PV, by its node's instance: why its storage is no longer there
# On a PV that was made before its claim: the driver does not know the claim's uid yet.
AWAITS_CLAIM = "flexvol/awaits-claim"
FROM_SNAPSHOT = "flexvol/from-snapshot"  # on a claim: the snapshot that its volume begins with
ON_NODE_GONE = "flexvol/on-node-gone"  # on a PV, from the class's parameter

# A source that we know although CSI alone can make a volume of it: the claim is told so.
_SNAPSHOT = ("snapshot.storage.k8s.io", "VolumeSnapshot")
# What a watch cache keeps of the metadata of a claim or a volume.
_KEPT_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "annotations",
    "deletionTimestamp",
)
_POD_HAS_ENDED = ("Succeeded", "Failed")
_KEEPS_PODS_AWAY = ("NoSchedule", "NoExecute")


def table(value: object) -> Object:
    """The value if it is a JSON object; an empty one for null, absent and any other kind."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """The value if it is a JSON array; an empty one for null, absent and any other kind."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """The value if it is a string; "" for null, absent and any other kind."""
    return value if isinstance(value, str) else ""


@dataclass(frozen=True)
class ClaimReference:
    """The claim that a PV or a volume's record names. Each part may be ""."""

    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, json: object) -> ClaimReference:
        """json: a PV's claimRef, the owner that a driver lists, or the metadata of a claim; any
        other kind names no claim."""
        parts = table(json)
        return cls(text(parts.get("namespace")), text(parts.get("name")), text(parts.get("uid")))

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def is_any(self) -> bool:
        """Whether the volume was made for whichever claim comes, by `kubectl flexvol static`, and
        no claim has come."""
        return (self.namespace, self.name) == (ANY, ANY)

    @property
    def json(self) -> dict[str, str]:
        return {"namespace": self.namespace, "name": self.name, "uid": self.uid}


@dataclass(frozen=True)
class ApiObject:
    """What all objects have. json: the object as the API server sent it."""

    json: Object

    @overload
    @classmethod
    def of(cls: type[View], json: Object) -> View: ...

    @overload
    @classmethod
    def of(cls: type[View], json: Object | None) -> View | None: ...

    @classmethod
    def of(cls: type[View], json: Object | None) -> View | None:
        """The view of an object; None for an object that is not there."""
        return None if json is None else cls(json)

    @property
    def metadata(self) -> Object:
        return table(self.json.get("metadata"))

    @property
    def spec(self) -> Object:
        return table(self.json.get("spec"))

    @property
    def status(self) -> Object:
        return table(self.json.get("status"))

    @property
    def name(self) -> str:
        return text(self.metadata.get("name"))

    @property
    def namespace(self) -> str:
        return text(self.metadata.get("namespace"))

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def uid(self) -> str:
        return text(self.metadata.get("uid"))

    @property
    def resource_version(self) -> str:
        """The version of the object, which a patch can have as its precondition."""
        return text(self.metadata.get("resourceVersion"))

    @property
    def annotations(self) -> dict[str, str]:
        return table(self.metadata.get("annotations"))

    def annotation(self, name: str) -> str:
        """The annotation of that name; "" if there is none."""
        return self.annotations.get(name, "")

    @property
    def labels(self) -> dict[str, str]:
        return table(self.metadata.get("labels"))

    @property
    def finalizers(self) -> list[str]:
        return items(self.metadata.get("finalizers"))

    @property
    def owner_references(self) -> list[Object]:
        return items(self.metadata.get("ownerReferences"))

    @property
    def is_being_deleted(self) -> bool:
        return bool(self.metadata.get("deletionTimestamp"))

    @property
    def phase(self) -> str:
        return text(self.status.get("phase"))

    @property
    def conditions(self) -> list[Object]:
        return items(self.status.get("conditions"))

    def trimmed(self: View) -> View:
        """The object without what no decision needs, to be kept in memory: labels, managed fields
        and the status."""
        metadata = {key: self.metadata[key] for key in _KEPT_METADATA if key in self.metadata}
        return type(self)({"metadata": metadata, "spec": self.spec})


class Claim(ApiObject):
    """A PersistentVolumeClaim."""

    @property
    def reference(self) -> ClaimReference:
        return ClaimReference.of(self.metadata)

    @property
    def provisioner(self) -> str:
        """The provisioner that kube-controller-manager wrote on the claim; for late binding it does
        so only once a node is chosen."""
        name, beta_name = PROVISIONER
        return self.annotation(name) or self.annotation(beta_name)

    @property
    def class_name(self) -> str:
        return self.annotation(CLASS) or text(self.spec.get("storageClassName"))

    @property
    def selected_node(self) -> str:
        """The node that was chosen for the volume; "" until then."""
        return self.annotation(SELECTED_NODE)

    @property
    def volume_name(self) -> str:
        """The PV that the claim is bound to, or asks for; "" for none."""
        return text(self.spec.get("volumeName"))

    @property
    def access_modes(self) -> list[str]:
        return items(self.spec.get("accessModes"))

    @property
    def is_of_blocks(self) -> bool:
        """Whether its pods want the volume as a block device, without a file system."""
        return self.spec.get("volumeMode") == "Block"

    @property
    def has_selector(self) -> bool:
        return any(table(self.spec.get("selector")).values())

    @property
    def attributes_class_name(self) -> str:
        return text(self.spec.get("volumeAttributesClassName"))

    @property
    def requested_bytes(self) -> int:
        """What the claim asks for.

        :raises ValueError: if that is no size."""
        requests = table(table(self.spec.get("resources")).get("requests"))
        return size_bytes(text(requests.get("storage")))

    @property
    def capacity(self) -> str:
        """The quantity that the claim has; "" until it is bound."""
        return text(table(self.status.get("capacity")).get("storage"))

    @property
    def is_bound(self) -> bool:
        return self.phase == "Bound"

    @property
    def data_source(self) -> Object:
        """What the volume is to be a copy of; empty for none. The API server makes the two fields
        the same for all kinds that we know."""
        return table(self.spec.get("dataSourceRef")) or table(self.spec.get("dataSource"))

    @property
    def snapshot_name(self) -> str:
        """The snapshot that the volume is to begin with; "" for none."""
        return self.annotation(FROM_SNAPSHOT)

    @property
    def is_populated(self) -> bool:
        """Whether a volume populator makes the claim's volume: its dataSourceRef is of a kind that
        we do not know. A claim that also names a snapshot of ours contradicts itself."""
        group = self.data_source.get("apiGroup")
        if not group:  # The core group has one kind of source: a claim.
            return False
        is_known = (group, self.data_source.get("kind")) == _SNAPSHOT
        return not is_known and not self.snapshot_name

    @property
    def is_copy(self) -> bool:
        """Whether the driver has to copy a claim's volume, or a snapshot."""
        if self.snapshot_name:
            return True
        return bool(self.data_source) and not self.is_populated


class Volume(ApiObject):
    """A PersistentVolume (PV)."""

    @property
    def full_name(self) -> str:
        """Namespace and name of the claim that the PV names; "/" and its own name if it names
        none."""
        return self.claim.full_name if self.claim_reference else super().full_name

    @property
    def claim(self) -> ClaimReference:
        return ClaimReference.of(self.claim_reference)

    @property
    def claim_reference(self) -> Object:
        """The claimRef as it stands, with fields that `claim` has not; empty for none."""
        return table(self.spec.get("claimRef"))

    @property
    def provisioner(self) -> str:
        return self.annotation(PROVISIONED_BY)

    @property
    def identity(self) -> str:
        """The instance that made the PV: in node mode the name of its node."""
        return self.annotation(IDENTITY)

    @property
    def lost_mark(self) -> str:
        """Why the storage is no longer there, as the node's instance says; "" if it is there."""
        return self.annotation(LOST)

    @property
    def awaits_claim(self) -> bool:
        return bool(self.annotation(AWAITS_CLAIM))

    @property
    def flex_volume(self) -> Object:
        return table(self.spec.get("flexVolume"))

    @property
    def driver(self) -> str:
        """The FlexVolume driver, "flexvol/loop"; "" for a volume of another kind."""
        return text(self.flex_volume.get("driver"))

    @property
    def options(self) -> Object:
        """What the driver gets at each mount. Anybody who may write a PV can have edited them."""
        return table(self.flex_volume.get("options"))

    @property
    def pool_name(self) -> str:
        return text(self.options.get("pool"))

    @property
    def pool_id(self) -> str:
        """The id of the pool that has the storage; "" for a driver without pools."""
        return text(self.options.get("poolId"))

    @property
    def reclaim_policy(self) -> str:
        return text(self.spec.get("persistentVolumeReclaimPolicy")) or "Retain"

    @property
    def class_name(self) -> str:
        return text(self.spec.get("storageClassName"))

    @property
    def capacity(self) -> str:
        """The PV's size, as a quantity."""
        return text(table(self.spec.get("capacity")).get("storage"))

    @property
    def has_node_affinity(self) -> bool:
        """Whether the storage is on one node; else it is reachable from everywhere."""
        return bool(self.spec.get("nodeAffinity"))

    @property
    def node_selector(self) -> Object:
        """Which nodes can have the PV's pods; empty for all."""
        return table(table(self.spec.get("nodeAffinity")).get("required"))

    @property
    def hostnames(self) -> set[str]:
        """The hostname labels that the PV's affinity names."""
        return set(_hostnames(self.node_selector))

    @property
    def is_held(self) -> bool:
        """Whether our finalizer is on the PV, so that it cannot go without its storage."""
        return FINALIZER in self.finalizers

    @property
    def is_bound(self) -> bool:
        return self.phase == "Bound"


def node_affinity(hostname: str) -> Object:
    """The nodeAffinity of a PV whose storage is on the node with that hostname label."""
    term = {"key": HOSTNAME, "operator": "In", "values": [hostname]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}}


def _hostnames(node_selector: Object) -> Iterator[str]:
    for term in items(node_selector.get("nodeSelectorTerms")):
        for part in items(term.get("matchExpressions")):
            if part.get("key") == HOSTNAME and part.get("operator") == "In":
                for value in items(part.get("values")):
                    yield str(value)


class StorageClass(ApiObject):
    """A StorageClass."""

    @property
    def provisioner(self) -> str:
        return text(self.json.get("provisioner"))

    @property
    def parameters(self) -> dict[str, str]:
        return table(self.json.get("parameters"))

    @property
    def is_late(self) -> bool:
        """Whether a claim of this class waits for its first pod, whose node it then gets."""
        return self.json.get("volumeBindingMode") == "WaitForFirstConsumer"

    @property
    def reclaim_policy(self) -> str:
        return text(self.json.get("reclaimPolicy")) or "Delete"

    @property
    def mount_options(self) -> list[str]:
        return items(self.json.get("mountOptions"))

    @property
    def allowed_topologies(self) -> list[Object]:
        """The terms of which a node's labels must fulfil one; none for all nodes."""
        return items(self.json.get("allowedTopologies"))


class Node(ApiObject):
    """A Node."""

    @property
    def hostname(self) -> str:
        """The label that affinities name the node by; "" until kubelet has set it."""
        return self.labels.get(HOSTNAME, "")

    def trimmed(self) -> Node:
        """The node without what no decision needs. Kubelet writes a node every few seconds, and
        changes nothing of this."""
        return Node({
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": {"taints": self.taints, "unschedulable": self.is_cordoned},
        })  # fmt: skip

    @property
    def taints(self) -> list[Object]:
        return items(self.spec.get("taints"))

    @property
    def is_cordoned(self) -> bool:
        return bool(self.spec.get("unschedulable"))

    @property
    def takes_pods(self) -> bool:
        """Whether pods without tolerations of their own can go to the node: it is not cordoned, and
        has no taint that keeps them away, as control-plane nodes have."""
        if self.is_cordoned:
            return False
        return not any(taint.get("effect") in _KEEPS_PODS_AWAY for taint in self.taints)


class Pod(ApiObject):
    """A Pod."""

    @property
    def node_name(self) -> str:
        """The node that the scheduler chose; "" until then."""
        return text(self.spec.get("nodeName"))

    @property
    def has_ended(self) -> bool:
        return self.phase in _POD_HAS_ENDED

    @property
    def volumes(self) -> list[Object]:
        return items(self.spec.get("volumes"))

    @property
    def claim_names(self) -> list[str]:
        """The claims that the pod uses, those made for it too."""
        return list(self._claim_names())

    def _claim_names(self) -> Iterator[str]:
        for volume in self.volumes:
            if volume.get("persistentVolumeClaim"):
                yield volume["persistentVolumeClaim"]["claimName"]
            elif "ephemeral" in volume:
                yield f"{self.name}-{volume['name']}"

    @property
    def containers(self) -> list[Object]:
        """What kubelet reports of each container, those that run first among them first."""
        first = items(self.status.get("initContainerStatuses"))
        return [*first, *items(self.status.get("containerStatuses"))]

    @property
    def runs(self) -> bool:
        """Whether one of its containers runs."""
        return any("running" in table(container.get("state")) for container in self.containers)
