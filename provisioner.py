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
from collections.abc import Callable, Sequence
from typing import Any

import administration
import protocol
from controller import cluster, decide, health, metrics
from controller.capacity import Capacity
from controller.delete import Delete
from controller.events import Events
from controller.gone_nodes import GoneNodes, Kept, Marks
from controller.orphans import Orphans
from controller.provision import Provision
from controller.secrets import Secrets
from controller.storage import DRIVERS, PLUGIN_DIRECTORY, Storage
from controller.workqueue import WorkQueue

NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_EVENTS_SECONDS = 5
_LOG_KEYS = ("claim", "volume", "driver", "reason")
_STAND_BY_SECONDS = 0.2
_Watch = tuple[
    Callable[[Any], None], Callable[[Any], None], Callable[[Any], None]
]  # as Cluster.follow wants them
_log = logging.getLogger("provisioner")


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="provisioner",
        description="Makes volumes for claims, and deletes them.",
        epilog="What a person does with a kubeconfig: " + administration.summary("provisioner"),
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
    settings = parser.parse_args(words)
    settings.driver = settings.driver or list(DRIVERS)
    _check(parser, settings)
    return settings


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--driver", action="append", metavar="VENDOR/NAME", help="default: flexvol/loop; repeatable"
    )
    parser.add_argument(
        "--plugin-dir", default=PLUGIN_DIRECTORY, metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--workers", type=int, default=4, metavar="N", help="how many at once (default %(default)s)"
    )
    parser.add_argument(
        "--node-gone-after",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="with --cluster (default %(default)s)",
    )
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


