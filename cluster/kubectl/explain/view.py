"""Reads what explain needs to know, from the API server and from the nodes, when it is first asked
for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from cluster.controller import cluster, published_rooms
from cluster.controller.identity import node_of
from cluster.controller.objects import (
    ApiObject,
    Claim,
    Node,
    Object,
    Pod,
    StorageClass,
    Volume,
    table,
)
from cluster.controller.storage import Listed
from cluster.kubectl import by_provisioner, nodes
from cluster.kubectl.explain.scene import Scene
from cluster.kubectl.nodes import FlexvolNode, Key

_Named = TypeVar("_Named", bound=ApiObject)


class View:
    """The claims of one namespace, and all that bears on them."""

    def __init__(
        self,
        api: cluster.Cluster,
        namespace: str,
        installed_in: str,
        flexvol_nodes: dict[str, FlexvolNode],
    ) -> None:
        """namespace: of the claims. installed_in: the namespace of flexvol."""
        self.api = api
        self.namespace = namespace
        self.flexvol_nodes = flexvol_nodes
        self.drivers = by_provisioner(
            [driver for node in flexvol_nodes.values() for driver in node.drivers]
        )
        claims = api.items(cluster.in_namespace(namespace, "persistentvolumeclaims"))
        self.claims = _by_name(map(Claim, claims))
        pods = [Pod(pod) for pod in api.items(cluster.in_namespace(namespace, "pods"))]
        self._pods = [pod for pod in pods if not pod.has_ended]
        self._ended_pods = [pod for pod in pods if pod.has_ended]
        self.classes = _by_name(map(StorageClass, api.items(cluster.CLASSES)))
        self._nodes = _by_name(map(Node, api.items(cluster.NODES)))
        self._installed_in = installed_in
        self._listed: dict[Key, Listed] = {}
        self._silent: dict[Key, str] = {}
        self._published: dict[str, dict[str, int]] | None = None

    def pods_of(self, claim_name: str) -> list[Pod]:
        """The pods that use the claim and have not ended."""
        return [pod for pod in self._pods if claim_name in pod.claim_names]

    def ended_pods_of(self, claim_name: str) -> list[Pod]:
        """The pods that used the claim, have ended, and are not deleted. Kubernetes deletes no
        claim before its pods (the finalizer kubernetes.io/pvc-protection), these pods too."""
        return [pod for pod in self._ended_pods if claim_name in pod.claim_names]

    def volumes_of(self, claim_names: Iterable[str]) -> dict[str, Volume]:
        """The PVs that the claims name, by name."""
        volumes = {}
        for claim_name in dict.fromkeys(claim_names):
            claim = self.claims.get(claim_name)
            if claim is None or not claim.volume_name:
                continue
            volume = self.api.get(cluster.path_to(cluster.VOLUMES, claim.volume_name))
            if volume is not None:
                volumes[claim.volume_name] = Volume(volume)
        return volumes

    def volumes_of_pods(self, pods: Iterable[Pod]) -> dict[str, Volume]:
        """The PVs of all claims of the pods, by name."""
        return self.volumes_of(claims_of(pods))

    def driver_of(self, claim: Claim) -> str:
        """The driver of the claim's class; empty if flexvol does not serve that class here."""
        storage_class = self.classes.get(claim.class_name)
        if storage_class is None:
            return ""
        return self.drivers.get(storage_class.provisioner, "")

    def ask(self, names: Iterable[str], driver: str) -> None:
        """Has the driver list on those of the nodes that have not been asked yet."""
        unasked = [
            self.flexvol_nodes[name]
            for name in sorted(names)
            if name in self.flexvol_nodes and not self._was_asked((name, driver))
        ]
        if not unasked:
            return
        listed, silent = nodes.list_all(self.api, unasked, [driver])
        self._listed.update(listed)
        self._silent.update(silent)

    def _was_asked(self, key: Key) -> bool:
        return key in self._listed or key in self._silent

    def ask_for_pods(
        self,
        pods: Iterable[Pod],
        volumes: dict[str, Volume],
    ) -> None:
        """Asks the nodes of the pods' volumes for the drivers of the pods' other claims."""
        names = {node_of(volume, self.drivers) for volume in volumes.values()}
        names.discard("")
        for claim_name in claims_of(pods):
            claim = self.claims.get(claim_name)
            driver = self.driver_of(claim) if claim else ""
            if driver and names:
                self.ask(names, driver)

    def scene(self, volumes: dict[str, Volume]) -> Scene:
        """What was read so far. volumes: the PVs that bear on the claim."""
        if self._silent and self._published is None:
            self._published = self._published_rooms()
        return Scene(
            drivers=self.drivers,
            claims=self.claims,
            volumes=volumes,
            classes=self.classes,
            nodes=self._nodes,
            flexvol_nodes=self.flexvol_nodes,
            listed=self._listed,
            silent=self._silent,
            published=self._published or {},
        )

    def _published_rooms(self) -> dict[str, dict[str, int]]:
        """The rooms that the scheduler counts on, in place of the answer of a silent node. An
        account that may use explain need not have the right to read them; without the right, the
        room of such a node is not known."""
        try:
            return published_rooms.rooms(self.api.get, self._installed_in)
        except cluster.Refused as error:
            if error.status not in (401, 403):
                raise
            return {}

    def last_warning(
        self,
        thing: ApiObject,
        counts: Callable[[Object], bool] = lambda event: True,
    ) -> str:
        """The last warning about the object, of the last hour, which is how long events are kept;
        empty if there is none. counts: whether an event is taken into account."""
        of_namespace = cluster.in_namespace(self.namespace, "events")
        path = cluster.selected(of_namespace, fieldSelector=f"involvedObject.uid={thing.uid}")
        events = (self.api.get(path) or {"items": []})["items"]
        warnings = [event for event in events if event.get("type") == "Warning" and counts(event)]
        if not warnings:
            return ""
        last = max(warnings, key=_time_of)
        return f"{last.get('reason')}: {last.get('message')}"


def _by_name(things: Iterable[_Named]) -> dict[str, _Named]:
    return {thing.name: thing for thing in things}


def claims_of(pods: Iterable[Pod]) -> list[str]:
    """The names of the claims that any of the pods uses, each once."""
    names = {name: None for pod in pods for name in pod.claim_names}
    return list(names)


def _time_of(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def is_not_of_scheduler(event: Object) -> bool:
    """The scheduler's words are in the pod's status too, from where explain takes them."""
    return bool(event.get("reason") != "FailedScheduling")


def is_not_of_binder(event: Object) -> bool:
    """kube-controller-manager says of a claim without a volume that its class does not exist;
    explain looks itself whether that is still so."""
    source = table(event.get("source"))
    component = source.get("component") or event.get("reportingComponent")
    return bool(component != "persistentvolume-controller")


def is_of_growth(event: Object) -> bool:
    """Whether kubelet tells of a growth that failed."""
    return bool(event.get("reason") == "VolumeResizeFailed")
