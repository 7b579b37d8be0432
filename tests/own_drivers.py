"""A driver of one's own on a node, as kubelet and the provisioner run it: for the tests that
`./build.sh new-driver` writes."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundle import pack
from shared import caller, protocol
from shared.options import Options
from tests.precompiled import precompile

MIB = 1 << 20
NAMESPACE = "shop"
# Of the node alone, and empty at first: what kubelet, the drivers and their logs have.
_OWN_PATHS = ("/var/lib", "/var/log", "/run")
_PODS = "/var/lib/kubelet/pods"
_CLUSTER_UID = "7b1f9a52-0c3e-4f7d-9a41-2f8f5f1f6c11"
_SECONDS = 120
_SANITY_SECONDS = 1800  # a minute on an idle machine, and many where other tests run


class OwnNode:
    """A node with one driver in kubelet's plugin directory. The node is a mount namespace: what is
    mounted there goes with it. Paths are as the node sees them; `path` gives the one that this
    process can use."""

    def __init__(self, directory: Path, driver: Path, capabilities: list[str]) -> None:
        """directory: an empty one. driver: the file with the subclass of Driver. capabilities: of
        the container in which the provisioner runs the driver, as in its manifest."""
        self.name = driver.stem
        self._capabilities = capabilities
        self.file = directory / f"flexvol~{self.name}" / self.name
        pack.pack(self.file, [driver])
        precompile(self.file)
        own = "; ".join(f"mount -t tmpfs none {path}" for path in _OWN_PATHS)
        # The machine's system log is not the node's.
        log = "[ ! -e /dev/log ] || mount --bind /dev/null /dev/log"
        script = f"set -e; mount --make-rprivate /; {own}; {log}; echo ready; read forever || true"
        self._holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout and self._holder.stdout.readline() == "ready\n"

    def close(self) -> None:
        assert self._holder.stdin and self._holder.stdout
        self._holder.stdin.close()
        self._holder.wait(_SECONDS)
        self._holder.stdout.close()

    def path(self, path: str | Path) -> Path:
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def run(self, *words: object, seconds: int = _SECONDS) -> subprocess.CompletedProcess[bytes]:
        """Runs a program on the node as kubelet runs a driver: stdout and stderr are one, nothing
        is on stdin, and the working directory is /."""
        return subprocess.run(
            ["nsenter", "-t", str(self._holder.pid), "-m", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            check=False,
            timeout=seconds,
        )

    def enter(self, *words: object) -> str:
        """Runs a program on the node, which must succeed; returns what it prints."""
        done = self.run(*words)
        assert done.returncode == 0, done.stdout.decode()
        return done.stdout.decode()

    def judge(self, *words: str) -> None:
        """Has `flexvol sanity` judge the driver, which must have no fault.

        words: further ones of the command"""
        line = [self.file, "sanity", self.file, "--provision", *words]
        done = self.run(*line, seconds=_SANITY_SECONDS)
        assert done.returncode == 0, done.stdout.decode()

    def call(self, callout: str, **arguments: Any) -> protocol.Reply:
        """Makes a call of the driver, and reads the answer as kubelet does.

        arguments: those of the call in shared/protocol.py, by name.
        :raises Failure: as the driver answers; Internal if the answer breaks the contract"""
        line = [self.file, *caller.command_line(callout, **arguments)]
        if protocol.CALLOUTS[callout].caller == "provisioner":
            line = [*_confined(self._capabilities), *line]
        done = self.run(*line)
        return caller.parse(callout, done.stdout, done.returncode)

    def provision(
        self, volume: str = "pvc-1", size_bytes: int = 64 * MIB, **parameters: str
    ) -> dict[str, Any]:
        """Has a volume made for the claim data in the namespace shop.

        parameters: those of the storage class"""
        asked = {
            **_of_claim(volume),
            "kubernetes.io/fsType": "",
            "kubernetes.io/clusterUid": _CLUSTER_UID,
            "kubernetes.io/reclaimPolicy": "Delete",
            "requestBytes": str(size_bytes),
            **parameters,
        }
        made = self.call("provision", options=Options(asked)).volume
        assert made is not None
        return made

    def delete(self, volume: str = "pvc-1", **options: str) -> None:
        """options: of the PV, as provision gave them"""
        self.call("delete", options=Options({**_of_claim(volume), **options}))

    def pod_directory(self, pod: str = "web", volume: str = "pvc-1") -> str:
        """The directory at which kubelet has the volume mounted for the pod."""
        return f"{_PODS}/{pod}/volumes/flexvol~{self.name}/{volume}"

    def mount(
        self,
        pod: str = "web",
        volume: str = "pvc-1",
        access: str = "rw",
        namespace: str = NAMESPACE,
        **options: str,
    ) -> Path:
        """Has the volume mounted for a pod, and returns its directory as this process can use it.

        access: rw or ro. options: of the PV, as provision gave them, and Secrets"""
        directory = self.pod_directory(pod, volume)
        self.path(directory).mkdir(parents=True, exist_ok=True)
        given = {
            "kubernetes.io/pvOrVolumeName": volume,
            "kubernetes.io/fsType": "",
            "kubernetes.io/readwrite": access,
            "kubernetes.io/pod.namespace": namespace,
            "kubernetes.io/pod.name": pod,
            "kubernetes.io/pod.uid": f"uid-{pod}",
            "kubernetes.io/serviceAccount.name": "default",
            **options,
        }
        self.call("mount", mount_dir=directory, options=Options(given))
        return self.path(directory)

    def unmount(self, pod: str = "web", volume: str = "pvc-1") -> None:
        self.call("unmount", mount_dir=self.pod_directory(pod, volume))

    def expand(self, new_bytes: int, pod: str = "web", volume: str = "pvc-1") -> None:
        """Has the volume grown at the pod's directory, as kubelet does after the PV has grown."""
        self.call(
            "expandfs",
            options=Options({"kubernetes.io/pvOrVolumeName": volume}),
            device="",
            mount_dir=self.pod_directory(pod, volume),
            new_bytes=new_bytes,
            old_bytes=64 * MIB,
        )

    def mounts(self, pod: str = "web", volume: str = "pvc-1") -> int:
        """How many mounts lie on the pod's directory."""
        directory = self.pod_directory(pod, volume)
        lines = self.enter("cat", "/proc/self/mountinfo").splitlines()
        return sum(line.split()[4] == directory for line in lines)

    def volumes(self) -> list[str]:
        """The names that the driver lists; none if the driver lists nothing."""
        return [str(one["name"]) for one in self._listed().volumes or []]

    def lists_pools(self) -> bool:
        """Whether the driver lists pools."""
        return bool(self._listed().pools)

    def _listed(self) -> protocol.Reply:
        try:
            return self.call("list")
        except protocol.NotSupported:
            return protocol.Reply()


