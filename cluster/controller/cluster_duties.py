"""Duties of no single node: claims that wait for a node that is gone, claims that no node can take,
and PVs whose storage is gone with its node or with its pool.

They belong to one instance of `provisioner --cluster`, by Lease, with an account of its own: a
node's account is to be held to that node, so somebody else has to touch the PVs of others. The
duties call no driver.

A PV is given up only if its node is gone and its class said `onNodeGone: release`, or a person says
`kubectl flexvol release`; see lost_storage.py. A pool that was replaced is only reported."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cluster.controller import cluster, lost_storage, lost_volumes, metrics
from cluster.controller.duty_rounds import Round
from cluster.controller.events import Events
from cluster.controller.identity import node_of
from cluster.controller.lost_volumes import LostVolumes
from cluster.controller.objects import ApiObject, Claim, Node, Object, Volume
from cluster.controller.served import Served
from cluster.controller.unplaced_claims import UnplacedClaims
from cluster.controller.watch_cache import WatchCache

_EVERY_SECONDS = 10.0  # a round without news
_AT_MOST_EVERY_SECONDS = 1.0
_log = logging.getLogger("cluster-duties")
View = TypeVar("View", bound=ApiObject)


@dataclass(frozen=True)
class Settings:
    """How the duties are done.

    namespace: of the DaemonSets, and of the objects that tell a node's room.
    gone_after_seconds: how long a node must be gone before that is reported, and before PVs are
        given up.
    learns: whether the duties are also for the drivers that the nodes serve beside those that are
        named."""

    namespace: str
    gone_after_seconds: float
    learns: bool = False


class ClusterDuties:
    """The duties, in a thread of its own, to be started when everything was listed."""

    def __init__(
        self,
        api: cluster.Cluster,
        events: Events,
        drivers: dict[str, str],
        settings: Settings,
        may_work: Callable[[], bool],
    ) -> None:
        """drivers: by provisioner; learned ones are added to it.

        may_work: whether this instance is the elected one."""
        self._api = api
        self._drivers = drivers
        self._learns = settings.learns
        self._may_work = may_work
        self._served = Served(api, settings.namespace, drivers)
        self._unplaced = UnplacedClaims(api, events, self._served, settings.namespace)
        self._lost = LostVolumes(api, events, drivers, settings.gone_after_seconds)
        # Whether there may be claims and PVs of a new driver that nobody keeps yet.
        self._has_unread = False
        self._news = threading.Event()
        self.nodes = WatchCache(_trim_node, self._news.set)
        self.claims = WatchCache(self._trim_claim, self._news.set)
        self.volumes = WatchCache(self._trim_volume, self._news.set)
        self.thread = threading.Thread(target=self._run, name="cluster-duties", daemon=True)

    def _trim_claim(self, claim: Object) -> Claim | None:
        view = Claim.of(claim)
        if view.volume_name or view.is_being_deleted:
            return None
        return view.trimmed() if view.provisioner in self._drivers else None

    def _trim_volume(self, volume: Object) -> Volume | None:
        view = Volume.of(volume)
        return view.trimmed() if node_of(view, self._drivers) else None

    def _run(self) -> None:
        while True:
            if self._may_work():
                self._news.wait(_EVERY_SECONDS)
                self._news.clear()
                self._try_round()
            else:
                self._stand_by()
            time.sleep(_AT_MOST_EVERY_SECONDS)

    def _try_round(self) -> None:
        try:
            self._round()
        except cluster.Unreachable as error:
            _log.warning("%s", error)
        except Exception:
            _log.exception("bug in a duty")

    def _stand_by(self) -> None:
        """This instance does not see what the elected one does meanwhile, so it forgets since when
        claims wait and PVs are lost."""
        self._unplaced.stand_by()
        self._lost.stand_by()
        lost_volumes.count([])
        metrics.claims_not_taken.set(0)

    def _round(self) -> None:
        self._learn()
        this_round = Round(self._api, self.nodes.all(), time.monotonic())
        volumes = self.volumes.all()
        claims = self.claims.all()
        self._lost.keep({volume.uid for volume in volumes})
        self._unplaced.keep({claim.uid for claim in claims})
        not_taken = [self._try(self._unplaced.look, claim, this_round) for claim in claims]
        metrics.claims_not_taken.set(sum(why != "" for why in not_taken))
        lost_volumes.count(self._try(self._lost.look, volume, this_round) for volume in volumes)

    def _learn(self) -> None:
        """Takes on the drivers that the nodes serve beside those that are known."""
        self._served.read()
        served = self._served.drivers
        new = {name: driver for name, driver in served.items() if name not in self._drivers}
        if new and self._learns:
            _log.info("the nodes serve %s, too", ", ".join(sorted(new.values())))
            self._drivers.update(new)
            self._has_unread = True
        if self._has_unread:
            self._read_again(cluster.CLAIMS, self.claims)
            self._read_again(cluster.VOLUMES, self.volumes)
            self._has_unread = False  # Not before all was read: the API server may fail meanwhile.

    def _read_again(self, path: str, cache: WatchCache[View]) -> None:
        """Keeps what the watch has reported before its driver was known."""
        for thing in self._api.items(path):
            if cache.is_wanted(thing):
                self._keep(cache, thing)

    def _keep(self, cache: WatchCache[View], thing: Object) -> None:
        """Keeps the object as it is now: the watch may have reported its change or its end after it
        was listed, and before it was kept."""
        while True:
            cache.changed(thing)
            live = self._api.get(_path_of(thing))
            if live is None:
                cache.gone(thing)
                return
            if live["metadata"]["resourceVersion"] == thing["metadata"]["resourceVersion"]:
                return
            thing = live

    def _try(
        self,
        duty: Callable[[View, Round], str],
        about: View,
        this_round: Round,
    ) -> str:
        """One duty. What cannot be done for one claim or PV does not hold up the others."""
        try:
            return duty(about, this_round) if self._may_work() else ""
        except (cluster.Refused, lost_storage.NotLost) as error:
            _log.warning("%s: %s", about.name, error)
        except cluster.Unreachable:
            raise
        except Exception:
            _log.exception("bug in a duty for %s", about.name)
        return ""


def _trim_node(node: Object) -> Node:
    return Node.of(node).trimmed()


def _path_of(thing: Object) -> str:
    """The path of a claim or a PV."""
    view = ApiObject.of(thing)
    if view.namespace:
        return cluster.claim_path(view.namespace, view.name)
    return cluster.path_to(cluster.VOLUMES, view.name)
