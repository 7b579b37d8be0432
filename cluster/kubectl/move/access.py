"""The ways that each phase of a move takes: to the API server, to the nodes, to the plans, and to
the person who has given the command."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from cluster.controller import cluster, lost_storage
from cluster.controller.identity import node_of
from cluster.controller.objects import Claim, Node, Object, Pod, Volume
from cluster.controller.storage import PLUGIN_DIRECTORY, Listed, executable
from cluster.kubectl import claims, nodes
from cluster.kubectl.move.carried import is_off
from cluster.kubectl.move.plans import Plans
from shared import protocol

# How long a command on a node may print nothing: while the checksum of a large image is made.
_SILENCE_SECONDS = 12 * 3600.0


class NotMoved(protocol.Unavailable):
    """The volume is not, or not yet, on the other node."""


@dataclasses.dataclass(frozen=True)
class Access:
    """drivers: by provisioner. namespace: where flexvol is installed. say: takes the lines that
    tell the person."""

    api: cluster.Cluster
    drivers: dict[str, str]
    namespace: str
    say: Callable[[str], None]

    @property
    def plans(self) -> Plans:
        """The plans of all moves that are not done."""
        return Plans(self.api, self.namespace)

    def find_volume(self, name: str) -> Volume | None:
        """The PV of that name, read live; None if there is none."""
        return Volume.of(self.api.get(cluster.path_to(cluster.VOLUMES, name)))

    def volume(self, name: str) -> Volume:
        """:raises NotMoved: if there is no such PV."""
        volume = self.find_volume(name)
        if volume is None:
            raise NotMoved(claims.no_volume(name))
        return volume

    def node_of(self, volume: Volume) -> str:
        """Empty if no node's flexvol made the PV."""
        return node_of(volume, self.drivers)

    def is_at(self, name: str, node: str) -> bool:
        """Whether the PV is there, and of that node."""
        volume = self.find_volume(name)
        return volume is not None and self.node_of(volume) == node

    def set_policy(self, name: str, policy: str) -> None:
        """Gives the PV that reclaim policy, if it has another one."""
        if self.volume(name).reclaim_policy != policy:
            path = cluster.path_to(cluster.VOLUMES, name)
            self.api.patch(path, {"spec": {"persistentVolumeReclaimPolicy": policy}})

    def claim_of(self, volume: Volume) -> Claim | None:
        """The claim that is bound to the PV; None if there is none."""
        return lost_storage.claim_of(self.api, volume)

    def pods_of(self, claim: Claim | None) -> list[Pod]:
        """Those that use the claim."""
        if claim is None:
            return []
        return lost_storage.pods_of(self.api, claim)

    def is_off(self, node: str) -> bool:
        """As carried.is_off."""
        return is_off(Node.of(self.api.get(cluster.path_to(cluster.NODES, node))))

    def storage(self, node: str) -> nodes.NodeStorage:
        """The drivers of the node."""
        return nodes.NodeStorage(self.api, nodes.get(self.api, self.namespace, node))

    def listed(self, node: str, driver: str) -> Listed:
        """What the driver lists on the node."""
        return self.storage(node).list(driver)

    def entry(self, volume: Volume, node: str) -> Object | None:
        """The volume as the node lists it; None if the node does not have it.

        :raises NotMoved: if the node does not tell what is in the volume's pool."""
        listed = self.listed(node, volume.driver)
        usable = [pool.get("name") for pool in listed.pools if not pool.get("error")]
        if volume.pool_name not in usable:
            raise NotMoved(
                f"node {node} does not tell what is in its pool "
                f"{volume.pool_name}; is its disk mounted?"
            )
        for entry in listed.volumes:
            if entry.get("name") == volume.name:
                return entry
        return None

    def run(
        self,
        node: str,
        driver: str,
        words: list[str],
        feed: Iterator[bytes] | None = None,
        take: Callable[[bytes], None] | None = None,
    ) -> str:
        """What a command of the driver's program prints on a node.

        :raises NotMoved: with what the command says is wrong."""
        pod = nodes.get(self.api, self.namespace, node).pod_of(driver).name
        line = [executable(PLUGIN_DIRECTORY, driver), *words]
        status, printed, errors = self.api.execute(pod, line, feed, take, _SILENCE_SECONDS)
        if status != 0:
            why = errors.strip() or f"{words[0]} ended with status {status}"
            raise NotMoved(f"on node {node}: {why}")
        return printed.decode(errors="replace").strip()
