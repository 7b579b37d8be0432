"""One node: a network namespace and a mount namespace with its own standard paths, its own
containerd and kubelet."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from tests.cluster.kube import machine
from tests.cluster.kube.machine import PREFIX, sh, spawn

NET = "10.77.0."
PLUGINS = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
# Where all nodes of a cluster, and its controller-manager, have the same directory: the drivers of
# the tests that are for shared storage keep their volumes there.
SHARED_STORAGE = "/srv/flexvol-tests"
OWN_PATHS = (
    "/var/lib/kubelet",
    "/var/lib/flexvol",
    "/etc/flexvol",
    "/var/log/flexvol",
    "/run/flexvol",
    "/var/lib/containerd",
    "/run/containerd",
    "/etc/cni/net.d",
    "/var/lib/cni",
    "/run/netns",
    "/var/log/pods",
    "/var/log/containers",
    PLUGINS,
)
PROGRAMS = ("containerd", "kubelet", "kube-proxy")
# The last line that containerd logs before it answers kubelet.
_SERVES_PODS = b"Start streaming server"
_START_SECONDS = 60  # a start takes less than a second on an idle machine


class Node:
    """number: 1 for node1. Its files are in `directory`; paths as it sees them are in `path`."""

    def __init__(self, state: Path, programs: Path, number: int) -> None:
        self.name = f"node{number}"
        self.number = number
        self.directory = state / self.name
        self._state = state
        self._programs = programs
        self._cgroup = machine.CGROUP_PREFIX + self.name

    def path(self, path: str) -> Path:
        """A file of the node for this process, mounts in it not included."""
        for own in sorted(OWN_PATHS, key=len, reverse=True):
            if path == own or path.startswith(own + "/"):
                return (
                    self.directory / own.strip("/").replace("/", "-") / path[len(own) :].strip("/")
                )
        raise ValueError(f"{path} is not one of the node's own paths")

    def enter(self, *argv: object, **keywords: Any) -> Any:
        """Runs a program in the node's namespaces."""
        return sh(*self.inside(), *argv, **keywords)

    def inside(self) -> list[object]:
        """The words that run a program in its namespaces."""
        pid = (self.directory / "ns.pid").read_text().strip()
        return ["nsenter", "-t", pid, "-m", "-n"]

    def create(self) -> None:
        """Makes its namespaces, cgroups and settings."""
        for own in OWN_PATHS:
            self.path(own).mkdir(parents=True)
            Path(own).mkdir(parents=True, exist_ok=True)
        self._make_cgroups()
        self._configure_network()
        self._configure_containerd()
        self.configure_kubelet()
        self._make_mount_namespace()

    def _make_mount_namespace(self) -> None:
        """With its own standard paths; a process that sleeps holds it."""
        binds = "\n".join(f"mount --bind {self.path(own)} {own}" for own in OWN_PATHS)
        Path(SHARED_STORAGE).mkdir(parents=True, exist_ok=True)
        binds += f"\nmount --bind {self._state.resolve()}/storage {SHARED_STORAGE}"
        # the machine's system log is not ours
        binds += "\n[ ! -e /dev/log ] || mount --bind /dev/null /dev/log"
        script = f"set -e\nmount --make-rprivate /\n{binds}\nmount --make-rshared /\n"
        script += f"cd {self.directory}\necho $$ > ns.new\nmv ns.new ns.pid\nexec sleep infinity\n"
        (self.directory / "init.sh").write_text(script)
        (self.directory / "ns.pid").unlink(missing_ok=True)
        enter = [
            "nsenter",
            f"--net=/run/netns/{PREFIX}{self.name}",
            "unshare",
            "-m",
            "sh",
            self.directory / "init.sh",
        ]
        spawn(self._state, f"{self.name}-ns", enter)
        while not (self.directory / "ns.pid").exists():
            time.sleep(0.02)

    def _make_cgroups(self) -> None:
        for root in machine.cgroup_roots():
            # In version 2 a parent gives what its child may use.
            if root == machine.CGROUPS:
                controllers = (root / "cgroup.controllers").read_text().split()
                (root / "cgroup.subtree_control").write_text(
                    " ".join(f"+{name}" for name in controllers)
                )
            group = root / self._cgroup
            group.mkdir(exist_ok=True)
            for file in ("cpuset.mems", "cpuset.cpus"):
                if (root / file).exists():
                    (group / file).write_text((root / file).read_text())

    def _configure_network(self) -> None:
        subnet = f"10.88.{self.number - 1}.0/24"
        ipam = {
            "type": "host-local",
            "ranges": [[{"subnet": subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": ipam,
        }
        plugins = {
            "cniVersion": "1.0.0",
            "name": "net",
            "plugins": [bridge, {"type": "loopback"}],
        }
        self.path("/etc/cni/net.d/10.conflist").write_text(json.dumps(plugins))

    def _configure_containerd(self) -> None:
        text = sh("containerd", "config", "default", capture_output=True).stdout
        text = re.sub(
            r'sandbox_image = ".*"',
            'sandbox_image = "registry.k8s.io/pause:3.10"',
            text,
        )
        text = text.replace("/opt/cni/bin", "/usr/lib/cni")
        # Lowering a score needs CAP_SYS_RESOURCE, which a machine for tests may lack.
        text = text.replace(
            "restrict_oom_score_adj = false",
            "restrict_oom_score_adj = true",
        )
        (self.directory / "containerd.toml").write_text(text)

    def configure_kubelet(self, **changes: object) -> None:
        """Writes kubelet's settings, which it reads when it starts: those of every node, but for
        the changes."""
        settings = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._cgroup}",
            "enforceNodeAllocatable": ["pods"],
            "failSwapOn": False,
            "resolvConf": "",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._state / "pki/ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "evictionHard": {"memory.available": "100Mi"},
            "imageMinimumGCAge": "1h",
            "syncFrequency": "5s",
            "volumeStatsAggPeriod": "5s",
            "nodeStatusUpdateFrequency": "4s",
            "clusterDNS": ["10.96.0.10"],
            "clusterDomain": "cluster.local",
            **changes,
        }
        (self.directory / "kubelet.json").write_text(json.dumps(settings))

    def start(self, program: str) -> None:
        """Starts containerd, kubelet or kube-proxy."""
        d = self.directory
        as_node = f"--kubeconfig={self._state}/{self.name}.kubeconfig"
        as_admin = f"--kubeconfig={self._state}/admin.kubeconfig"
        lines: dict[str, list[object]] = {
            "containerd": ["containerd", "-c", d / "containerd.toml"],
            "kubelet": [
                self._programs / "kubelet",
                f"--config={d}/kubelet.json",
                as_node,
                f"--hostname-override={self.name}",
                f"--node-ip={NET}{10 + self.number}",
                "--v=2",
            ],
            "kube-proxy": [
                self._programs / "kube-proxy",
                as_admin,
                f"--hostname-override={self.name}",
                "--proxy-mode=iptables",
                "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0s",
                "--conntrack-tcp-timeout-close-wait=0s",
            ],
        }
        log = self._state / f"{self.name}-{program}.log"
        before = log.stat().st_size if log.exists() else 0
        child = spawn(
            self._state,
            f"{self.name}-{program}",
            self.inside() + lines[program],
        )
        # A kubelet that asks containerd before containerd serves pods ends at once; systemd would
        # start it again.
        deadline = time.monotonic() + _START_SECONDS
        while program == "containerd" and _SERVES_PODS not in log.read_bytes()[before:]:
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: containerd does not serve pods; see {log}")
            time.sleep(0.02)

    def cut_power(self) -> None:
        """Ends everything that runs on it, containers too, and with that every mount. Its disk
        stays."""
        holder = (self.directory / "ns.pid").read_text().strip()
        machine.end_node(holder, self._cgroup)

    def boot(self) -> None:
        """Starts it again after a power cut; does not wait until it is Ready."""
        # These directories are not on a disk.
        for directory in ("/run/containerd", "/run/netns", "/run/flexvol"):
            shutil.rmtree(self.path(directory))
            self.path(directory).mkdir()
        self._make_mount_namespace()
        for program in PROGRAMS:
            self.start(program)

    def import_image(self, archive: Path) -> None:
        """Gives an image to its containerd, which may have only just started."""
        for _ in range(100):
            done = self.enter(
                "ctr", "-n", "k8s.io", "images", "import", archive, check=False, capture_output=True
            )
            if done.returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name}: cannot import {archive}: {done.stderr}")
