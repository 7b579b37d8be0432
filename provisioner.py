"""The provisioner: arguments, start and stop. What it does is in controller/."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from cluster import kubectl
from cluster.controller import cluster, decide, health, metrics, retry
from cluster.controller.capacity import Capacity
from cluster.controller.cluster_duties import ClusterDuties
from cluster.controller.cluster_duties import Settings as DutySettings
from cluster.controller.delete import Delete
from cluster.controller.election import Election
from cluster.controller.events import Events
from cluster.controller.followers import Follower, Followers
from cluster.controller.lost_marks import LostMarks
from cluster.controller.orphans import Orphans
from cluster.controller.owners import KIND, Owners
from cluster.controller.provision import Provision
from cluster.controller.secrets import Secrets
from cluster.controller.storage import DRIVERS, PLUGIN_DIRECTORY, Storage, reap_strays
from cluster.controller.watch import Watch
from cluster.controller.workqueue import WorkQueue
from shared import protocol

NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_EVENTS_SECONDS = 5
_LOG_KEYS = ("claim", "volume", "driver", "reason")
_STAND_BY_SECONDS = 0.2
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_log = logging.getLogger("provisioner")


class _Watch(NamedTuple):
    """A followers.Follower."""

    changed: Callable[[Any], None]
    listed: Callable[[Any], None]
    gone: Callable[[Any], None]


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="provisioner",
        description="Makes volumes for claims, and deletes them.",
        epilog="What a person does with a kubeconfig: " + kubectl.summary("provisioner"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "--node",
        metavar="NAME",
        help="node mode: serve the claims of this node, whose storage it is",
    )
    mode.add_argument(
        "--cluster",
        action="store_true",
        help="duties of no single node, if elected; makes no volumes",
    )
    mode.add_argument(
        "--identity",
        metavar="NAME",
        help="shared mode: serve all claims, if elected, under this name",
    )
    _add_options(parser)
    _add_cluster_options(parser)
    settings = parser.parse_args(words)
    settings.learns = settings.cluster and not settings.driver
    settings.driver = settings.driver or list(DRIVERS)
    _check(parser, settings)
    return settings


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--driver",
        action="append",
        metavar="VENDOR/NAME",
        help="default: flexvol/loop; with --cluster also what the DaemonSets of our namespace "
        "serve; repeatable",
    )
    parser.add_argument(
        "--plugin-dir", default=PLUGIN_DIRECTORY, metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=4,
        metavar="N",
        help="how many volumes are made at once (default %(default)s)",
    )
    parser.add_argument(
        "--health-port",
        type=int,
        default=0,
        metavar="N",
        help="serves /healthz, /readyz (default: off)",
    )
    parser.add_argument(
        "--orphan-grace-seconds",
        type=float,
        default=3600,
        metavar="N",
        help="how long a volume that was never mounted has neither PV nor claim before it is "
        "deleted (default 3600)",
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--version", action="version", version=protocol.VERSION)


def _add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """What says which cluster it is, and what is done there."""
    parser.add_argument("--kubeconfig", metavar="FILE", help="for use outside the cluster")
    parser.add_argument(
        "--namespace",
        default=_namespace(),
        help=(
            "of the Lease and the capacity objects (default: our own); secrets are made in "
            "NAMESPACE-secrets"
        ),
    )
    parser.add_argument(
        "--pod", metavar="NAME/UID", help="our own pod, with which the capacity objects go"
    )
    parser.add_argument(
        "--node-gone-after",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="with --cluster (default %(default)s)",
    )


def _check(parser: argparse.ArgumentParser, settings: argparse.Namespace) -> None:
    """Ends the program with a sentence if a value cannot be."""
    for driver in settings.driver:
        if driver.count("/") != 1 or not all(map(protocol.is_name, driver.split("/"))):
            parser.error(f"--driver {driver}: expected VENDOR/NAME, as in flexvol/loop")
    if settings.pod and not all(settings.pod.partition("/")[::2]):
        parser.error(f"--pod {settings.pod}: expected NAME/UID")
    if not settings.orphan_grace_seconds >= 0:
        parser.error(f"--orphan-grace-seconds {settings.orphan_grace_seconds}: expected 0 or more")
    if settings.workers < 1:
        parser.error(f"--workers {settings.workers}: expected 1 or more")


def _namespace() -> str:
    try:
        with open(NAMESPACE_FILE, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return "default"


def _owner(pod: str | None) -> dict[str, Any] | None:
    if not pod:
        return None
    name, uid = pod.split("/")
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}


class JsonFormatter(logging.Formatter):
    """One object a line. What an entry is about has keys of its own (_LOG_KEYS), as given in its
    `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record), "level": record.levelname, "part": record.name}
        line |= {key: getattr(record, key) for key in _LOG_KEYS if hasattr(record, key)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({**line, "message": record.getMessage()})


class TextFormatter(logging.Formatter):
    """An entry is one line, but for an exception's trace. Whoever makes a claim may have written
    the names in it, and could else write lines of the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        text = super().formatMessage(record)
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _log_to_stdout(style: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    text = TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if style == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class Instance:
    """What both kinds have in common: the way to the API server, the watches, the election, health,
    and the end."""

    def __init__(self, settings: argparse.Namespace, name: str, lease: str) -> None:
        """lease: what it must hold to work; empty if it needs none."""
        self.settings, self.api = settings, cluster.Cluster(settings.kubeconfig)
        self.drivers = kubectl.by_provisioner(settings.driver)
        self.events = Events(self.api, f"{'+'.join(self.drivers)} {name}")
        self.stopping = threading.Event()
        self.all_listed = threading.Event()
        self.threads: list[threading.Thread] = []  # which live as long as it does
        self.watches: list[Watch] = []
        self._name, self._lease_name = name, lease and "-".join([lease, *sorted(self.drivers)])
        self._election: Election | None = None
        self._lock = threading.Lock()
        self._unlisted: set[str] = set()

    def may_work(self) -> bool:
        """Whether it is the elected one, by its own clock; in node mode nobody else has its
        storage."""
        if self.stopping.is_set():
            return False
        if not self._lease_name:
            return True
        return self._election is not None and self._election.held()

    def start(
        self,
        watches: dict[str, Follower],
        back: Callable[[], None],
        listed: Callable[[], None],
        stand_by: Callable[[], None],
    ) -> None:
        """back: as a Watch calls it. listed: called once, when everything was listed.
        stand_by: called when the lease was lost."""
        self.run_thread(threading.Thread(target=reap_strays, name="reaper", daemon=True))
        metrics.leader.labels(self._lease_name).set_function(self.may_work)
        if self._lease_name:
            self._take_part(stand_by)
        self._unlisted = set(watches)
        for path, follower in watches.items():
            on_list = functools.partial(self._listed, path, follower.listed, listed)
            watch = Watch(self.api, path, _Watch(follower.changed, on_list, follower.gone), back)
            self.watches.append(watch)
            self.run_thread(threading.Thread(target=watch.run, name=path, daemon=True))
        if self.settings.health_port:
            health.serve(self.settings.health_port, self.dead, self.not_ready)
        _log.info(
            "provisioner %s for %s as %s", protocol.VERSION, ", ".join(self.drivers), self._name
        )

    def _take_part(self, stand_by: Callable[[], None]) -> None:
        """Starts the election. stand_by: called each time when the lease was lost."""
        identity = f"{self._name}_{uuid.uuid4()}"
        namespace = self.settings.namespace
        self._election = Election(self.api, namespace, self._lease_name, identity)
        started = functools.partial(_log.info, "leading")
        stopped = functools.partial(self._lost, stand_by)
        run = functools.partial(self._election.run, started, stopped)
        self.run_thread(threading.Thread(target=run, name="election", daemon=True))

    def _lost(self, stand_by: Callable[[], None]) -> None:
        _log.warning("the lease is lost: standing by")
        stand_by()

    def run_thread(self, thread: threading.Thread) -> None:
        """Starts one without which the instance is not healthy."""
        thread.start()
        self.threads.append(thread)

    def wait_for_stop(self) -> None:
        """Returns when SIGTERM or SIGINT has come; from then on nothing new is begun."""
        signal.sigwait(_STOP_SIGNALS)
        self.stopping.set()

    def end(self) -> None:
        if self._election is not None:
            self._election.release()
        self.events.close(_EVENTS_SECONDS)

    def _listed(
        self,
        path: str,
        all_of_it: Callable[[set[str]], None],
        listed: Callable[[], None],
        uids: set[str],
    ) -> None:
        all_of_it(uids)
        with self._lock:
            self._unlisted.discard(path)
            if not self._unlisted and not self.all_listed.is_set():
                self.all_listed.set()
                listed()

    def dead(self) -> str:
        dead = [thread.name for thread in self.threads if not thread.is_alive()]
        return f"ended: {', '.join(dead)}" if dead else ""

    def not_ready(self) -> str:
        if self._unlisted:
            return f"not listed yet: {', '.join(sorted(self._unlisted))}"
        return "; ".join(watch.trouble for watch in self.watches if watch.trouble)


class Provisioner:
    """Makes and deletes volumes: the parts, and the threads that work."""

    def __init__(self, settings: argparse.Namespace) -> None:
        name, node = settings.node or settings.identity, settings.node or ""
        self._instance = instance = Instance(settings, name, "" if node else "flexvol")
        us = decide.Identity(instance.drivers, name, node)
        api = instance.api
        events = instance.events
        at_once = settings.workers if len(instance.drivers) == 1 else max(1, settings.workers - 1)
        self._work, storage = WorkQueue(), Storage(settings.plugin_dir, at_once)
        secrets = Secrets(api, us, settings.namespace)
        self._provision = provision = Provision(api, storage, events, self._work, us, secrets)
        delete = Delete(api, storage, events, self._work, us, secrets)
        owners = Owners(api, storage, events, self._work, us)
        self._volumes: list[Follower] = [
            _Watch(delete.volume_changed, delete.volumes_listed, delete.volume_gone),
            _Watch(owners.volume_changed, owners.volumes_listed, owners.volume_gone),
            _Watch(_no_news, _no_news, provision.volume_gone),
        ]
        self._capacity: Capacity | None = None
        if node:
            self._capacity = self._publishing(us, storage, delete)
        self._orphans = Orphans(
            api,
            storage,
            events,
            us,
            self._capacity,
            delete.policies,
            provision.in_hand,
            instance.may_work,
            secrets,
            settings.orphan_grace_seconds,
        )
        self._orphans.after = [owners.listed]
        self._syncs = {"claim": provision.sync, "volume": delete.sync, KIND: owners.sync}
        self._lacking: set[str] = set()  # rights, each said once
        self._workers = [
            threading.Thread(target=self._run, name=f"worker-{number}", args=(takes,))
            for number, takes in enumerate(what_workers_take(settings.workers))
        ]

    def _publishing(self, us: decide.Identity, storage: Storage, delete: Delete) -> Capacity:
        """What only a node has: the room of its pools, and the marks on PVs whose pool is another
        one now."""
        instance, provision = self._instance, self._provision
        capacity = Capacity(
            instance.api,
            storage,
            us,
            instance.settings.namespace,
            _owner(instance.settings.pod),
            provision.classes,
            provision.recent_hostname,
        )
        capacity.is_passed_over = provision.is_passed_over
        provision.capacity = capacity
        delete.capacity = capacity
        marks = LostMarks(instance.api, instance.events, us, capacity.changed)
        self._volumes.append(marks.volumes)
        capacity.after = [provision.room_published, lambda _: marks.check(capacity.listed)]
        return capacity

    def run(self) -> None:
        """Works until SIGTERM or SIGINT, then finishes what is in hand."""
        provision, instance = self._provision, self._instance
        if instance.settings.health_port:
            listing = self._orphans.listing
            metrics.show(listing.listed, self._waiting, listing.ages_seconds)
        watches: dict[str, Follower] = {
            cluster.CLASSES: _Watch(
                provision.class_changed,
                provision.classes_listed,
                provision.class_gone,
            ),
            cluster.CLAIMS: _Watch(
                provision.claim_changed,
                provision.claims_listed,
                provision.claim_gone,
            ),
            cluster.VOLUMES: Followers(*self._volumes),
        }
        instance.start(watches, self._back, self._all_listed, provision.stand_by)
        for worker in self._workers:
            instance.run_thread(worker)
        instance.wait_for_stop()
        _log.info("stopping: finishing what is in hand")
        self._work.stop()
        instance.all_listed.set()
        for worker in self._workers:
            worker.join()
        instance.end()

    def _waiting(self) -> int:
        """How much of our own work waits: not what the elected instance does, nor the claims that
        any other node might take as well."""
        if not self._instance.may_work():
            return 0
        mine = [
            key
            for key in self._work.waiting_keys()
            if not self._provision.is_anyones(key[1])  # type: ignore[index]
        ]
        return len(mine)

    def _all_listed(self) -> None:
        # Not before the classes are known: it takes away what is for none.
        if self._capacity is not None:
            self._instance.run_thread(self._capacity.thread)
        self._instance.run_thread(self._orphans.thread)

    def _back(self) -> None:
        """The API server answers again. While it starts it may have refused what it allows now."""
        self._lacking.clear()
        self._work.hurry()

    def _run(self, takes: Callable[[Any], bool]) -> None:
        self._instance.all_listed.wait()  # half a picture would lead to wrong words
        while True:
            key: Any = self._work.get(takes)
            if key is None:
                return
            while not self._instance.may_work():
                if self._instance.stopping.wait(_STAND_BY_SECONDS):
                    return
            try:
                self._syncs[key[0]](key)
            except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
                lacking = getattr(error, "lacking", "")
                if not lacking or lacking not in self._lacking:
                    _log.warning("%s %s: %s", key[0], key[1], error)
                self._lacking |= {lacking}
                asked_seconds = getattr(error, "retry_after_seconds", 0.0)
                self._work.failed(key, retry.GROWING, asked_seconds)
            except Exception:
                _log.exception("bug while working on %s %s", *key)
                self._work.failed(key, retry.GROWING)


def what_workers_take(makers: int) -> list[Callable[[Any], bool]]:
    """For each worker, which keys it works on. makers: how many may make volumes.

    Making a volume may take minutes, and so may deleting one. One of the makers does nothing else,
    and one worker more makes none, so that neither kind of work waits for the other."""
    return [_takes_claims, *[_takes_all] * (makers - 1), _takes_no_claim]


def _takes_all(key: Any) -> bool:
    return True


def _takes_claims(key: Any) -> bool:
    return bool(key[0] == "claim")


def _takes_no_claim(key: Any) -> bool:
    return not _takes_claims(key)


def _no_news(_: Any) -> None:
    """Of what a part does not want to know."""


def run_duties(settings: argparse.Namespace) -> None:
    """--cluster: the duties of no single node, when elected, until SIGTERM or SIGINT."""
    instance = Instance(settings, "cluster", "flexvol-cluster")
    duties = ClusterDuties(
        instance.api,
        instance.events,
        instance.drivers,
        DutySettings(settings.namespace, settings.node_gone_after, settings.learns),
        instance.may_work,
    )
    watches: dict[str, Follower] = {
        cluster.NODES: duties.nodes,
        cluster.CLAIMS: duties.claims,
        cluster.VOLUMES: duties.volumes,
    }
    start = functools.partial(instance.run_thread, duties.thread)
    instance.start(watches, lambda: None, start, lambda: None)
    instance.wait_for_stop()
    instance.end()


def _keep_stop_signals_for_main_thread() -> None:
    """Blocks the signals in all threads that are started from now on; they wait for the main
    thread's sigwait. The kernel may deliver a signal of the process to any thread that does not
    block it (signal(7)). Python calls the handler in the main thread only, and does not wake the
    main thread for a signal that another thread got: a handler might never be called."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)


def start() -> int:
    """The zipapp's entry point."""
    return main(None)


def main(words: list[str] | None) -> int:
    words, program = sys.argv[1:] if words is None else words, os.path.basename(sys.argv[0])
    if program.startswith("kubectl-"):  # kubectl flexvol: only what a person does
        return kubectl.main(words, DRIVERS, program.replace("-", " ", 1))
    if words and not words[0].startswith("-"):
        return kubectl.main(words, DRIVERS, "provisioner")
    settings = arguments(words)
    _log_to_stdout(settings.log_format)
    _keep_stop_signals_for_main_thread()
    try:
        if settings.cluster:
            run_duties(settings)
        else:
            Provisioner(settings).run()
    except cluster.Unreachable as error:
        # There is no kubeconfig that can be used. That the API server is away later is survived.
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(None))
