"""A provisioner of a test's own: dist/provisioner as a process on a node, for a driver of another
vendor and with an account of its own, so that it and the DaemonSet's never meet. It can be killed,
started again, and be given a proxy."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from tests.cluster.kube import machine
from tests.cluster.kube.cluster import STATE, Cluster
from tests.cluster.namespaces import Kubernetes, Object, ours
from tests.cluster.proxy import kubeconfig
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "own-provisioner"  # of its account, Lease and capacity objects
AUTHORITY = STATE / "pki/ca.crt"
POOL = "/var/lib/flexvol/weather"
_CLASS_ROLE = "flexvol-provisioner"  # deploy/rbac.yaml
_LEASES = [
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "patch"],
    }
]
_CAPACITY = [
    {
        "apiGroups": ["storage.k8s.io"],
        "resources": ["csistoragecapacities"],
        "verbs": ["get", "list", "create", "patch", "delete"],
    }
]


def account(cluster: Cluster, name: str = "provisioner", rules: list[Object] | None = None) -> str:
    """The token of a service account that may what deploy/ gives a provisioner; with `rules`, what
    they say."""
    group = "rbac.authorization.k8s.io"
    kind = "rbac.authorization.k8s.io/v1"
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
    role = _CLASS_ROLE if rules is None else f"test-{name}"

    def binding(kind_of_role: str, role: str) -> Object:
        return {
            "roleRef": {"apiGroup": group, "kind": kind_of_role, "name": role},
            "subjects": subjects,
        }

    objects: list[Object] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": NAMESPACE},
        },
        {
            "apiVersion": kind,
            "kind": "Role",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "rules": _LEASES + _CAPACITY,
        },
        {
            "apiVersion": kind,
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": NAMESPACE},
            **binding("Role", name),
        },
        {
            "apiVersion": kind,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"test-{name}"},
            **binding("ClusterRole", role),
        },
    ]
    if rules is not None:
        objects.append(
            {
                "apiVersion": kind,
                "kind": "ClusterRole",
                "metadata": {"name": role},
                "rules": rules,
            }
        )
    Kubernetes(cluster, NAMESPACE).run(
        "apply",
        "-f",
        "-",
        input=json.dumps(_list(objects)),
    )
    done = cluster.kubectl(
        "-n", NAMESPACE, "create", "token", name, "--duration=4h", capture_output=True
    )
    return done.stdout.strip()


class OwnProvisioner:
    """words: its arguments beside the driver's. server: what it takes for the API server, such as a
    Proxy's url."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        server: str,
        driver: str,
        *words: str,
        node: str = "node1",
    ) -> None:
        self.name = f"own-{name}"
        self.node = cluster.nodes[node]
        self.program: list[object] = [ROOT / "dist/provisioner"]
        self._cluster = cluster
        self._driver = driver
        self._words = words
        self._directory = STATE / self.name
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir()
        (STATE / f"{self.name}.log").write_text("")
        (self._directory / "kubeconfig").write_text(kubeconfig(server))

    def install(self, executable: Path, directory: Path | None = None) -> Path:
        """Puts the driver's file into its plugin directory, or into the one it shares; returns
        where the driver is."""
        self.plugins = directory or self._directory / "plugins"
        vendor, name = self._driver.split("/")
        target = self.plugins / f"{vendor}~{name}"
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(executable, target / name)
        return target / name

    def __enter__(self) -> OwnProvisioner:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Starts it as in a container: when it is killed, so is whatever it started."""
        machine.spawn(
            STATE,
            self.name,
            [
                *self.node.inside(),
                "unshare",
                "--pid",
                "--kill-child",
                "--mount-proc",
                "--propagation=slave",
                "env",
                f"SHIV_ROOT={STATE}/shiv",
                *self.program,
                "--kubeconfig",
                self._directory / "kubeconfig",
                "--plugin-dir",
                self.plugins,
                "--driver",
                self._driver,
                "--namespace",
                NAMESPACE,
                *self._words,
            ],
        )

    def kill(self) -> None:
        """kill -9."""
        machine.stop(STATE, self.name, signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and waits until it has ended."""
        pid = machine.running(STATE, self.name)
        assert pid is not None, self.log()
        os.killpg(pid, signal.SIGTERM)
        wait_until(
            f"{self.name} ended",
            lambda: machine.running(STATE, self.name) is None,
            30,
        )

    def alive(self) -> bool:
        return machine.running(STATE, self.name) is not None

    def log(self) -> str:
        """Everything it printed, in all its lives."""
        return self._cluster.log(self.name)

    def count(self, words: str) -> int:
        """How many lines of its log have these words."""
        return sum(words in line for line in self.log().splitlines())


