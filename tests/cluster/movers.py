"""What the movers of VolSync and Velero do with a volume, by hand: their images cannot be had here,
so the pods are built as the two build them, with Debian's restic in them."""

from __future__ import annotations

import copy
import shlex
from typing import Any

from tests.cluster import backups
from tests.cluster.kube import images
from tests.cluster.namespaces import Kubernetes, Object
from tests.waiting import wait_until

_MOVER_SCRIPTS = {
    "backup": """
        restic cat config || restic init
        restic backup --host volsync --exclude lost+found .
        restic forget --host volsync --keep-daily 7
        """,
    "restore": """
        restic restore latest --host volsync --target .
        sync
        """,
}


def replication_source() -> Object:
    """The `restic` part of the page's ReplicationSource."""
    (found,) = backups.objects("ReplicationSource")
    part: Object = found["spec"]["restic"]
    return part


def replication_destination() -> Object:
    """The `restic` part of the page's ReplicationDestination."""
    (found,) = backups.objects("ReplicationDestination")
    part: Object = found["spec"]["restic"]
    return part


def application_labels() -> dict[str, str]:
    """The labels of the application's pods, by which the page brings the mover to their node."""
    pods = replication_source()["moverAffinity"]["podAffinity"]
    (term,) = pods["requiredDuringSchedulingIgnoredDuringExecution"]
    labels: dict[str, str] = term["labelSelector"]["matchLabels"]
    return labels


def clone(k8s: Kubernetes, claim: str, name: str) -> None:
    """The claim that VolSync makes for `copyMethod: Clone`: as large as the volume is, of the same
    class and access mode."""
    source = k8s.find("pvc", claim)
    k8s.claim(
        name,
        size=source["status"]["capacity"]["storage"],
        storage_class=source["spec"]["storageClassName"],
        accessModes=source["spec"]["accessModes"],
        volumeMode=source["spec"]["volumeMode"],
        dataSource={"kind": "PersistentVolumeClaim", "name": claim},
    )


def mover(k8s: Kubernetes, action: str, claim: str, **spec: Any) -> Object:
    """VolSync's mover as a Job: without any capability, as the user of the page, with a claim
    `cache` for restic's cache.

    action: backup or restore; each is done as the page's object for it says
    claim: which claim is read or written
    spec: more of the pod, such as where it runs"""
    part = replication_source() if action == "backup" else replication_destination()
    container: Object = {
        "name": "restic",
        "command": ["sh", "-exc", f"cd /data\n{_MOVER_SCRIPTS[action]}"],
        "env": [{"name": "RESTIC_CACHE_DIR", "value": "/cache"}],
        "envFrom": [{"secretRef": {"name": part["repository"]}}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "cache", "mountPath": "/cache"},
            {"name": "tempdir", "mountPath": "/tmp"},
        ],
    }
    pod: Object = {
        "restartPolicy": "Never",
        "securityContext": copy.deepcopy(part["moverSecurityContext"]),
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}},
            {"name": "tempdir", "emptyDir": {"medium": "Memory"}},
        ],
        **spec,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"mover-{action}", "namespace": k8s.namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": backups.with_repository(pod)}},
    }


class NodeAgent:
    """The pod of Velero's node agent: it sees the volumes of all pods of its node below a hostPath,
    and has no claim of theirs."""

    NAME = "node-agent"

    def __init__(self, k8s: Kubernetes, node: str) -> None:
        """Starts the pod, on this node."""
        self._k8s = k8s
        container: Object = {
            "name": "node-agent",
            "command": ["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"],
            "envFrom": [{"secretRef": {"name": "restic"}}],
            "volumeMounts": [
                {
                    "name": "host-pods",
                    "mountPath": "/host_pods",
                    "mountPropagation": "HostToContainer",
                }
            ],
        }
        spec: Object = {
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [container],
            "volumes": [{"name": "host-pods", "hostPath": {"path": "/var/lib/kubelet/pods"}}],
        }
        about = {"name": self.NAME}
        body = backups.with_repository(spec)
        k8s.apply({"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": body})
        k8s.running(self.NAME)

    def path_of(self, pod: Object, volume: str) -> str:
        """The one path at which the agent finds a pod's volume.

        volume: the name of the PV"""
        uid = pod["metadata"]["uid"]
        (path,) = self.run(f"ls -d /host_pods/{uid}/volumes/*/{volume}").split()
        return path

    def path_when_mounted(self, pod: Object, volume: str) -> str:
        """As path_of, of a pod that is being started."""
        wait_until(f"the agent sees {volume}", lambda: self.sees(volume))
        return self.path_of(pod, volume)

    def back_up(self, path: str) -> None:
        self.run("restic cat config || restic init")
        self.run(f"cd {shlex.quote(path)} && restic backup --host velero .")

    def restore(self, path: str) -> None:
        """Fills the volume, and then tells the init container that waits for that."""
        self.run(f"cd {shlex.quote(path)} && restic restore latest --host velero --target .")
        self.run(f"mkdir {path}/.velero && touch {path}/.velero/done")

    def sees(self, volume: str) -> bool:
        """Whether a volume is mounted in the agent's own mount namespace."""
        return volume in self.run("cat /proc/self/mountinfo")

    def run(self, line: str) -> str:
        return self._k8s.shell(self.NAME, line).stdout


def waiting_for_restore(name: str, node: str) -> Object:
    """The application's pod as Velero restores it: an init container waits until the agent has
    filled the volume."""
    wait = "until [ -e /restores/data/.velero/done ]; do sleep 0.2; done"
    data = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    first = {
        "name": "restore-wait",
        "image": images.SHELL,
        "command": ["sh", "-c", wait],
        "volumeMounts": [{"name": "data", "mountPath": "/restores/data"}],
    }
    main = {
        "name": "main",
        "image": images.SHELL,
        "command": ["sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "terminationGracePeriodSeconds": 1,
        "nodeSelector": {"kubernetes.io/hostname": node},
        "initContainers": [first],
        "containers": [main],
        "volumes": [data],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