def _confined(capabilities: list[str]) -> list[str]:
    """What stands before a command that is to have these capabilities alone, as in a container."""
    allowed = ",".join(["-all", *(f"+{one.lower()}" for one in capabilities)])
    return ["setpriv", "--no-new-privs", f"--bounding-set={allowed}", "--inh-caps=-all"]


def _of_claim(volume: str) -> dict[str, str]:
    return {
        "kubernetes.io/pvOrVolumeName": volume,
        "kubernetes.io/pvc.namespace": NAMESPACE,
        "kubernetes.io/pvc.name": "data",
        "kubernetes.io/pvc.uid": f"uid-{volume}",
    }


@contextlib.contextmanager
def own_node(directory: Path, driver: Path, deploy: Path | None = None) -> Iterator[OwnNode]:
    """A node with the driver, until the test ends.

    directory: an empty one. driver: the file with the subclass of Driver. deploy: the directory of
    its kustomization, which says what the provisioner's container may do; by default that container
    has no capability"""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    node = OwnNode(directory, driver, _capabilities(deploy) if deploy else [])
    try:
        yield node
    finally:
        node.close()


def has_csi_driver(deploy: Path) -> bool:
    """Whether a driver's kustomization has a CSIDriver object.

    deploy: its directory"""
    return any(one["kind"] == "CSIDriver" for one in _objects(deploy))


def _capabilities(deploy: Path) -> list[str]:
    """Those of the container in which the provisioner runs the driver."""
    workloads = [one for one in _objects(deploy) if one["kind"] in ("DaemonSet", "Deployment")]
    for one in workloads:
        for container in one["spec"]["template"]["spec"]["containers"]:
            if container["name"] == "provisioner":
                return list(container["securityContext"]["capabilities"].get("add", []))
    raise ValueError(f"no container of {deploy} is called provisioner")


def _objects(deploy: Path) -> list[Any]:
    """The objects of a kustomization."""
    kustomization = yaml.safe_load((deploy / "kustomization.yaml").read_text())
    files = [deploy / name for name in kustomization["resources"]]
    return [one for file in files for one in yaml.safe_load_all(file.read_text())]
