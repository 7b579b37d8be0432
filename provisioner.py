"""The provisioner: arguments, start and stop. What it does is in controller/."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import protocol
from controller import cluster, decide, health, metrics
from controller.capacity import Capacity
from controller.delete import Delete
from controller.events import Events
from controller.gone_nodes import GoneNodes, Kept, Marks, NotLost, release_now
from controller.orphans import Orphans
from controller.provision import Provision
from controller.secrets import Secrets
from controller.storage import Storage
from controller.workqueue import WorkQueue

PLUGIN_DIRECTORY = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_DRIVERS = ("flexvol/loop",)
_EVENTS_SECONDS = 5
_Watch = tuple[Callable[[Any], None], Callable[[Any], None], Callable[[Any], None]]  # as Cluster.follow wants them
_log = logging.getLogger("provisioner")


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="provisioner",
        description="Makes volumes for claims, and deletes them.",
        epilog="provisioner release PV [--kubeconfig FILE] gives up one volume whose node or pool is gone for good.",
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--node", metavar="NAME", help="node mode: serve the claims of this node, whose storage it is")
    mode.add_argument("--cluster", action="store_true", help="duties of no single node, if elected; makes no volumes")
    mode.add_argument("--identity", metavar="NAME", help="shared mode: serve all claims, if elected, under this name")
    parser.add_argument("--driver", action="append", metavar="VENDOR/NAME", help="default: flexvol/loop; repeatable")
    parser.add_argument("--plugin-dir", default=PLUGIN_DIRECTORY, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="how many at once (default %(default)s)")
    parser.add_argument(
        "--node-gone-after", type=float, default=60.0, metavar="SECONDS", help="with --cluster (default %(default)s)"
    )
    parser.add_argument("--kubeconfig", metavar="FILE", help="for use outside the cluster")
    parser.add_argument(
        "--namespace",
        default=_namespace(),
        help="of the Lease and the capacity objects (default: our own); secrets are made in NAMESPACE-secrets",
    )
    parser.add_argument("--pod", metavar="NAME/UID", help="our own pod, with which the capacity objects go")
    parser.add_argument(
        "--health-port", type=int, default=0, metavar="N", help="serves /healthz, /readyz (default: off)"
    )
    parser.add_argument(
        "--orphan-grace-seconds", type=float, default=3600, metavar="N",
        help="how long a volume that was never mounted has neither PV nor claim before it is deleted (default 3600)",
    )  # fmt: skip
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--version", action="version", version=protocol.VERSION)
    settings = parser.parse_args(words)
    settings.driver = settings.driver or list(_DRIVERS)
    for driver in settings.driver:
        if driver.count("/") != 1 or not all(map(protocol.is_name, driver.split("/"))):
            parser.error(f"--driver {driver}: expected VENDOR/NAME, as in flexvol/loop")
    if settings.pod and not all(settings.pod.partition("/")[::2]):
        parser.error(f"--pod {settings.pod}: expected NAME/UID")
    if not settings.orphan_grace_seconds >= 0:
        parser.error(f"--orphan-grace-seconds {settings.orphan_grace_seconds}: expected 0 or more")
    if settings.workers < 1:
        parser.error(f"--workers {settings.workers}: expected 1 or more")
    return settings


def _by_provisioner(drivers: Sequence[str]) -> dict[str, str]:
    return {".".join(reversed(driver.split("/"))): driver for driver in drivers}


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


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record), "level": record.levelname, "about": record.name}
        return json.dumps({**line, "message": record.getMessage()})


def _log_to_stdout(style: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_Json() if style == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("leaderelection").setLevel(logging.WARNING)


class Provisioner:
    """The threads and what they share."""

    def __init__(self, settings: argparse.Namespace) -> None:
        self._settings = settings
        self._api = cluster.Cluster(settings.kubeconfig)
        drivers = _by_provisioner(settings.driver)
        self._us = decide.Identity(drivers, settings.node or settings.identity, settings.node or "")
        self._work = WorkQueue()
        self._events = Events(self._api, f"{'+'.join(drivers)} {self._us.name}")
        storage = Storage(settings.plugin_dir)
        secrets = Secrets(self._api, self._us, settings.namespace)
        self._provision = provision = Provision(self._api, storage, self._events, self._work, self._us, secrets)
        self._delete = Delete(self._api, storage, self._events, self._work, self._us, secrets)
        self._capacity: Capacity | None = None
        self._marks: Marks | None = None
        if settings.node:
            owner = _owner(settings.pod)
            self._capacity = capacity = provision.capacity = self._delete.capacity = Capacity(
                self._api, storage, self._us, settings.namespace, owner, provision.classes, provision.hostname
            )
            self._marks = marks = Marks(self._api, self._events, self._us, capacity.changed)
            capacity.after = [provision.room_published, lambda _: marks.check(capacity.listed)]
        self._may_work = threading.Event()
        self._all_listed = threading.Event()
        self._stop = threading.Event()
        self._orphans = Orphans(
            self._api, storage, self._events, self._us, self._capacity, self._delete.policies, provision.in_hand,
            lambda: self._may_work.is_set() and not self._stop.is_set(), settings.orphan_grace_seconds,
        )  # fmt: skip
        self._unlisted = {cluster.CLASSES, cluster.CLAIMS, cluster.VOLUMES}
        self._watches: list[threading.Thread] = []
        self._workers = [threading.Thread(target=self._run, name=f"worker-{n}") for n in range(settings.workers)]

    def run(self) -> None:
        """Works until SIGTERM or SIGINT, then finishes what is in hand."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        lease = None
        if self._settings.node:
            metrics.leader.set(1)
            self._may_work.set()
        else:
            name = "flexvol-" + "-".join(sorted(self._us.drivers))
            lease = self._api.lead(
                self._settings.namespace, name, f"{self._us.name}_{uuid.uuid4()}", self._lead, self._stand_by
            )
        provision, delete = self._provision, self._delete
        volumes: list[_Watch] = [(delete.volume_changed, delete.volumes_listed, delete.volume_gone)]
        if self._marks is not None:
            volumes.append(_watch(self._marks.volumes))
        watches: dict[str, _Watch] = {
            cluster.CLASSES: (provision.class_changed, provision.classes_listed, provision.class_gone),
            cluster.CLAIMS: (provision.claim_changed, provision.claims_listed, provision.claim_gone),
            cluster.VOLUMES: (*map(_each, zip(*volumes, strict=True)),),  # type: ignore[dict-item]
        }
        for path, (changed, listed, gone) in watches.items():
            follow = (path, changed, functools.partial(self._listed, path, listed), gone)
            self._watches.append(threading.Thread(target=self._api.follow, args=follow, name=path, daemon=True))
        for thread in self._watches + self._workers:
            thread.start()
        if self._settings.health_port:
            metrics.show(lambda: (self._capacity or self._orphans).listed, self._work.waiting)
            health.serve(self._settings.health_port, self._dead, self._not_ready)
        _log.info("provisioner %s for %s as %s", protocol.VERSION, ", ".join(self._us.drivers), self._us.name)
        self._stop.wait()
        _log.info("stopping: finishing what is in hand")
        self._work.stop()
        self._may_work.set()
        self._all_listed.set()
        for worker in self._workers:
            worker.join()
        if lease is not None:
            lease.release()
        self._events.close(_EVENTS_SECONDS)

    def _listed(self, path: str, listed: Callable[[set[str]], None], uids: set[str]) -> None:
        listed(uids)
        self._unlisted.discard(path)
        if not self._unlisted and not self._all_listed.is_set():
            self._all_listed.set()
            if self._capacity is not None:  # not before the classes are known: it takes away what is for none
                self._capacity.thread.start()
            self._orphans.thread.start()

    def _dead(self) -> str:
        threads = self._watches + self._workers
        if self._all_listed.is_set():
            threads += [part.thread for part in (self._capacity, self._orphans) if part is not None]
        dead = [thread.name for thread in threads if not thread.is_alive()]
        return f"ended: {', '.join(dead)}" if dead else ""

    def _not_ready(self) -> str:
        return f"not listed yet: {', '.join(sorted(self._unlisted))}" if self._unlisted else ""

    def _lead(self) -> None:
        _log.info("leading")
        metrics.leader.set(1)
        self._may_work.set()

    def _stand_by(self) -> None:
        _log.warning("the lease is lost: standing by")
        self._may_work.clear()
        metrics.leader.set(0)
        self._provision.stand_by()

    def _run(self) -> None:
        self._all_listed.wait()  # half a picture would lead to wrong words
        while True:
            key: Any = self._work.get()
            if key is None:
                return
            self._may_work.wait()
            if self._stop.is_set():
                return
            try:
                (self._provision if key[0] == "claim" else self._delete).sync(key)
            except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
                _log.warning("%s %s: %s", key[0], key[1], error)
                self._work.done(key, failed=True)
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
    """--cluster: takes part in the election, and works when elected, until SIGTERM or SIGINT."""
    stop, drivers, api = threading.Event(), _by_provisioner(settings.driver), cluster.Cluster(settings.kubeconfig)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    events = Events(api, f"{'+'.join(drivers)} cluster")
    gone = GoneNodes(api, events, drivers, settings.namespace, settings.node_gone_after)
    kept = {cluster.NODES: gone.nodes, cluster.CLAIMS: gone.claims, cluster.VOLUMES: gone.volumes}
    unlisted = set(kept)

    def listed(path: str, uids: set[str]) -> None:
        kept[path].listed(uids)
        unlisted.discard(path)

    def lead(leads: bool) -> None:
        _log.info("leading" if leads else "the lease is lost: standing by")
        metrics.leader.set(leads)
        gone.lead(leads)

    threads = [gone.thread]
    for path, one in kept.items():
        follow = (path, one.changed, functools.partial(listed, path), one.gone)
        threads.append(threading.Thread(target=api.follow, args=follow, name=path, daemon=True))
    for thread in threads:
        thread.start()
    name = "flexvol-cluster-" + "-".join(sorted(drivers))
    identity = f"cluster_{uuid.uuid4()}"
    lease = api.lead(settings.namespace, name, identity, functools.partial(lead, True), functools.partial(lead, False))
    if settings.health_port:
        dead = lambda: ", ".join(thread.name for thread in threads if not thread.is_alive())  # noqa: E731
        health.serve(settings.health_port, dead, lambda: ", ".join(sorted(unlisted)))
    _log.info("provisioner %s: duties of no single node, for %s", protocol.VERSION, ", ".join(drivers))
    stop.wait()
    gone.lead(False)
    lease.release()
    events.close(_EVENTS_SECONDS)


def release(words: list[str]) -> int:
    """The command `provisioner release PV`."""
    parser = argparse.ArgumentParser(
        prog="provisioner release",
        description="Gives up a PV whose node is gone, or whose pool was replaced: deletes its claim and the PV.",
    )
    parser.add_argument("volume", metavar="PV")
    parser.add_argument("--driver", action="append", metavar="VENDOR/NAME", help="default: flexvol/loop; repeatable")
    parser.add_argument("--kubeconfig", metavar="FILE", help="for use outside the cluster")
    settings = parser.parse_args(words)
    api = cluster.Cluster(settings.kubeconfig)
    try:
        return 0 if release_now(api, settings.volume, _by_provisioner(settings.driver or _DRIVERS), print) else 1
    except (NotLost, cluster.Refused, cluster.Unreachable) as error:
        print(error, file=sys.stderr)
        return 1


def start() -> int:
    """The zipapp's entry point."""
    return main(None)


def main(words: list[str] | None) -> int:
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["release"]:
        return release(words[1:])
    settings = arguments(words)
    _log_to_stdout(settings.log_format)
    if settings.cluster:
        duties(settings)
    else:
        Provisioner(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(None))