class ScriptedDriver:
    """tests/drivers/scripted, as the test sees it."""

    def __init__(self, executable: Path) -> None:
        self._directory = executable.parent

    def forget(self) -> None:
        """Begins anew, for the next test."""
        for log in ("calls", "made", "deleted"):
            (self._directory / log).unlink(missing_ok=True)
        shutil.rmtree(self._directory / "say", ignore_errors=True)

    def will_answer(self, claim: str, *lines: str, callout: str = "provision") -> None:
        say = self._directory / "say"
        say.mkdir(exist_ok=True)
        (say / f"{callout}-{claim}").write_text("".join(line + "\n" for line in lines))

    def calls(self, claim: str, callout: str = "provision") -> list[list[str]]:
        """Each call for the claim: the callout, the claim, the process, and what was answered."""
        log = self._directory / "calls"
        lines = (
            [line.split(" ", 3) for line in log.read_text().splitlines()] if log.exists() else []
        )
        return [line for line in lines if line[:2] == [callout, claim]]

    def made(self) -> list[str]:
        """Every volume it ever made, each time it did."""
        log = self._directory / "made"
        return log.read_text().split() if log.exists() else []

    def volumes(self) -> set[str]:
        directory = self._directory / "volumes"
        return {entry.name for entry in directory.iterdir()} if directory.exists() else set()


def make_pool(node: Any, driver: Path) -> Path:
    """A pool of the test's own, as an administrator makes one; where this process sees it."""
    node.enter(driver, "pool", "init", Path(POOL).name, capture_output=True)
    path: Path = node.path(POOL)
    return path


def remove_pool(node: Any, driver: Path) -> None:
    """Removes what make_pool has made, with what is in it."""
    shutil.rmtree(node.path(POOL))
    node.enter(driver, "pool", "remove", Path(POOL).name, "--away", capture_output=True)


def volumes_in(pool: Path) -> set[str]:
    """Hidden ones too, as a leak is one."""
    return {entry.name for entry in pool.iterdir()} - {"pool.json", ".locks"}


def storage_class(driver: str, **changes: object) -> Object:
    """One of the driver's own, called as its provisioner."""
    name = ".".join(reversed(driver.split("/")))
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": name,
        "volumeBindingMode": "WaitForFirstConsumer",
        **changes,
    }


def claim(name: str, storage_class: str, node: str = "node1", size: str = "32Mi") -> Object:
    """A claim as after scheduling: a node is chosen, and no pod has to run."""
    notes = {"volume.kubernetes.io/selected-node": node} if node else {}
    spec = {
        "storageClassName": storage_class,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "annotations": notes},
        "spec": spec,
    }


def bound(k8s: Kubernetes, *names: str, seconds: float = 30) -> dict[str, str]:
    """Waits until the claims are Bound; the PV's name by claim. There is one PV for each claim, and
    no other."""

    def volumes() -> dict[str, str]:
        claims = {one["metadata"]["name"]: one for one in k8s.all("pvc")}
        found = {name: claims[name] for name in names if name in claims}
        done = len(found) == len(names) and all(
            one["status"].get("phase") == "Bound" for one in found.values()
        )
        return {name: one["spec"]["volumeName"] for name, one in found.items()} if done else {}

    found: dict[str, str] = wait_until(
        f"claims {', '.join(names)} are bound",
        volumes,
        seconds,
    )
    of_claims = [(pv["metadata"]["name"], pv["spec"]["claimRef"]["name"]) for pv in ours(k8s)]
    assert sorted(pair for pair in of_claims if pair[1] in names) == sorted(
        (pv, name) for name, pv in found.items()
    )
    return found


def delete_claims(k8s: Kubernetes) -> None:
    """All of the namespace; returns when their PVs are gone too."""
    k8s.run("delete", "pvc", "--all", "--wait=true")
    wait_until("the PVs are gone", lambda: not ours(k8s))


def events(k8s: Kubernetes, about: str, reason: str) -> list[Object]:
    return k8s.all("events", fields=f"involvedObject.name={about},reason={reason}")


def _list(objects: list[Object]) -> Object:
    return {"apiVersion": "v1", "kind": "List", "items": objects}
