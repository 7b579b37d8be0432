"""What a person does with kubectl, in one namespace."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import yaml

from cluster.controller.quantities import size_bytes
from tests.cluster.kube import cluster as kube
from tests.cluster.kube import images
from tests.cluster.kube.api import path_of
from tests.waiting import wait_until

Object = dict[str, Any]


class Kubernetes:
    """What a person does with kubectl, in one namespace."""

    def __init__(self, cluster: kube.Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def run(
        self, *argv: object, check: bool = True, **keywords: Any
    ) -> subprocess.CompletedProcess[str]:
        done = self.cluster.kubectl(
            "-n", self.namespace, *argv, check=False, capture_output=True, **keywords
        )
        assert done.returncode == 0 or not check, f"kubectl {argv}: {done.stderr}"
        return done

    def apply(self, *objects: Object) -> None:
        """As kubectl does; but what is not there yet is made without one, as each kubectl takes a
        third of a second of a busy machine."""
        rest = [one for one in objects if not self._is_made(one)]
        if rest:
            self.run("apply", "-f", "-", input=yaml.safe_dump_all(rest))

    def _is_made(self, one: Object) -> bool:
        kind = str(one["kind"]).lower()
        path = path_of(kind, self.namespace) or path_of(kind + "s", self.namespace)
        return path is not None and self.cluster.api.create(path, one)

    def get(self, kind: str, name: str) -> Object | None:
        path = path_of(kind, self.namespace, name)
        if path is not None:
            return self.cluster.api.get(path)
        done = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout else None

    def find(self, kind: str, name: str) -> Object:
        """The object, or {} where there is none: a condition that reads a field of it is then not
        true yet, see wait_until."""
        return self.get(kind, name) or {}

    def uid(self, kind: str, name: str) -> str:
        return str(self.find(kind, name)["metadata"]["uid"])

    def node_of(self, pod: str) -> str:
        """The node that the pod is on."""
        return str(self.find("pod", pod)["spec"]["nodeName"])

    def until_phase(self, kind: str, name: str, phase: str, seconds: float = 60) -> None:
        def is_reached() -> bool:
            return bool(self.find(kind, name)["status"]["phase"] == phase)

        wait_until(f"{kind} {name} is {phase}", is_reached, seconds)

    def until_gone(self, kind: str, name: str, seconds: float = 60) -> None:
        wait_until(f"{kind} {name} is gone", lambda: self.get(kind, name) is None, seconds)

    def all(self, kind: str, labels: str = "", fields: str = "") -> list[Object]:
        """All of the namespace, by selectors as kubectl takes them."""
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        path = path_of(
            kind,
            self.namespace,
            **{key: value for key, value in selectors.items() if value},
        )
        assert path is not None, f"kube/api.py does not know {kind}"
        found = self.cluster.api.get(path) or {"items": []}
        kinds = {
            "apiVersion": found.get("apiVersion"),
            "kind": str(found.get("kind", "")).removesuffix("List"),
        }
        return [{**kinds, **item} for item in found["items"]]

    def delete_all(self, kind: str) -> None:
        """Does not wait until they are gone."""
        path = path_of(kind, self.namespace)
        assert path is not None, f"kube/api.py does not know {kind}"
        self.cluster.api.call("DELETE", path)

    def delete(self, kind: str, *names: str) -> None:
        self.run("delete", kind, *names, "--wait=true")

    def shell(self, pod: str, line: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("exec", pod, "--", "sh", "-c", line, check=check)

    def claim(
        self,
        name: str = "data",
        size: str = "64Mi",
        storage_class: str = "flexvol-loop",
        **spec: Any,
    ) -> None:
        resources = {"requests": {"storage": size}}
        spec = {
            "storageClassName": storage_class,
            "accessModes": ["ReadWriteOnce"],
            "resources": resources,
            **spec,
        }
        self.apply(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name},
                "spec": spec,
            }
        )

    def pod(
        self, name: str, claim: str = "data", node: str = "", wait: bool = True, **spec: Any
    ) -> None:
        """A pod with the claim at /data; `node` is asked for as a user may ask, by label."""
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
        self.apply(
            pod(
                name,
                volumes,
                **({"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}),
                **spec,
            )
        )
        if wait:
            self.running(name)

    def running(self, name: str, seconds: float = 90) -> None:
        def ready() -> bool:
            found = self.get("pod", name) or {}
            conditions = found.get("status", {}).get("conditions", [])
            return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

        wait_until(f"pod {name} runs", ready, seconds)

    def volume_of(self, claim: str = "data") -> Object:
        """The PV the claim is bound to."""

        def bound() -> str:
            return (self.find("pvc", claim).get("spec") or {}).get("volumeName") or ""

        volume = self.get("pv", wait_until(f"claim {claim} is bound", bound))
        assert volume is not None
        return volume

    def event(self, about: str, reason: str, words: str, seconds: float = 60) -> str:
        """Waits for an event with that reason and those words; returns its message."""

        def said() -> str:
            events = self.all(
                "events",
                fields=f"involvedObject.name={about},reason={reason}",
            )
            return next(
                (event["message"] for event in events if words in event["message"]),
                "",
            )

        found: str = wait_until(
            f"event {reason} on {about} with {words!r}",
            said,
            seconds,
        )
        return found


def pod(name: str, volumes: list[Object], **spec: Any) -> Object:
    """A pod that sleeps, with its first volume at /data. Once its API object is gone, its volumes
    are unmounted: that is so of no pod without a grace period, and then what is to be deleted next
    is refused as in use at first."""
    container = {
        "name": "main",
        "image": images.SHELL,
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"],
        "volumeMounts": [{"name": volumes[0]["name"], "mountPath": "/data"}],
    }
    body = {
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": volumes,
        **spec,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}


def storage_class(name: str, **changes: object) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "loop.flexvol",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        **changes,
    }


def published(k8s: Kubernetes, storage_class: str = "flexvol-loop") -> dict[str, int]:
    """The room that each node has published for the class: bytes by hostname."""
    items = Kubernetes(k8s.cluster, "flexvol").all("csistoragecapacities")
    return {
        item["nodeTopology"]["matchLabels"]["kubernetes.io/hostname"]: size_bytes(item["capacity"])
        for item in items
        if item["storageClassName"] == storage_class
    }


def hostname(k8s: Kubernetes, node: str) -> str:
    label: str = k8s.find("node", node)["metadata"]["labels"]["kubernetes.io/hostname"]
    return label


@contextlib.contextmanager
def own_namespace(cluster: kube.Cluster) -> Iterator[Kubernetes]:
    k8s = Kubernetes(cluster, "t-" + uuid.uuid4().hex[:8])
    about = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": k8s.namespace}}
    cluster.api.call("POST", "/api/v1/namespaces", about)
    wait_until("the namespace takes pods", lambda: k8s.get("serviceaccount", "default"))
    yield k8s
    # All at once: the namespace's own end begins with the pods, and takes ten seconds.
    for kind in ("statefulsets", "deployments", "pods", "pvc"):
        k8s.delete_all(kind)
    cluster.api.call("DELETE", f"/api/v1/namespaces/{k8s.namespace}")
    wait_until(
        "the namespace's pods and claims are gone",
        lambda: not k8s.all("pods") + k8s.all("pvc"),
        120,
    )
    for volume in ours(k8s):
        if volume["spec"]["persistentVolumeReclaimPolicy"] != "Delete":
            name = volume["metadata"]["name"]  # it may be gone by now
            cluster.kubectl("delete", "pv", name, "--ignore-not-found", capture_output=True)
    wait_until("the namespace's PVs are gone", lambda: not ours(k8s))


def ours(k8s: Kubernetes) -> list[Object]:
    return [
        pv
        for pv in k8s.all("pv")
        if pv["spec"].get("claimRef", {}).get("namespace") == k8s.namespace
    ]
