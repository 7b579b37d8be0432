"""Gives up a PV whose node is gone, or whose pool was replaced: deletes its claim and the PV.

No data is deleted. A volume whose disk is dead while its node lives is given up with
--disk-is-gone: the cluster cannot see a dead disk, so the node is asked, and a disk that any node
still shows is not given up."""

from __future__ import annotations

import argparse
import time
from typing import Any

from cluster.controller import decide
from cluster.controller import lost_storage as lost
from cluster.controller.cluster import VOLUMES, Cluster, Refused, path_to
from cluster.kubectl import by_provisioner, claims, nodes
from shared import protocol

Object = dict[str, Any]
_RELEASE_SECONDS, _AGAIN_SECONDS = 60.0, 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("volume", metavar="PV", help="or NAMESPACE/NAME of its claim")
    parser.add_argument(
        "--disk-is-gone",
        action="store_true",
        help="its node lives, and the disk with its pool is dead for good; asks the node, so it "
        "needs the right to exec in flexvol's namespace",
    )


def run(api: Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    settings.volume = claims.volume_name(api, settings.volume)
    drivers = by_provisioner({*drivers.values(), *nodes.served(api, settings.namespace)})
    return 0 if _Release(api, drivers, settings).run() else 1


class _Release:
    """One PV that a person gives up."""

    def __init__(self, api: Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> None:
        self._api, self._drivers, self._name = api, drivers, settings.volume
        self._namespace = settings.namespace
        self._reasons = lost.BY_PERSON
        if settings.disk_is_gone:
            self._reasons = lost.BY_PERSON | {lost.DISK_GONE}

    def run(self) -> bool:
        """As lost.release, until it is done or a minute is over; whether it is done."""
        volume = self._api.get(path_to(VOLUMES, self._name))
        if volume is None:
            raise lost.NotLost(f"there is no PV {self._name}")
        lost.check_lost(self._api, volume, self._drivers, self._reasons)
        self._check_disk(volume)
        print(self._plan(volume))
        deadline, told = time.monotonic() + _RELEASE_SECONDS, ""
        while True:
            waits = self._try()
            if not waits:
                print("done; if the node or its disk comes back, the volume's data is still there")
                return True
            if waits != told:
                print("waits: " + waits)
            if time.monotonic() > deadline:
                print("not done yet; run this again")
                return False
            told = waits
            time.sleep(_AGAIN_SECONDS)

    def _plan(self, volume: Object) -> str:
        if lost.claim_of(self._api, volume) is None:
            return f"deletes {self._name}; it has no claim any more"
        return (
            f"deletes the claim {lost.full_name(volume)}, then {self._name}; what the claim is of "
            "makes it anew, or you do"
        )

    def _try(self) -> str:
        try:
            return lost.release(self._api, self._name, self._drivers, self._reasons)
        except Refused as error:
            if error.status != 409:
                raise
            return "somebody else changes it too"

    def _check_disk(self, volume: Object) -> None:
        """Raises NotLost if a node shows the volume's disk: the mark on the PV may be older than
        the disk's return, and a disk may be in another node, or its node have another name now.

        Only the PV's own node must answer, and only where nothing but a person's word says that the
        disk is gone. The account of flexvol-cluster may not ask any node."""
        node, driver = decide.node_of(volume, self._drivers), volume["spec"]["flexVolume"]["driver"]
        found = nodes.find(self._api, self._namespace)
        listed, silent = nodes.list_all(self._api, found.values(), [driver])
        by_node = {name: entries for (name, _), entries in listed.items()}
        there, sentence = lost.where_it_is(volume, by_node)
        if there:
            advice = ""
            if there != node:
                advice = f"; to keep its claim: kubectl flexvol move {self._name} --to {there}"
            raise lost.NotLost(f"{self._name} is not lost: {sentence}; nothing was changed{advice}")
        if lost.DISK_GONE not in self._reasons or node in by_node:
            return
        if lost.why(volume, self._drivers, lost.node_exists(self._api.get, node))[0]:
            return
        why = silent.get((node, driver), f"no pod of flexvol is on node {node}")
        raise protocol.Unavailable(
            f"node {node} cannot be asked whether its disk is gone: {why}; nothing was changed. "
            f"Where that is for lack of a right: kubectl flexvol release {self._name} "
            "--disk-is-gone, with a kubeconfig that may exec in flexvol's namespace"
        )
