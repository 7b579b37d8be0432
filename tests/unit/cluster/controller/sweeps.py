"""An instance that looks for orphans, with a clock of its own. Its drivers are one that lists what
a test says, and one without volumes; the API server has the claim and the PV of one volume."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller import cluster, leftovers, metrics, orphans
from cluster.controller.identity import Identity
from cluster.controller.instance import Instance
from cluster.controller.listing import Listing
from cluster.controller.orphans import Known, Orphans
from cluster.controller.room_news import RoomNews
from cluster.controller.storage import Listed
from shared import protocol
from shared.options import Options

DRIVER = "flexvol/loop"
DRIVERS = {"loop.flexvol": DRIVER, "nfs.flexvol": "flexvol/nfs"}
OF_NODE = Identity(DRIVERS, "node1", "node1")
OF_ALL = Identity(DRIVERS, "shared", "")
NAME = "pvc-u1"
HERE = "cluster-uid"
OWNER = {"namespace": "shop", "name": "data", "uid": "u1"}
NODE = {"metadata": {"name": "node1"}}
CLASS = {"metadata": {"name": "fast"}, "provisioner": "loop.flexvol"}
GRACE_SECONDS = 600.0


def entry(**changes: Any) -> dict[str, Any]:
    """A volume that is collected where neither its claim nor its PV is there."""
    return {
        "name": NAME,
        "owner": OWNER,
        "options": {"pool": "default", "poolId": "5f"},
        "blank": True,
        "clusterUid": HERE,
        "reclaimPolicy": "Delete",
        "class": "fast",
        **changes,
    }


def claim(bound_to: str) -> dict[str, Any]:
    return {"spec": {"volumeName": bound_to} if bound_to else {}}


def pv(policy: str) -> dict[str, Any]:
    return {"spec": {"persistentVolumeReclaimPolicy": policy}}


class Stopped(BaseException):
    """The process has ended."""


class Api:
    """claim, volume: of the volume; None if they are not there.

    uids: of the cluster, as they are read one after the other; the last one stays."""

    def __init__(self) -> None:
        self.claim_of_volume: Any = None
        self.volume: Any = None
        self.uids = [HERE]
        self.storage_class: Any = CLASS

    def claim(self, whose: dict[str, Any]) -> Any:
        return self.claim_of_volume if whose == OWNER else None

    def get(self, path: str) -> Any:
        if path.startswith(cluster.VOLUMES):
            return self.volume if path == cluster.path_to(cluster.VOLUMES, NAME) else None
        return {
            cluster.path_to(cluster.NODES, "node1"): NODE,
            cluster.path_to(cluster.CLASSES, "fast"): self.storage_class,
        }[path]

    def uid(self) -> str:
        return self.uids.pop(0) if len(self.uids) > 1 else self.uids[0]


class Sweeps:
    """listed: what the driver lists. failure: why the driver does not list, or does not delete.

    deleted, retained: the volumes that the driver was told to delete, and to keep.
    leads: whether the instance may work, as it is asked one time after the other.
    bugs: what is raised instead of that answer, one time after the other; None for nothing.
    removed: the Secrets that were removed. said: the events on the node, with their reasons."""

    def __init__(
        self,
        patches: pytest.MonkeyPatch,
        identity: Identity = OF_NODE,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.api = Api()
        self.listed = [entry()]
        self.pool = {"name": "default", "id": "5f"}
        self.failures: dict[str, protocol.Failure] = {}
        self.deleted: list[str] = []
        self.retained: list[str] = []
        self.policies: dict[str, str] = {}
        self.in_hand: set[str] = set()
        self.leads = [True]
        self.bugs: list[Exception | None] = []
        self.secret: Any = None
        self.removed: list[Any] = []
        self.said: list[tuple[str, str]] = []
        self.told: list[
            dict[str, Listed]
        ] = []  # what those that come after a list were called with
        self.now = 1000.0
        self.slept: list[float] = []
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep)
        patches.setattr(orphans, "time", clock)
        api: Any = self.api
        nothing: Any = None
        storage: Any = SimpleNamespace(delete=self._delete, adopt=self._adopt)
        events: Any = SimpleNamespace(
            warning=lambda about, reason, said: (
                self.said.append((reason, said))
                if about == NODE
                else pytest.fail("an event on something else than the node")
            )
        )
        secrets: Any = SimpleNamespace(wanted=self._wanted, remove=self.removed.append)
        instance = Instance(api, identity, storage, events, nothing, secrets)
        self.listing = Listing(self._list, DRIVERS.values())
        self.news = RoomNews()
        known = Known(lambda: self.policies, self.in_hand.__contains__, self._may_work)
        self.orphans = Orphans(instance, self.listing, self.news, known, grace, [self.told.append])

    def look(self, *after_seconds: float) -> None:
        """The driver lists, and the list is looked at, so many seconds after the time before."""
        for seconds in after_seconds:
            self.now += seconds
            self.listing.refresh()
            self.orphans._round()

    def run(self, rounds: int) -> None:
        """The thread, until it has slept so often."""
        self._rounds = rounds
        with pytest.raises(Stopped):
            self.orphans.run()

    def counted(self, reason: str = leftovers.BLANK) -> float | None:
        """How many orphans the metric tells; None if it tells nothing of the driver."""
        (metric,) = metrics.orphans.collect()
        labels = {"driver": DRIVER, "reason": reason}
        return next((sample.value for sample in metric.samples if sample.labels == labels), None)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == self._rounds:
            raise Stopped

    def _may_work(self) -> bool:
        bug = self.bugs.pop(0) if self.bugs else None
        if bug is not None:
            raise bug
        return self.leads.pop(0) if len(self.leads) > 1 else self.leads[0]

    def _fail(self, callout: str) -> None:
        if callout in self.failures:
            raise self.failures[callout]

    def _list(self, driver: str) -> Listed:
        if driver != DRIVER:
            return Listed([], [])
        self._fail("list")
        return Listed([dict(one) for one in self.listed], [self.pool])

    def _delete(self, driver: str, request: Options) -> None:
        assert driver == DRIVER
        assert request.only_if_blank and request.claim.uid == "u1"
        self._fail("delete")
        self.deleted.append(request.volume)

    def _adopt(self, driver: str, request: Options) -> None:
        assert driver == DRIVER
        assert request.only_if_blank and request.claim.uid == "u1"
        self._fail("adopt")
        self.retained.append(request.volume)

    def _wanted(self, claim: Any, storage_class: Any) -> Any:
        assert claim.uid == "u1" and storage_class.provisioner == "loop.flexvol"
        if isinstance(self.secret, Exception):
            raise self.secret
        return self.secret
