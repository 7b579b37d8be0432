"""PVs whose storage is gone with its node, or with its pool: reported, and given up where the node
is gone and the class says so."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

from cluster.controller import cluster, lost_storage, metrics
from cluster.controller.duty_rounds import Reports, Round
from cluster.controller.events import Events
from cluster.controller.identity import node_of
from cluster.controller.lost_marks import with_claim
from cluster.controller.objects import Volume

_REASONS = (lost_storage.NODE_GONE, lost_storage.POOL_REPLACED)
_log = logging.getLogger("cluster-duties")


class LostVolumes:
    """Remembers since when each PV is lost."""

    def __init__(
        self,
        api: cluster.Cluster,
        events: Events,
        drivers: Mapping[str, str],
        gone_after_seconds: float,
    ) -> None:
        """drivers: by provisioner; more may be added to it.

        gone_after_seconds: how long storage must be gone before that is reported, and before a PV
        is given up."""
        self._api = api
        self._events = events
        self._drivers = drivers
        self._gone_after_seconds = gone_after_seconds
        # By the PV's uid and the reason: a node that goes after its pool was replaced has not been
        # gone for as long as the pool.
        self._since: dict[tuple[str, str], float] = {}
        self._reports = Reports()

    def keep(self, uids: set[str]) -> None:
        """Forgets all PVs but those with these uids."""
        self._since = {key: since for key, since in self._since.items() if key[0] in uids}
        self._reports.keep(uids)

    def stand_by(self) -> None:
        """Another instance looks on, and this one begins anew after that."""
        self._since.clear()

    def look(self, volume: Volume, this_round: Round) -> str:
        """Reports what is lost, and gives the PV up if its node is gone and its class wants that.
        Returns the reason why the PV is lost; "" if it is not, or not for long."""
        node = node_of(volume, self._drivers)
        # What the watch says is not enough: a live read decides.
        node_exists = node in this_round.node_names or this_round.node_exists(node)
        reason, sentence = lost_storage.why(volume, self._drivers, node_exists)
        for other in _REASONS:
            if other != reason:
                self._since.pop((volume.uid, other), None)
        if not reason:
            self._reports.forget(volume.uid)
            return ""
        since = self._since.setdefault((volume.uid, reason), this_round.now)
        if this_round.now - since < self._gone_after_seconds:
            return ""
        if self._reports.is_due(volume.uid, reason, this_round.now):
            self._report(volume, reason, sentence)
        if reason in lost_storage.BY_CLASS and lost_storage.is_given_up_by_class(volume):
            self._give_up(volume.name)
        return reason

    def _report(self, volume: Volume, reason: str, sentence: str) -> None:
        extra = {"volume": volume.name, "reason": reason}
        _log.warning("%s: %s", volume.name, sentence, extra=extra)
        if reason != lost_storage.NODE_GONE:
            return  # The node itself has written the events of a pool that was replaced.
        for about in with_claim(volume):
            self._events.warning(about, "VolumeNodeGone", sentence)

    def _give_up(self, name: str) -> None:
        """Where that is refused, as by a policy, the PV stays lost and counts as such."""
        extra = {"volume": name}
        try:
            waits = lost_storage.release(self._api, name, self._drivers, lost_storage.BY_CLASS)
        except cluster.Refused as error:
            _log.warning("%s is not given up: %s", name, error, extra=extra)
            return
        _log.info("%s: %s", name, waits or "released", extra=extra)


def count(reasons: Iterable[str]) -> None:
    """Writes the metric of lost PVs. reasons: one for each PV; "" for a PV that is not lost."""
    counts = Counter(reasons)
    for reason in _REASONS:
        metrics.lost.labels(reason).set(counts[reason])
