"""Of several instances only the holder of a coordination.k8s.io Lease works.

Every decision is made by a clock that nobody sets. The wall clock of a node may be stepped by
hours: it is written into the Lease for people to read, and never compared. An instance that waits
measures how long the Lease has stayed as it is, as client-go does
(client-go/tools/leaderelection/leaderelection.go). The official Python client measures that by the
wall clock, so that a step of it made two leaders, or none for an hour."""

from __future__ import annotations

import datetime
import logging
import random
import time
from collections.abc import Callable

from cluster.controller.api_errors import Refused, Unreachable
from cluster.controller.cluster import COORDINATION, Cluster, in_namespace, path_to
from cluster.controller.objects import Object, table, text

# How long the holder of a Lease has it after a write; client-go's default.
LEASE_SECONDS = 15
# The pause between two tries, of the holder and of those who wait; client-go's default.
_RETRY_SECONDS = 2.0
# Two answers and a pause must fit into LEASE_SECONDS, so that one lost answer costs no lease.
_ANSWER_SECONDS = 4
_NEVER = float("-inf")
_CONFLICT = 409
_log = logging.getLogger("election")


def seconds_since_boot() -> float:
    """The clock of the election, which nobody can set. Unlike CLOCK_MONOTONIC this clock goes on
    while the machine is suspended: a holder that was asleep has lost its Lease."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_time() -> datetime.datetime:
    """The time that a person reads in the Lease."""
    return datetime.datetime.now(datetime.timezone.utc)


class Election:
    """Takes part in the election for one Lease, for ever. One thread calls run() or attempt();
    held() and release() may be called from others."""

    def __init__(
        self,
        api: Cluster,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float] = seconds_since_boot,
    ) -> None:
        """namespace, name: of the Lease.

        identity: the holder's name, of this process alone.
        clock: seconds, which only grow."""
        self.identity = identity
        self._api = api
        self._name = name
        self._clock = clock
        self._collection = in_namespace(namespace, "leases", COORDINATION)
        self._path = path_to(self._collection, name)
        # When the last write that succeeded was sent: the Lease is ours from then on.
        self._renewed_at = _NEVER
        # The spec that another holder wrote last, and since when it has stayed the same.
        self._seen: Object = {}
        self._seen_at = _NEVER
        self._written_time = datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
        self._logged = ""
        self._released = False

    def held(self) -> bool:
        """Whether this instance has the Lease for certain: no other instance takes the Lease before
        LEASE_SECONDS are over."""
        return self._clock() - self._renewed_at < LEASE_SECONDS

    def run(self, started: Callable[[], None], stopped: Callable[[], None]) -> None:
        """Never returns.

        started, stopped: called each time when this instance gets the Lease, or loses the Lease."""
        leading = False
        while True:
            try:
                self.attempt()
            except Exception:  # Whatever it is: an election that has ended unseen is worse.
                _log.exception("bug in the election")
            held = self.held()
            if held != leading:
                leading = held
                if held:
                    started()
                else:
                    stopped()
            # Spread in time, so that those who wait do not ask all at once.
            time.sleep(_RETRY_SECONDS * random.uniform(1.0, 1.2))

    def attempt(self) -> None:
        """Reads the Lease once, and renews the Lease or takes it if that is our right."""
        try:
            lease = self._api.get(self._path, _ANSWER_SECONDS)
            if lease is None:
                self._write(self._create, {})
            elif self._is_free(lease):
                before = table(lease.get("spec"))
                self._write(lambda spec: self._update(lease, spec), before)
        except (Refused, Unreachable) as error:
            self._log_once(error)

    def release(self) -> None:
        """Gives the Lease up if this instance has it, so that another instance takes the Lease at
        once."""
        self._released = True
        self._renewed_at = _NEVER
        for _ in range(2):  # a renewal that is on its way may still come first
            try:
                lease = self._api.get(self._path, _ANSWER_SECONDS)
                if lease is None or _holder(lease) != self.identity:
                    return
                self._update(lease, {"holderIdentity": ""})
            except (Refused, Unreachable) as error:
                _log.info("lease %s is not released: %s", self._name, error)

    def _is_free(self, lease: Object) -> bool:
        """Whether this instance may write the Lease: the Lease has no holder, this instance is the
        holder, or the holder has not written for LEASE_SECONDS."""
        holder = _holder(lease)
        if holder in ("", self.identity):
            return True
        self._renewed_at = _NEVER
        spec = lease["spec"]
        now = self._clock()
        if spec != self._seen:
            self._seen = spec
            self._seen_at = now
        return now - self._seen_at >= LEASE_SECONDS

    def _write(self, write: Callable[[Object], Object | None], before: Object) -> None:
        """Writes this instance into the Lease.

        write: sends a spec; returns None if the Lease is gone.
        before: the spec of the Lease as it was read.
        :raises Refused, Unreachable: by the API server."""
        if self._released:
            return
        began = self._clock()
        written = write(self._spec(before))
        if written is not None and not self._released:
            self._renewed_at = began
            self._logged = ""

    def _create(self, spec: Object) -> Object:
        return self._api.create(
            self._collection,
            {"metadata": {"name": self._name}, "spec": spec},
        )

    def _update(self, lease: Object, spec: Object) -> Object | None:
        """The version that was read is the precondition: of two instances that write, one is
        refused."""
        version = lease["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "spec": spec}
        return self._api.patch(self._path, body, _ANSWER_SECONDS)

    def _spec(self, before: Object) -> Object:
        now = self._next_time()
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": now,
        }
        if before.get("holderIdentity") != self.identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = int(before.get("leaseTransitions") or 0) + 1
        return spec

    def _next_time(self) -> str:
        """The wall clock's time, but later than the last one written: each renewal must change the
        Lease, or the others see a Lease that is not renewed."""
        tick = datetime.timedelta(microseconds=1)
        self._written_time = max(wall_time(), self._written_time + tick)
        return self._written_time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _log_once(self, error: Refused | Unreachable) -> None:
        """Logs the same error once, until this instance has the Lease again. That another instance
        was faster is not logged."""
        if isinstance(error, Refused) and error.status == _CONFLICT:
            return
        passes = isinstance(error, Unreachable) or error.passes
        if not passes and str(error) != self._logged:
            self._logged = str(error)
            _log.warning("cannot take part in the election: %s", error)


def _holder(lease: Object) -> str:
    return text(table(lease.get("spec")).get("holderIdentity"))
