"""A provisioner that is killed, beside the installed one: dist/provisioner as a process in a node's
namespaces.

It serves the driver crash/loop (the loop driver under another vendor's name, behind a wrapper that
can kill or wait), with a class and a pool that nobody else knows, and reaches the API server
through a proxy. SIGKILL is dealt to it at a call of the API or of the driver."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tests.cluster.kube import machine
from tests.cluster.kube.cluster import DATA, SERVER, STATE
from tests.cluster.namespaces import Kubernetes, Object
from tests.cluster.proxy import CUT, CUT_AFTER, Proxy, kubeconfig
from tests.precompiled import precompile
from tests.sources import ROOT
from tests.waiting import wait_until

NAME = "killed-provisioner"
PROVISIONER = "loop.crash"
DRIVER = "crash/loop"
# Which request of the API, or call of the driver, is the one: its number, or words of it.
Where = Callable[[int, str], bool]
# The beginning of a script that stands before the loop driver, which uses no secret: it takes away
# the word that a class asks for one, so that the driver is one that has its use for it.
USES_SECRET = """#!/bin/sh
if [ "$1" = provision ]; then
  without='s/, *"kubernetes.io.storageClass.secret": *"[a-zA-Z]*"//'
  set -- provision "$(printf %s "$2" | sed "$without")"
fi
"""
_WRAPPER = """
# before: killed before the driver runs; during: it runs on, alone; after: it has run, and nobody
# hears its answer.
exec 8>>{here}/lock && flock 8 && n=$(($(wc -l <{here}/called) + 1)) &&
  echo "$1" >>{here}/called && exec 8>&-
while [ "$1" = provision ] && [ -e {here}/hold ]; do touch {here}/held; sleep 0.05; done
read -r when number callout <{here}/kill
if [ "$n" = "$number" ] || [ "$1" = "$callout" ]; then
  [ "$when" != after ] || {here}/real/loop "$@" >{here}/unheard
  kill -9 $PPID
  [ "$when" = during ] || exit 0
