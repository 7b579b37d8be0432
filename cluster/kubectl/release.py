"""Gives up a PV whose node is gone, or whose pool was replaced: deletes its claim and the PV.

No data is deleted. A volume whose disk is dead while its node lives is given up with
--disk-is-gone: the cluster cannot see a dead disk, so the node is asked, and a disk that any node
still shows is not given up."""

from __future__ import annotations

import argparse
import time

from cluster.controller import lost_storage
from cluster.controller.cluster import VOLUMES, Cluster, Refused, path_to
from cluster.controller.identity import node_of
from cluster.controller.objects import Volume
from cluster.kubectl import by_provisioner, claims, nodes
from shared import protocol

# A claim goes within seconds when no pod uses it any more.
_RELEASE_SECONDS = 60.0
_AGAIN_SECONDS = 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("volume", metavar="PV", help="or NAMESPACE/NAME of its claim")
    parser.add_argument(
        "--disk-is-gone",
        action="store_true",
        help="its node lives, and the disk with its pool is dead for good; asks the node, so it "
        "needs the right to exec in flexvol's namespace",
    )


def run(
    api: Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    name = claims.volume_name(api, settings.volume)
    served = nodes.served(api, settings.namespace)
    drivers = by_provisioner(sorted({*drivers.values(), *served}))
    reasons = lost_storage.BY_PERSON
    if settings.disk_is_gone:
        reasons = reasons | {lost_storage.DISK_GONE}
    release = _Release(api, settings.namespace, drivers, name, reasons)
    return 0 if release.run() else 1


class _Release:
    """One PV that a person gives up."""

    def __init__(
        self,
        api: Cluster,
        namespace: str,
        drivers: dict[str, str],
        name: str,
        reasons: frozenset[str],
    ) -> None:
        """namespace: where flexvol is installed. reasons: for which the PV may be given up."""
        self._api = api
        self._namespace = namespace
        self._drivers = drivers
        self._name = name
        self._reasons = reasons

    def run(self) -> bool:
        """As lost_storage.release, until it is done or a minute is over; whether it is done."""
        volume = Volume.of(self._api.get(path_to(VOLUMES, self._name)))
        if volume is None:
            raise lost_storage.NotLost(claims.no_volume(self._name))
        lost_storage.check_lost(self._api, volume, self._drivers, self._reasons)
        self._check_disk(volume)
        print(self._plan(volume))
        deadline = time.monotonic() + _RELEASE_SECONDS
        told = ""
        while True:
            obstacle = self._try()
            if not obstacle:
                print("done; if the node or its disk comes back, the volume's data is still there")
                return True
            if obstacle != told:
                print(f"waits: {obstacle}")
            if time.monotonic() > deadline:
                print("not done yet; run this again")
                return False
            told = obstacle
            time.sleep(_AGAIN_SECONDS)

    def _plan(self, volume: Volume) -> str:
        if lost_storage.claim_of(self._api, volume) is None:
            return f"deletes the PV {self._name}, which has no claim any more"
        return (
            f"deletes the claim {volume.full_name}, then {self._name}; what the "
            "claim is of makes it anew, or you do"
        )

    def _try(self) -> str:
        """Returns what has to happen first; empty when the PV is gone."""
        try:
            return lost_storage.release(self._api, self._name, self._drivers, self._reasons)
        except Refused as error:
            if error.status != 409:
                raise
            return "somebody else changes the PV or its claim too"

    def _check_disk(self, volume: Volume) -> None:
        """Checks that no node shows the volume's disk: the mark on the PV may be older than the
        disk's return, and a disk may be in another node, or its node have another name now.

        Only the PV's own node must answer, and only where nothing but a person's word says that the
        disk is gone. The account of flexvol-cluster may not ask any node.

        :raises NotLost: if a node shows the disk.
        :raises Unavailable: if the PV's own node must answer, and does not."""
        node = node_of(volume, self._drivers)
        flexvol_nodes = nodes.find(self._api, self._namespace)
        listed, silent = nodes.list_all(self._api, flexvol_nodes.values(), [volume.driver])
        by_node = {name: of_node for (name, _), of_node in listed.items()}
        found, sentence = lost_storage.where_it_is(volume, by_node)
        if found:
            advice = ""
            if found != node:
                advice = f"; to keep its claim: kubectl flexvol move {self._name} --to {found}"
            raise lost_storage.NotLost(
                f"{self._name} is not lost: {sentence}; nothing was changed{advice}"
            )
        if node in by_node or not self._rests_on_word_alone(volume, node):
            return
        why = silent.get((node, volume.driver), f"no pod of flexvol is on node {node}")
        raise protocol.Unavailable(
            f"node {node} cannot be asked whether its disk is gone: {why}; "
            "nothing was changed. Where that is for lack of a right: kubectl "
            f"flexvol release {self._name} --disk-is-gone, with a kubeconfig "
            "that may exec in flexvol's namespace"
        )

    def _rests_on_word_alone(self, volume: Volume, node: str) -> bool:
        """Whether nothing but a person's word says that the disk is gone."""
        if lost_storage.DISK_GONE not in self._reasons:
            return False
        exists = lost_storage.node_exists(self._api.get, node)
        return not lost_storage.why(volume, self._drivers, exists).reason
