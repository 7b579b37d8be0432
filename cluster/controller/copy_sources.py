"""The volume that a claim is to be a copy of, as the cluster and the driver's list have it."""

from __future__ import annotations

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
        path = cluster.claim_path(claim.namespace, claim.data_source["name"])
        source = Claim.of(self._api.get(path))
        volume = None
        if source is not None and source.volume_name:
            path = cluster.path_to(cluster.VOLUMES, source.volume_name)
            volume = Volume.of(self._api.get(path))
        sources.check_source(claim, source, volume, self._identity)
        return source.volume_name if source else ""

    def has_source(self, claim: Claim, driver: str) -> bool:
        """Whether the copy can be made here and now."""
        try:
            self.volume_name(claim, driver)
        except protocol.Failure:
            return False
        return True

    def is_elsewhere(self, claim: Claim, driver: str) -> bool:
        """Whether only another node can make the copy, as far as this node knows."""
        try:
            self.volume_name(claim, driver)
        except protocol.Unavailable:
            return True
        except protocol.Failure:
            return False
        return False
