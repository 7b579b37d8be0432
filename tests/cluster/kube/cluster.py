"""A real Kubernetes of several nodes on one machine, without a container engine (root, Linux).

Every node is a network and a mount namespace. Nothing touches the machine's own network or paths;
the addresses exist only inside the namespaces. The control plane is in a network namespace of its
own, fv-cp."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from bundle import packages
from tests.cluster.kube import machine
from tests.cluster.kube.api import Api
from tests.cluster.kube.machine import PREFIX, sh, spawn
from tests.cluster.kube.node import NET, PROGRAMS, SHARED_STORAGE, Node
from tests.waiting import wait_until

_NAME = f"flexvol-kube{machine.NUMBER}"
# A machine has one cluster, and a second one beside it for the tests.
STATE = Path("/run", _NAME)
LOCK = Path(f"/run/{_NAME}.lock")
DATA = Path("/var/tmp", _NAME)  # what is too large for /run, reached through a link
# The nodes and the controller-manager see this directory at SHARED_STORAGE.
STORAGE = DATA / "storage"
_UNDO_SECONDS = 60.0
_KUBECTL_SECONDS = 300  # what it waits for will not come
# The controller-manager runs drivers that attach; they log to $STATE/kcm-log, not to the machine,
# and reach the storage that all nodes share.
_OWN_LOG = """
set -e
mount --bind "$0/kcm-log" /var/log/flexvol
mount --bind "$0/storage" "$1"
shift
[ ! -e /dev/log ] || mount --bind /dev/null /dev/log
exec "$@"
"""
# They end themselves when answers of a new API server do not fit, and the API server does when it
# starts beside a busy etcd and a hook of its own gives up; on a real node kubelet starts them anew.
SUPERVISED = ("kube-scheduler", "kube-controller-manager", "kube-apiserver")
CONTROL_PLANE = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
SERVER = f"https://{NET}1:6443"
# A signature with a key of this curve takes a tenth of the time of one with RSA 2048, and the
# server signs once for each connection.
_CURVE = "prime256v1"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{_CURVE}", "-nodes")


def missing() -> str:
    """What this machine lacks to run a cluster, as one line; empty if nothing."""
    if os.geteuid() != 0:
        return "the test cluster needs root"
    lacking = packages.missing("playground")
    return f"the test cluster needs the packages {' '.join(lacking)}" if lacking else ""


class Cluster:
    """The control plane and its nodes. flags: more of them for a program of the control plane, from
    its next start."""

    def __init__(
        self, programs: Path, nodes: int = 2, flags: dict[str, list[str]] | None = None
    ) -> None:
        self.programs = programs
        self.flags = flags or {}
        self.nodes = {
            f"node{number}": Node(STATE, programs, number) for number in range(1, nodes + 1)
        }
        self.api = Api(STATE, self.kubectl_line())
        # Held while programs are stopped: the supervisor would start them anew.
        self._stopping = threading.Lock()
        self._closing = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._lock = _only_one()
        if (STATE / "keep").exists():
            self._lock.close()
            raise RuntimeError(
                "a playground runs on this machine; end it with: ./build.sh playground --down"
            )

    def up(self, images: list[Path]) -> None:
        """Starts everything and waits until the nodes are Ready. Begins by undoing what a killed
        run left."""
        down()
        STORAGE.mkdir(parents=True)
        STATE.symlink_to(DATA)
        self._watchdog()
        self._supervisor.start()
        self._make_keys()
        self._make_network()
        self._start_control_plane()
        for node in self.nodes.values():
            self._kubeconfig(node.name)
            node.create()
            for program in PROGRAMS:
                node.start(program)
        for node in self.nodes.values():
            for image in images:
                node.import_image(image)
        wait_until("the nodes are Ready", self._nodes_ready, 120)

    def _nodes_ready(self) -> bool:
        nodes = (self.api.get("/api/v1/nodes") or {"items": []})["items"]
        conditions = [one for node in nodes for one in node["status"].get("conditions", [])]
        ready = sum(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
        return (
            ready == len(self.nodes)
            and self.api.status("/api/v1/namespaces/default/serviceaccounts/default") == 200
        )

    def close(self) -> None:
        """Undoes the cluster and lets another one start. Raises RuntimeError if something of it
        cannot be removed."""
        self._closing.set()
        self._supervisor.join()
        self.api.close()
        down()
        os.close(self._alive)
        self._guard.wait(30)
        self._lock.close()

    def keep(self) -> None:
        """Lets the cluster outlive this process, until down()."""
        (STATE / "keep").touch()

    def kubectl(self, *argv: object, **keywords: Any) -> subprocess.CompletedProcess[str]:
        return sh(*self.kubectl_line(), *argv, timeout=_KUBECTL_SECONDS, **keywords)

    def kubectl_line(self) -> list[object]:
        """kubectl as the administrator, as a command that anyone on this machine can run as
        root."""
        return [
            "nsenter",
            f"--net=/run/netns/{PREFIX}cp",
            self.programs / "kubectl",
            "--kubeconfig",
            STATE / "admin.kubeconfig",
        ]

    def kill(self, program: str, node: str = "") -> None:
        """Kills one program (SIGKILL): kubelet, containerd or kube-proxy of a node, or etcd,
        kube-apiserver, kube-controller-manager, kube-scheduler."""
        with self._stopping:
            machine.stop(STATE, f"{node}-{program}" if node else program, signal.SIGKILL)

    def start(self, program: str, node: str = "") -> None:
        """Starts a program that was killed."""
        if node:
            self.nodes[node].start(program)
        else:
            spawn(STATE, program, self.control_plane_line(program))

    def restart(self, program: str, node: str = "") -> None:
        """Kills one program and starts it again; does not wait until it serves."""
        self.kill(program, node)
        self.start(program, node)

    def lose_etcd(self) -> None:
        """A new control plane with an empty etcd, which knows nothing of what there was; the nodes,
        where pods ran on, take part in it once their programs have been started again."""
        for program in CONTROL_PLANE:
            self.kill(program)
        shutil.rmtree(STATE / "etcd")
        self._start_control_plane()
        for name in self.nodes:
            for program in ("kubelet", "kube-proxy"):
                self.restart(program, name)
        wait_until("the nodes are Ready", self._nodes_ready, 120)

    def log(self, name: str) -> str:
        """What a program printed, such as node1-kubelet."""
        return (STATE / f"{name}.log").read_text(errors="replace")

    def report(self) -> str:
        """What there is, and the last lines of every program: for a cluster that does not come
        up."""
        parts = []
        for what in ("get nodes,pods -A -o wide", "get events -A --sort-by=.lastTimestamp"):
            done = self.kubectl(
                *what.split(), "--request-timeout=5s", check=False, capture_output=True
            )
            parts.append(
                f"--- kubectl {what}\n" + "\n".join((done.stdout + done.stderr).splitlines()[-20:])
            )
        for log in sorted(STATE.glob("*.log")):
            parts.append(
                f"--- {log.stem}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            )
        return "\n".join(parts)

    def _watchdog(self) -> None:
        """A process that undoes everything when this one ends, however it ends, unless the cluster
        is to be kept.

        It has the lock too: what comes after a killed run waits until that one is undone.
        """
        reader, self._alive = os.pipe()
        root = Path(__file__).resolve().parents[3]
        code = (
            "import sys, os; sys.stdin.read(); from tests.cluster.kube import cluster; "
            "cluster.down_unless_kept()"
        )
        self._guard = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=reader,
            cwd=root,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[self._lock.fileno()],
        )
        os.close(reader)

    def _supervise(self) -> None:
        while not self._closing.wait(1):
            for program in SUPERVISED:
                with self._stopping:
                    if (STATE / f"{program}.pid").exists() and machine.running(
                        STATE, program
                    ) is None:
                        self.start(program)

    def _kubeconfig(self, user: str) -> None:
        authority = str(STATE / "pki/ca.crt")
        settings = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {"server": SERVER, "certificate-authority": authority},
                }
            ],
            "users": [{"name": "u", "user": {"token": user + "-token"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        }
        (STATE / f"{user}.kubeconfig").write_text(json.dumps(settings))

    def _make_keys(self) -> None:
        directory = STATE / "pki"
        directory.mkdir()

        def openssl(*argv: object) -> None:
            sh("openssl", *argv, capture_output=True, cwd=directory)

        openssl(
            "req",
            "-x509",
            *_NEW_KEY,
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
            "-subj",
            "/CN=test-ca",
            "-days",
            "30",
        )
        openssl("ecparam", "-genkey", "-name", _CURVE, "-noout", "-out", "sa.key")
        openssl("ec", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        for name in ("apiserver", "kubelet-client"):
            names = f"IP:{NET}1,IP:10.96.0.1,IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default.svc"
            (directory / f"{name}.ext").write_text(f"subjectAltName={names}\n")
            openssl(
                "req",
                *_NEW_KEY,
                "-keyout",
                f"{name}.key",
                "-out",
                f"{name}.csr",
                "-subj",
                f"/O=system:masters/CN={name}",
            )
            openssl(
                "x509",
                "-req",
                "-in",
                f"{name}.csr",
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-days",
                "30",
                "-extfile",
                f"{name}.ext",
                "-out",
                f"{name}.crt",
            )

    def _make_network(self) -> None:
        def cp(*argv: object) -> None:
            sh("nsenter", f"--net=/run/netns/{PREFIX}cp", *argv)

        sh("ip", "netns", "add", PREFIX + "cp")
        cp("ip", "link", "set", "lo", "up")
        cp("ip", "link", "add", "br0", "type", "bridge")
        cp("ip", "addr", "add", NET + "1/24", "dev", "br0")
        cp("ip", "link", "set", "br0", "up")
        cp("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for node in self.nodes.values():
            inside = ["nsenter", f"--net=/run/netns/{PREFIX}{node.name}"]
            veth = f"fv{node.number}"
            address = f"{NET}{10 + node.number}"
            sh("ip", "netns", "add", PREFIX + node.name)
            cp(
                "ip",
                "link",
                "add",
                veth,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                PREFIX + node.name,
            )
            cp("ip", "link", "set", veth, "master", "br0", "up")
            sh(*inside, "ip", "link", "set", "lo", "up")
            sh(*inside, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
            sh(*inside, "ip", "link", "set", "eth0", "up")
            sh(*inside, "ip", "route", "add", "default", "via", NET + "1")
            sh(*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            cp("ip", "route", "add", f"10.88.{node.number - 1}.0/24", "via", address)

    def _start_control_plane(self) -> None:
        users = [
            "admin-token,admin,admin,system:masters",
            "kcm-token,kcm,kcm,system:masters",
            "scheduler-token,scheduler,scheduler,system:masters",
        ]
        users += [f"{name}-token,system:node:{name},{name},system:nodes" for name in self.nodes]
        (STATE / "tokens.csv").write_text("\n".join(users) + "\n")
        for directory in (STATE / "kcm-plugins", STATE / "kcm-log", Path("/var/log/flexvol")):
            directory.mkdir(parents=True, exist_ok=True)
        for user in ("admin", "kcm", "scheduler"):
            self._kubeconfig(user)
        for program in ("etcd", "kube-apiserver"):
            spawn(STATE, program, self.control_plane_line(program))
        wait_until("the API server is ready", self.api_ready, 90)
        for program in ("kube-controller-manager", "kube-scheduler"):
            spawn(STATE, program, self.control_plane_line(program))

    def api_ready(self) -> bool:
        return self.api.status("/readyz") == 200

    def control_plane_line(self, program: str) -> list[object]:
        """The command that runs one program of the control plane."""

        def as_user(user: str) -> list[object]:
            file = f"{STATE}/{user}.kubeconfig"
            flags = (
                "--kubeconfig",
                "--authentication-kubeconfig",
                "--authorization-kubeconfig",
            )
            return [
                *(f"{flag}={file}" for flag in flags),
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
            ]

        flags: dict[str, list[object]] = {
            "etcd": [
                "--data-dir",
                STATE / "etcd",
                "--unsafe-no-fsync",
                "--log-level",
                "warn",
            ],
            "kube-apiserver": [
                "--etcd-servers=http://127.0.0.1:2379",
                "--secure-port=6443",
                f"--advertise-address={NET}1",
                "--tls-cert-file=pki/apiserver.crt",
                "--tls-private-key-file=pki/apiserver.key",
                "--client-ca-file=pki/ca.crt",
                "--kubelet-client-certificate=pki/kubelet-client.crt",
                "--kubelet-client-key=pki/kubelet-client.key",
                "--kubelet-preferred-address-types=InternalIP",
                "--service-account-key-file=pki/sa.pub",
                "--service-account-signing-key-file=pki/sa.key",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--token-auth-file=tokens.csv",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--allow-privileged=true",
            ],
            "kube-controller-manager": [
                *as_user("kcm"),
                "--service-account-private-key-file=pki/sa.key",
                "--root-ca-file=pki/ca.crt",
                "--use-service-account-credentials=true",
                f"--flex-volume-plugin-dir={STATE}/kcm-plugins",
                "--attach-detach-reconcile-sync-period=2s",
            ],
            "kube-scheduler": as_user("scheduler"),
        }
        own_log = (
            ["unshare", "--mount", "sh", "-c", _OWN_LOG, STATE, SHARED_STORAGE]
            if program == "kube-controller-manager"
            else []
        )
        line = [self.programs / program, *flags[program], *self.flags.get(program, [])]
        return ["nsenter", f"--net=/run/netns/{PREFIX}cp", *own_log, *line]


def _only_one() -> TextIO:
    """The lock of this machine's one cluster. Raises RuntimeError, naming who has it."""
    lock = open(LOCK, "a+")  # noqa: SIM115 (held as long as the cluster)
    deadline = time.monotonic() + _UNDO_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read()
            ended = holder and not Path("/proc", holder).exists()
            if not ended or time.monotonic() > deadline:
                lock.close()
                state = "has ended, but its cluster is still there" if ended else "holds it"
                raise RuntimeError(
                    "another test cluster runs on this machine, and there can be one: process "
                    f"{holder} {state}"
                ) from None
        time.sleep(0.1)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def down() -> None:
    """Undoes the cluster of this machine, however its run ended. Only for who has the lock, or
    inherited it."""
    if DATA.exists():
        if not STATE.exists():
            STATE.unlink(missing_ok=True)
            STATE.symlink_to(DATA)
        machine.undo(DATA)
    STATE.unlink(missing_ok=True)
    left = machine.left_behind(DATA)
    if left:
        raise RuntimeError(f"the test cluster left on this machine: {left}")


def down_unless_kept() -> None:
    if not (STATE / "keep").exists():
        down()


def is_kept() -> bool:
    """Whether a cluster runs that is to be kept, such as a playground."""
    return (STATE / "keep").exists()


def kept_nodes() -> list[Node]:
    """The nodes of that cluster, whose programs cannot be started by this process."""
    numbers = sorted(int(path.name.removeprefix("node")) for path in STATE.glob("node[0-9]"))
    return [Node(STATE, Path(), number) for number in numbers]


def down_kept() -> None:
    """Undoes a cluster that was to be kept. Raises RuntimeError if one is in use by a run."""
    with _only_one():
        down()
