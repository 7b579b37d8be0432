"""The volume that a claim is to be a copy of, as the cluster and the driver's list have it."""

from __future__ import annotations

from dataclasses import replace

from cluster.controller import cluster, sources
from cluster.controller.instance import Instance
from cluster.controller.objects import Claim, Volume
from shared import protocol


class CopySources:
    """All methods may be called by any thread."""

    def __init__(self, instance: Instance) -> None:
        self._api = instance.api
        self._storage = instance.storage
        self._identity = instance.identity

    def volume_name(self, claim: Claim, driver: str) -> str:
        """The volume or snapshot that the claim is to be a copy of; "" if it is to be none.

        driver: of the claim.
        :raises Unavailable: if only another node can make the copy.
        :raises Failure: as sources.check_source and sources.check_snapshot, and if the driver does
            not list.
        :raises Refused, Unreachable: by the API server."""
        if claim.snapshot_name:
            listed = self._storage.list(driver).volumes
            sources.check_snapshot(claim, listed, self._identity)
            return claim.snapshot_name
        if not claim.is_copy:
            return ""
        source, volume = self._source(claim)
        sources.check_source(claim, source, volume, self._identity)
        return source.volume_name if source else ""

    def _source(self, claim: Claim) -> tuple[Claim | None, Volume | None]:
        """The claim that the claim is to be a copy of, and its PV."""
        path = cluster.claim_path(claim.namespace, claim.data_source["name"])
        source = Claim.of(self._api.get(path))
        if source is None or not source.volume_name:
            return source, None
        path = cluster.path_to(cluster.VOLUMES, source.volume_name)
        return source, Volume.of(self._api.get(path))

    def has_source(self, claim: Claim, driver: str) -> bool:
        """Whether the copy can be made here and now."""
        try:
            self.volume_name(claim, driver)
        except protocol.Failure:
            return False
        return True

    def is_elsewhere(self, claim: Claim) -> bool:
        """Whether only another node can make the copy, as far as this node knows. Of a snapshot
        that no node has this node cannot know that.

        claim: to be a copy; of another provisioner's claims only those with a claim for a source.
        :raises Refused, Unreachable: by the API server."""
        if claim.snapshot_name:
            try:
                self.volume_name(claim, self._identity.drivers[claim.provisioner])
            except protocol.Unavailable:
                return True
            except protocol.Failure:
                return False
            return False
        source, volume = self._source(claim)
        # The other provisioner's driver is what the PV says.
        drivers = {claim.provisioner: volume.driver if volume else ""}
        try:
            sources.check_source(claim, source, volume, replace(self._identity, drivers=drivers))
        except protocol.Unavailable:
            return volume is not None and self._is_node(volume.identity)
        except protocol.Failure:
            return False
        return False

    def _is_node(self, name: str) -> bool:
        return bool(name) and self._api.get(cluster.path_to(cluster.NODES, name)) is not None
