"""The parts that all modes have: threads, watches, the election, health, and the end."""

from __future__ import annotations

import logging
import signal
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from cluster.controller import health, metrics
from cluster.controller.cluster import Cluster
from cluster.controller.election import Election
from cluster.controller.events import Events
from cluster.controller.followers import Follower, Followers
from cluster.controller.objects import Object
from cluster.controller.settings import Settings
from cluster.controller.storage import reap_strays
from cluster.controller.watch import Watch
from shared import protocol

# How long the end waits for events that are still to be written.
_EVENTS_SECONDS = 5
# SIGTERM is what kubelet sends, SIGINT what a person does.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger("provisioner")


def _nothing() -> None:
    """For a part that need not know."""


def _ready() -> str:
    """For a mode that is ready as soon as everything was listed."""
    return ""


@dataclass(frozen=True)
class Calls:
    """The calls of a mode.

    listed: called once, when everything that is watched was listed.
    back: called when the API server answers again after it did not.
    stand_by: called each time when the Lease was lost.
    not_ready: asked when everything was listed: why the mode is not ready all the same."""

    listed: Callable[[], None] = _nothing
    back: Callable[[], None] = _nothing
    stand_by: Callable[[], None] = _nothing
    not_ready: Callable[[], str] = _ready


class Lifecycle:
    """One run of the program."""

    def __init__(self, settings: Settings, name: str, lease: str) -> None:
        """name: in the events and the log.

        lease: the begin of the name of the Lease, without which the instance may not work; "" if
            the instance needs no Lease."""
        self.settings = settings
        self.api = Cluster(settings.kubeconfig)
        self.drivers = settings.by_provisioner
        self.events = Events(self.api, f"{'+'.join(self.drivers)} {name}")
        self.stopping = threading.Event()
        self.all_listed = threading.Event()
        self._name = name
        self._threads: list[threading.Thread] = []
        self._watches: list[Watch] = []
        self._lease_name = ""
        self._election: Election | None = None
        if lease:
            self._lease_name = "-".join([lease, *sorted(self.drivers)])
            identity = f"{name}_{uuid.uuid4()}"
            namespace = settings.namespace
            self._election = Election(self.api, namespace, self._lease_name, identity)
        self._lock = threading.Lock()
        self._unlisted: set[str] = set()
        self._mode_not_ready: Callable[[], str] = _ready

    def may_work(self) -> bool:
        """Whether this instance is the elected one, by its own clock. In node mode there is no
        election, as no other instance has the node's storage."""
        if self.stopping.is_set():
            return False
        if self._election is None:
            return True
        return self._election.held()

    def start(self, followers: dict[str, Follower], calls: Calls) -> None:
        """Starts all threads but those of the mode.

        followers: by the path of the collection whose watch they follow."""
        self.run_thread("reaper", reap_strays)
        metrics.leader.labels(self._lease_name).set_function(self.may_work)
        if self._election is not None:
            self._start_election(self._election, calls.stand_by)
        self._unlisted = set(followers)
        self._mode_not_ready = calls.not_ready
        for path, follower in followers.items():
            last = _Listed(self, path, calls.listed)
            self.watch(Watch(self.api, path, Followers(follower, last), calls.back))
        if self.settings.health_port:
            health.serve(self.settings.health_port, self.dead, self.not_ready)
        served = ", ".join(self.drivers)
        _log.info("provisioner %s for %s as %s", protocol.VERSION, served, self._name)

    def _start_election(self, election: Election, stand_by: Callable[[], None]) -> None:
        def started() -> None:
            _log.info("leading")

        def stopped() -> None:
            _log.warning("the lease is lost: standing by")
            stand_by()

        self.run_thread("election", lambda: election.run(started, stopped))

    def watch(self, watch: Watch) -> None:
        """Runs a watch without which the instance is not ready."""
        self._watches.append(watch)
        self.run_thread(watch.path, watch.run)

    def run_thread(self, name: str, target: Callable[[], object]) -> None:
        """Starts a thread that ends with the process, and without which the instance is not
        healthy."""
        self.keep_thread(threading.Thread(target=target, name=name, daemon=True))

    def keep_thread(self, thread: threading.Thread) -> None:
        """As run_thread, with a thread that may end by itself when the process ends."""
        thread.start()
        self._threads.append(thread)

    def listed(self, path: str, call: Callable[[], None]) -> None:
        """A collection was listed.

        call: called if it was the last one that had not been listed yet."""
        with self._lock:
            self._unlisted.discard(path)
            if not self._unlisted and not self.all_listed.is_set():
                self.all_listed.set()
                call()

    def wait_for_stop(self) -> None:
        """Returns when SIGTERM or SIGINT has come; from then on nothing new is begun."""
        signal.sigwait(STOP_SIGNALS)
        self.stopping.set()

    def end(self) -> None:
        """Gives the Lease up, and writes the events that wait."""
        if self._election is not None:
            self._election.release()
        self.events.close(_EVENTS_SECONDS)

    def dead(self) -> str:
        """Which threads have ended, so that only a restart helps; "" if none has."""
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        return f"ended: {', '.join(dead)}" if dead else ""

    def not_ready(self) -> str:
        """Why the instance cannot do its work now; "" if it can."""
        if self._unlisted:
            return f"not listed yet: {', '.join(sorted(self._unlisted))}"
        troubles = [watch.trouble for watch in self._watches]
        troubles.append(self._mode_not_ready())
        return "; ".join(filter(None, troubles))


class _Listed:
    """The last follower of each watch: tells the Lifecycle that a collection was listed."""

    def __init__(self, lifecycle: Lifecycle, path: str, call: Callable[[], None]) -> None:
        self._lifecycle = lifecycle
        self._path = path
        self._call = call

    def changed(self, thing: Object) -> None:
        """As followers.Follower has it."""

    def listed(self, uids: set[str]) -> None:
        """As followers.Follower has it."""
        self._lifecycle.listed(self._path, self._call)

    def gone(self, thing: Object) -> None:
        """As followers.Follower has it."""