def _log_to_stdout(style: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if style == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("leaderelection").setLevel(logging.WARNING)


class Instance:
    """What both kinds have in common: the way to the API server, the watches, the election, health,
    and the end."""

    def __init__(self, settings: argparse.Namespace, name: str, lease: str) -> None:
        """lease: what it must hold to work; empty if it needs none."""
        self.settings, self.api = settings, cluster.Cluster(settings.kubeconfig)
        self.drivers = administration.by_provisioner(settings.driver)
        self.events = Events(self.api, f"{'+'.join(self.drivers)} {name}")
        self.stopping = threading.Event()
        self.all_listed = threading.Event()
        self.threads: list[threading.Thread] = []  # which live as long as it does
        self._name, self._lease_name = name, lease and "-".join([lease, *sorted(self.drivers)])
        self._lease: cluster.Lease | None = None
        self._lock = threading.Lock()
        self._unlisted: set[str] = set()

    def may_work(self) -> bool:
        """Whether it is the elected one, by its own clock; in node mode nobody else has its
        storage."""
        elected = not self._lease_name or (self._lease is not None and self._lease.held())
        return elected and not self.stopping.is_set()

    def start(
        self,
        watches: dict[str, _Watch],
        back: Callable[[], None],
        listed: Callable[[], None],
        stand_by: Callable[[], None],
    ) -> None:
        """back: as Cluster.follow calls it. listed: called once, when everything was listed.
        stand_by: called when the lease was lost."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())
        metrics.leader.labels(self._lease_name).set_function(self.may_work)
        if self._lease_name:
            identity = f"{self._name}_{uuid.uuid4()}"
            leads = functools.partial(_log.info, "leading")
            lost = functools.partial(self._lost, stand_by)
            self._lease = self.api.lead(
                self.settings.namespace, self._lease_name, identity, leads, lost
            )
        self._unlisted = set(watches)
        for path, (changed, all_of_it, gone) in watches.items():
            follow = (
                path,
                changed,
                functools.partial(self._listed, path, all_of_it, listed),
                gone,
                back,
            )
            self.run_thread(
                threading.Thread(target=self.api.follow, args=follow, name=path, daemon=True)
            )
        if self.settings.health_port:
            health.serve(self.settings.health_port, self.dead, self.not_ready)
        _log.info(
            "provisioner %s for %s as %s", protocol.VERSION, ", ".join(self.drivers), self._name
        )

    def _lost(self, stand_by: Callable[[], None]) -> None:
        _log.warning("the lease is lost: standing by")
        stand_by()

    def run_thread(self, thread: threading.Thread) -> None:
        """Starts one without which the instance is not healthy."""
        thread.start()
        self.threads.append(thread)

    def end(self) -> None:
        if self._lease is not None:
            self._lease.release()
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
        return "; ".join(self.api.failing.values())


class Provisioner:
    """Makes and deletes volumes: the parts, and the threads that work."""

    def __init__(self, settings: argparse.Namespace) -> None:
        name, node = settings.node or settings.identity, settings.node or ""
        self._instance = instance = Instance(settings, name, "" if node else "flexvol")
        us, api, events = (
            decide.Identity(instance.drivers, name, node),
            instance.api,
            instance.events,
        )
        at_once = settings.workers if len(instance.drivers) == 1 else max(1, settings.workers - 1)
        self._work, storage = WorkQueue(), Storage(settings.plugin_dir, at_once)
        secrets = Secrets(api, us, settings.namespace)
        self._provision = provision = Provision(api, storage, events, self._work, us, secrets)
        self._delete = delete = Delete(api, storage, events, self._work, us, secrets)
        self._volumes: list[_Watch] = [
            (delete.volume_changed, delete.volumes_listed, delete.volume_gone)
        ]
        self._capacity: Capacity | None = None
        if node:
            self._capacity = capacity = provision.capacity = delete.capacity = Capacity(
                api,
                storage,
                us,
                settings.namespace,
                _owner(settings.pod),
                provision.classes,
                provision.hostname,
            )
            marks = Marks(api, events, us, capacity.changed)
            self._volumes.append(_watch(marks.volumes))
            capacity.after = [provision.room_published, lambda _: marks.check(capacity.listed)]
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
        self._lacking: set[str] = set()  # rights, each said once
        self._workers = [
            threading.Thread(target=self._run, name=f"worker-{n}") for n in range(settings.workers)
        ]

    def run(self) -> None:
        """Works until SIGTERM or SIGINT, then finishes what is in hand."""
        provision, instance = self._provision, self._instance
        if instance.settings.health_port:
            metrics.show(lambda: (self._capacity or self._orphans).listed, self._work.waiting)
        watches: dict[str, _Watch] = {
            cluster.CLASSES: (
                provision.class_changed,
                provision.classes_listed,
                provision.class_gone,
            ),
            cluster.CLAIMS: (
                provision.claim_changed,
                provision.claims_listed,
                provision.claim_gone,
            ),
            cluster.VOLUMES: (*map(_each, zip(*self._volumes, strict=True)),),  # type: ignore[dict-item]
        }
        instance.start(watches, self._back, self._all_listed, provision.stand_by)
        for worker in self._workers:
            instance.run_thread(worker)
        instance.stopping.wait()
        _log.info("stopping: finishing what is in hand")
        self._work.stop()
        instance.all_listed.set()
        for worker in self._workers:
            worker.join()
        instance.end()

    def _all_listed(self) -> None:
        if (
            self._capacity is not None
        ):  # not before the classes are known: it takes away what is for none
            self._instance.run_thread(self._capacity.thread)
        self._instance.run_thread(self._orphans.thread)

    def _back(self) -> None:
        """The API server answers again. While it starts it may have refused what it allows now."""
        self._lacking.clear()
        self._work.hurry()

    def _run(self) -> None:
        self._instance.all_listed.wait()  # half a picture would lead to wrong words
        while True:
            key: Any = self._work.get()
            if key is None:
                return
            while not self._instance.may_work():
                if self._instance.stopping.wait(_STAND_BY_SECONDS):
                    return
            try:
                (self._provision if key[0] == "claim" else self._delete).sync(key)
            except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
                lacking = getattr(error, "lacking", "")
                if not lacking or lacking not in self._lacking:
                    _log.warning("%s %s: %s", key[0], key[1], error)
                self._lacking |= {lacking}
                self._work.done(key, getattr(error, "retry_after_seconds", 0.0), failed=True)
            except Exception:
                _log.exception("bug while working on %s %s", *key)
                self._work.done(key, failed=True)


def _watch(kept: Kept) -> _Watch:
    return kept.changed, kept.listed, kept.gone


def _each(calls: Sequence[Callable[[Any], None]]) -> Callable[[Any], None]:
    def call(news: Any) -> None:
        for one in calls:
            one(news)

    return call


def duties(settings: argparse.Namespace) -> None:
    """--cluster: the duties of no single node, when elected, until SIGTERM or SIGINT."""
    instance = Instance(settings, "cluster", "flexvol-cluster")
    gone = GoneNodes(
        instance.api,
        instance.events,
        instance.drivers,
        settings.namespace,
        settings.node_gone_after,
        instance.may_work,
    )
    watches = {
        cluster.NODES: gone.nodes,
        cluster.CLAIMS: gone.claims,
        cluster.VOLUMES: gone.volumes,
    }
    start = functools.partial(instance.run_thread, gone.thread)
    instance.start(
        {path: _watch(kept) for path, kept in watches.items()}, lambda: None, start, lambda: None
    )
    instance.stopping.wait()
    instance.end()


def start() -> int:
    """The zipapp's entry point."""
    return main(None)


def main(words: list[str] | None) -> int:
    words, program = sys.argv[1:] if words is None else words, os.path.basename(sys.argv[0])
    if program.startswith("kubectl-"):  # kubectl flexvol: only what a person does
        return administration.main(words, DRIVERS, program.replace("-", " ", 1))
    if words and not words[0].startswith("-"):
        return administration.main(words, DRIVERS, "provisioner")
    settings = arguments(words)
    _log_to_stdout(settings.log_format)
    try:
        if settings.cluster:
            duties(settings)
        else:
            Provisioner(settings).run()
    except (
        cluster.Unreachable
    ) as error:  # that it is away later is survived; here there is no kubeconfig
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(None))
