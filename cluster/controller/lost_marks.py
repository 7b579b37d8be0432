"""The marks on PVs whose pool was replaced, which each node puts on its own PVs."""

from __future__ import annotations

import logging
from collections.abc import Callable

from cluster.controller import cluster, lost_storage, objects
from cluster.controller.events import Events
from cluster.controller.identity import Identity, is_ours
from cluster.controller.objects import Object, Volume
from cluster.controller.storage import Listed
from cluster.controller.watch_cache import WatchCache

_CONFLICT = 409  # the PV has changed meanwhile, which its watch is about to report
_log = logging.getLogger("cluster-duties")


class LostMarks:
    """Marks the PVs of a node whose pool was replaced, as by a new installation, and takes the mark
    away should the pool come back."""

    def __init__(
        self,
        api: cluster.Cluster,
        events: Events,
        identity: Identity,
        woken: Callable[[], None],
    ) -> None:
        """woken: called when one of the node's PVs has changed."""
        self._api = api
        self._events = events
        self._identity = identity
        self.volumes = WatchCache(self._trim, woken)

    def _trim(self, volume: Object) -> Volume | None:
        view = Volume.of(volume)
        return view.trimmed() if is_ours(view, self._identity) else None

    def check(self, listed: dict[str, Listed]) -> None:
        """Compares the PVs with the pools that the drivers list now.

        listed: by driver; a driver that has never listed is not in it.

        :raises Refused, Unreachable: by the API server."""
        for volume in self.volumes.all():
            of_driver = listed.get(volume.driver)
            if of_driver is None:
                continue
            replaced = lost_storage.pool_replaced(volume, of_driver.pools)
            if replaced is not None and bool(replaced) != bool(volume.lost_mark):
                self._mark(volume, replaced)

    def _mark(self, volume: Volume, replaced: str) -> None:
        """replaced: the mark; "" takes it away."""
        change = {
            "annotations": {objects.LOST: replaced or None},
            "resourceVersion": volume.resource_version,
        }
        path = cluster.path_to(cluster.VOLUMES, volume.name)
        try:
            marked = self._api.patch(path, {"metadata": change})
        except cluster.Refused as error:
            if error.status != _CONFLICT:
                _log.warning("%s cannot be marked: %s", volume.name, error)
            return
        sentence = ""
        if marked:
            loss = lost_storage.why(Volume(marked), self._identity.drivers, node_exists=True)
            sentence = loss.sentence
        _log.warning("%s: %s", volume.name, sentence or "its storage is there again")
        if not sentence:
            return
        for about in with_claim(volume):
            self._events.warning(about, "VolumeLost", sentence)


def with_claim(volume: Volume) -> list[Object]:
    """What events about a lost PV are about: the PV, and the claim that it names, if any."""
    if not volume.claim.uid:
        return [volume.json]
    return [volume.json, {"metadata": volume.claim.json}]
