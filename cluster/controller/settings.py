"""The arguments of the provisioner, and what they mean together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.controller import logs
from cluster.controller.objects import Object
from cluster.controller.storage import DRIVERS, PLUGIN_DIRECTORY, provisioner_of
from shared import protocol

_NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_WORKERS = 4
_ORPHAN_GRACE_SECONDS = 3600.0
_NODE_GONE_SECONDS = 60.0


@dataclass(frozen=True)
class Settings:
    """How an instance is to run.

    node: the node that it serves; "" in the other two modes.
    identity: its name in shared mode; "" in the other two.
    has_cluster_duties: whether it makes no volumes, and has the duties of no single node.
    drivers: those that it serves, as vendor/name.
    learns_drivers: whether the drivers that the nodes serve beside those are added.
    plugin_dir: kubelet's, with the drivers.
    workers: how many volumes are made at once.
    health_port: 0 for no health server.
    orphan_grace_seconds: how long a volume that was never mounted has neither PV nor claim before
        it is deleted.
    log_format: logs.TEXT or logs.JSON.
    kubeconfig: None for that of the pod, or kubectl's.
    namespace: of the Lease and the capacity objects.
    pod: our own, as NAME/UID; "" for none.
    node_gone_seconds: how long a node is gone before that is reported."""

    node: str
    identity: str
    has_cluster_duties: bool
    drivers: tuple[str, ...]
    learns_drivers: bool
    plugin_dir: str
    workers: int
    health_port: int
    orphan_grace_seconds: float
    log_format: str
    kubeconfig: str | None
    namespace: str
    pod: str
    node_gone_seconds: float

    @property
    def by_provisioner(self) -> dict[str, str]:
        """The drivers by their provisioner's name: "flexvol/loop" by "loop.flexvol"."""
        return {provisioner_of(driver): driver for driver in self.drivers}

    @property
    def owner_reference(self) -> Object | None:
        """The reference to our own pod, for what is to go with it; None if it is not known."""
        if not self.pod:
            return None
        name, uid = self.pod.split("/")
        return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}


def parse(words: Sequence[str], commands: str) -> Settings:
    """The settings that the command line means. Ends the program with a sentence if there is no
    such command line.

    commands: what a person does with a kubeconfig, for the help."""
    parser = argparse.ArgumentParser(
        prog="provisioner",
        description="Makes volumes for claims, and deletes them.",
        epilog="What a person does with a kubeconfig: " + commands,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_modes(parser)
    _add_options(parser)
    _add_cluster_options(parser)
    given = parser.parse_args(words)
    _check(parser, given)
    return Settings(
        node=given.node or "",
        identity=given.identity or "",
        has_cluster_duties=given.cluster,
        drivers=tuple(given.driver or DRIVERS),
        learns_drivers=given.cluster and not given.driver,
        plugin_dir=given.plugin_dir,
        workers=given.workers,
        health_port=given.health_port,
        orphan_grace_seconds=given.orphan_grace_seconds,
        log_format=given.log_format,
        kubeconfig=given.kubeconfig,
        namespace=given.namespace,
        pod=given.pod or "",
        node_gone_seconds=given.node_gone_after,
    )


def _add_modes(parser: argparse.ArgumentParser) -> None:
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
        default=_WORKERS,
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
        default=_ORPHAN_GRACE_SECONDS,
        metavar="N",
        help="how long a volume that was never mounted has neither PV nor claim before it is "
        "deleted (default %(default).0f)",
    )
    parser.add_argument("--log-format", choices=(logs.TEXT, logs.JSON), default=logs.TEXT)
    parser.add_argument("--version", action="version", version=protocol.VERSION)


def _add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which cluster it is, and what is done there."""
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="for use outside the cluster",
    )
    parser.add_argument(
        "--namespace",
        default=_namespace(),
        help="of the Lease and the capacity objects (default: our own); secrets are made in "
        "NAMESPACE-secrets",
    )
    parser.add_argument(
        "--pod", metavar="NAME/UID", help="our own pod, with which the capacity objects go"
    )
    parser.add_argument(
        "--node-gone-after",
        type=float,
        default=_NODE_GONE_SECONDS,
        metavar="SECONDS",
        help="with --cluster (default %(default)s)",
    )


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Ends the program with a sentence if a value is impossible."""
    check_no_empty(parser, given)
    if given.node and not protocol.is_object_name(given.node):
        parser.error(f"--node {protocol.shown(given.node)}: no node can have that name")
    for driver in given.driver or ():
        if not _is_driver(driver):
            parser.error(f"--driver {driver}: expected VENDOR/NAME, as in flexvol/loop")
    if given.pod and not _is_pod(given.pod):
        parser.error(f"--pod {given.pod}: expected NAME/UID")
    # nan is no number that is 0 or more.
    if not given.orphan_grace_seconds >= 0:
        parser.error(f"--orphan-grace-seconds {given.orphan_grace_seconds}: expected 0 or more")
    if given.workers < 1:
        parser.error(f"--workers {given.workers}: expected 1 or more")


def check_no_empty(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Ends the program with a sentence if the value of an argument is empty, as an unset variable
    of a shell or of a manifest makes it. It would pass for an argument that was left out, which
    means more: `--node=` would be shared mode, and `adopt --all --node=` every node."""
    for name, value in vars(given).items():
        if value == "" and parser.get_default(name) != "":
            parser.error(f"the value of {name.replace('_', '-')} is empty")


def _is_driver(driver: str) -> bool:
    return driver.count("/") == 1 and all(map(protocol.is_name, driver.split("/")))


def _is_pod(pod: str) -> bool:
    name, _, uid = pod.partition("/")
    return bool(name and uid)


def _namespace() -> str:
    """Our own namespace; "default" outside a pod."""
    try:
        with open(_NAMESPACE_FILE, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return "default"