fi
exec {here}/real/loop "$@"
"""


class KilledProvisioner:
    """Made for one namespace; `storage_class` is its class's name. Its pool is empty at the
    begin."""

    def __init__(self, k8s: Kubernetes, proxy: KillingProxy, node: str = "node1") -> None:
        self.k8s = k8s
        self.first = proxy
        self.node = k8s.cluster.nodes[node]
        self.storage_class = f"crash-{k8s.namespace}"
        self._changes = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.here = DATA / "own"
        self.pool = self.here / "pools/default"
        shutil.rmtree(self.here, ignore_errors=True)
        for directory in ("pools", "etc", "real", "plugins/crash~loop"):
            (self.here / directory).mkdir(parents=True)
        driver = self.here / "real/loop"
        shutil.copy(ROOT / "dist/flexvol", driver)
        precompile(driver)
        for file in ("called", "lock"):
            (self.here / file).touch()
        self.kill_at_callout("never")
        wrapper = self.here / "plugins/crash~loop/loop"
        wrapper.write_text(USES_SECRET + _WRAPPER.format(here=self.here))
        wrapper.chmod(0o755)
        self.use(proxy)
        self.run("pool", "init", "default")

    def use(self, proxy: KillingProxy) -> None:
        """Which API server it works with from its next start on."""
        self.proxy = proxy
        proxy.victim = self.kill
        (self.here / "kubeconfig").write_text(kubeconfig(proxy.url))

    def _apart(self, *argv: object) -> list[object]:
        """A command line in the node's namespaces, but with pools and settings that are only
        ours."""
        inside = (
            'mount --bind "$1" /var/lib/flexvol && mount --bind "$2" /etc/flexvol && '
            'shift 2 && exec "$@"'
        )
        script = ["sh", "-c", inside, "sh", self.here / "pools", self.here / "etc"]
        return ["unshare", "-m", *script, *argv]

    def run(self, *argv: object) -> Any:
        """Runs the driver, as a person would."""
        done = self.node.enter(
            *self._apart(self.here / "real/loop", *argv),
            capture_output=True,
        )
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout

    def mount_and_unmount(self, options: str) -> None:
        """As a pod does; the mount ends with the namespace that we run it in, at the latest."""
        (self.here / "pod").mkdir()
        script = 'test "$("$1" mount "$2" "$3")" = \'{"status": "Success"}\' && "$1" unmount "$2"'
        self.node.enter(
            *self._apart(
                "sh", "-c", script, "sh", self.here / "real/loop", self.here / "pod", options
            )
        )

    def start(self, *arguments: object) -> None:
        line = [
            "env",
            f"SHIV_ROOT={STATE}/shiv",
            ROOT / "dist/provisioner",
            f"--node={self.node.name}",
            f"--driver={DRIVER}",
            f"--plugin-dir={self.here}/plugins",
            f"--kubeconfig={self.here}/kubeconfig",
            f"--namespace={self.k8s.namespace}",
            "--orphan-grace-seconds=1",
            *arguments,
        ]
        holder = (self.node.directory / "ns.pid").read_text().strip()
        self._process = machine.spawn(
            DATA, NAME, ["nsenter", "-t", holder, "-m", "-n", *self._apart(*line)]
        )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL of the process alone: a driver that it called runs on."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """As kubelet does; it finishes what is in hand."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> int:
        """Waits until it has ended; returns its exit status."""
        self.terminate()
        return self._process.wait(60) if self._process is not None else 0

    def kill_at_callout(self, when: str, number: int = 0, callout: str = "-") -> None:
        """when: before, during or after; counted from now."""
        beyond = len(self.called())
        (self.here / "kill").write_text(f"{when} {beyond + number if number else 0} {callout}\n")

    def disarm(self) -> None:
        self.proxy.armed = None
        self.kill_at_callout("never")

    def hold(self) -> None:
        """From now on the driver waits in each provision, until release()."""
        (self.here / "held").unlink(missing_ok=True)
        (self.here / "hold").touch()

    def holds(self) -> bool:
        """Whether a provision waits."""
        return (self.here / "held").exists()

    def release(self) -> None:
        (self.here / "hold").unlink()

    def called(self) -> list[str]:
        """Every call of the driver so far."""
        return (self.here / "called").read_text().split()

    def log(self) -> str:
        return (STATE / f"{NAME}.log").read_text(errors="replace")

    def volumes(self) -> set[str]:
        """What is in the pool; hidden things too, as a leak is one."""
        return {entry.name for entry in self.pool.iterdir()} - {"pool.json", ".locks"}

    def record(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.pool / name / "volume.json").read_text())
        return record

    def claim(self, name: str = "data", copy_of: str = "", **metadata: Any) -> str:
        """A claim for which the scheduler has chosen our node already; returns its uid. copy_of:
        the claim whose data it begins with."""
        notes = {"volume.kubernetes.io/selected-node": self.node.name}
        spec: dict[str, Any] = {
            "storageClassName": self.storage_class,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "32Mi"}},
        }
        if copy_of:
            spec["dataSource"] = {"kind": "PersistentVolumeClaim", "name": copy_of}
        metadata = {"name": name, "annotations": notes, **metadata}
        self.k8s.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": spec,
            }
        )
        return self.k8s.uid("pvc", name)

    def provision(self, name: str, cluster_uid: str, **changes: str) -> None:
        """A volume as a provisioner of that cluster would have had it made, without any claim."""
        key = "kubernetes.io/"
        request = {
            f"{key}pvOrVolumeName": name,
            f"{key}pvc.namespace": "gone",
            f"{key}pvc.name": name,
            f"{key}pvc.uid": f"uid-of-{name}",
            f"{key}clusterUid": cluster_uid,
            f"{key}reclaimPolicy": "Delete",
            "requestBytes": str(32 << 20),
            f"{key}pvc.accessModes": "ReadWriteOnce",
            **changes,
        }
        assert self.run("provision", json.dumps(request))["status"] == "Success"

    def list_again(self) -> None:
        """Makes the provisioner list its volumes now, as a class of its own has changed."""
        self._changes += 1
        note = {"metadata": {"annotations": {"changes": str(self._changes)}}}
        self.k8s.run("patch", "storageclass", self.storage_class, "-p", json.dumps(note))

    def until(self, what: str, condition: Callable[[], Any], seconds: float = 60) -> bool:
        """Waits, and starts the provisioner again without faults once it was killed; returns
        whether it was."""
        killed = False

        def seen() -> Any:
            nonlocal killed
            if not self.alive:
                killed = True
                self.disarm()
                self.start()
            return condition()

        try:
            wait_until(what, seen, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-6000:]}") from None
        return killed


class KillingProxy(Proxy):
    """armed: (before or after, which request): there the victim is killed, before the request is
    sent on, or when it was answered and the answer is not yet given."""

    def __init__(self, server: str = SERVER) -> None:
        super().__init__(server, "admin-token", STATE / "pki/ca.crt")
        self.armed: tuple[str, Where] | None = None
        self.victim: Callable[[], None] = lambda: None
        self._killer = 0
        self.rule = self._kill

    def __enter__(self) -> KillingProxy:
        super().__enter__()
        return self

    def arm(self, when: str, where: Where) -> None:
        """The numbers that `where` is asked about begin with 1 now."""
        beyond = len(self.requests)
        self.armed = when, lambda number, words: where(number - beyond, words)

    def _kill(self, method: str, path: str, number: int) -> str | None:
        armed = self.armed
        if armed is None or not armed[1](number, f"{method} {path}"):
            return None
        self.armed = None
        if armed[0] == "before":
            self.victim()
            return CUT
        self._killer = threading.get_ident()
        return CUT_AFTER

    def closed(self, connection: Any) -> None:
        if self._killer == threading.get_ident():
            self._killer = 0
            self.victim()
        super().closed(connection)


def own_class(name: str, **changes: object) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        **changes,
    }


@contextlib.contextmanager
def beside(k8s: Kubernetes, **changes: object) -> Iterator[KilledProvisioner]:
    """One that is not started yet; stopped at the end."""
    with KillingProxy() as proxy:
        own = KilledProvisioner(k8s, proxy)
        k8s.apply(own_class(own.storage_class, **changes))
        try:
            yield own
        finally:
            own.stop()
            k8s.cluster.kubectl(
                "delete",
                "storageclass",
                own.storage_class,
                capture_output=True,
            )
