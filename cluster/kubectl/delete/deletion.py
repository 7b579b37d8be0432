"""Deletes volumes, each of them checked again."""

from __future__ import annotations

import sys
import time
import uuid

from cluster.controller import cluster, volume_manifest
from cluster.controller.cluster import CLAIMS, VOLUMES, Cluster
from cluster.controller.identity import node_of
from cluster.controller.inventory import RELEASED, SNAPSHOT, Row
from cluster.controller.objects import Claim, Object, Volume
from cluster.controller.storage import PLUGIN_DIRECTORY, executable
from cluster.kubectl import nodes
from cluster.kubectl.delete.checks import SEE_PV, WHOLE, Known, check
from cluster.kubectl.delete.choosing import KEPT
from cluster.kubectl.move.plans import plan_path
from shared import protocol
from shared.options import AWAITED, NO_OWNER, nobody

# A provisioner that has nothing else to do deletes a volume within seconds.
_WAIT_SECONDS = 90.0
_AGAIN_SECONDS = 0.5


class Deletion:
    """Checks volumes, and deletes them."""

    def __init__(
        self,
        api: Cluster,
        namespace: str,
        rows: list[Row],
        drivers: dict[str, str],
    ) -> None:
        """namespace: where flexvol is installed. rows: all volumes of the cluster. drivers: by
        provisioner."""
        self._api = api
        self._namespace = namespace
        self._rows = rows
        self._drivers = drivers

    def check_all(self, chosen: list[Row]) -> None:
        """Raises a Failure if one of them may not be deleted."""
        claims = self._claims()
        for row in chosen:
            check(row, self._known(row, claims))

    def delete_all(self, chosen: list[Row]) -> int:
        """Returns the exit status. Each is checked again: the question may have stood for long."""
        status = 0
        for row in chosen:
            try:
                print(f"{row.name}: {self._delete_checked(row)}", flush=True)
            except (protocol.Failure, cluster.Refused, cluster.Unreachable) as error:
                print(f"{row.name} is left: {error}", file=sys.stderr)
                status = 1
        return status

    def _delete_checked(self, row: Row) -> str:
        known = self._known(row, self._claims())
        check(row, known)
        if row.state == RELEASED and known.volume is not None:
            return self._have_deleted(row, known.volume)
        return self._delete(row)

    def _claims(self) -> list[Claim]:
        return [Claim(claim) for claim in self._api.items(CLAIMS)]

    def _known(self, row: Row, claims: list[Claim]) -> Known:
        volume = Volume.of(self._api.get(cluster.path_to(VOLUMES, row.name)))
        return Known(claims, volume, self._is_moving(row), self._is_whole(row.name, volume))

    def _is_moving(self, row: Row) -> bool:
        """Snapshots and archives stay where they are when a volume is moved."""
        if row.state in KEPT:
            return False
        return self._api.get(plan_path(self._namespace, row.name)) is not None

    def _is_whole(self, name: str, volume: Volume | None) -> bool:
        node = "" if volume is None else node_of(volume, self._drivers)
        return any(
            row.name == name
            and row.node == node
            and row.state in WHOLE
            and not row.entry.get("error")
            for row in self._rows
        )

    def _delete(self, row: Row) -> str:
        """Returns what became of the volume. Raises a Failure, Refused or Unreachable."""
        node = nodes.get(self._api, self._namespace, row.node)
        if row.state == SNAPSHOT:
            return self._delete_snapshot(row, node)
        storage = nodes.NodeStorage(self._api, node)
        entry = row.entry
        owner = entry["owner"]
        if owner is None or owner.get("uid") == AWAITED:
            entry = {**entry, "owner": self._own(storage, row.driver, entry)}
        request = volume_manifest.listed_request(entry)
        return storage.delete_by_hand(row.driver, request) or "deleted"

    def _own(
        self,
        storage: nodes.NodeStorage,
        driver: str,
        entry: Object,
    ) -> Object:
        """Gives a volume that no claim owns an owner that is nobody, since the driver's delete
        demands the owner's uid. A claim that came meanwhile keeps the volume: then that fails."""
        before = entry["owner"] or {"uid": NO_OWNER}
        owner = nobody(before, uuid.uuid4().hex)
        spec = {"claimRef": owner, "flexVolume": {"options": entry["options"]}}
        volume = Volume({"metadata": {"name": entry["name"]}, "spec": spec})
        request = volume_manifest.adopt_request(volume, only_if_owner=before["uid"])
        storage.adopt(driver, request)
        return owner

    def _delete_snapshot(self, row: Row, node: nodes.FlexvolNode) -> str:
        """Snapshots are no volumes of the contract: the driver's own program deletes them."""
        _, _, program = row.driver.partition("/")
        words = ["snapshot", "--yes", "--driver", program, "--delete", row.name]
        pool = row.entry.get("pool")
        if pool:
            words += ["--pool", str(pool)]
        line = [executable(PLUGIN_DIRECTORY, row.driver), *words]
        seconds = float(protocol.CALLOUTS["delete"].seconds)
        pod = node.pod_of(row.driver).name
        status, printed, errors = self._api.execute(pod, line, seconds=seconds)
        if status != 0:
            raise protocol.Internal(errors.strip() or f"snapshot ended with status {status}")
        return printed.decode(errors="replace").strip()

    def _have_deleted(self, row: Row, volume: Volume) -> str:
        """The PV gets the policy Delete, unless it was changed since it was checked, and its node's
        provisioner does what it does with each such PV: a failure is seen in the PV's events."""
        path = cluster.path_to(VOLUMES, row.name)
        change = {
            "metadata": {"resourceVersion": volume.resource_version},
            "spec": {"persistentVolumeReclaimPolicy": "Delete"},
        }
        if self._api.patch(path, change) is None:
            raise protocol.Busy("its PV has gone just now; run this again")
        deadline = time.monotonic() + _WAIT_SECONDS
        while self._exists(path, volume.uid):
            if time.monotonic() > deadline:
                raise protocol.Busy(
                    "the provisioner has not deleted it within "
                    f"{_WAIT_SECONDS:g} s, and goes on; {SEE_PV} {row.name}"
                )
            time.sleep(_AGAIN_SECONDS)
        return self._outcome(row)

    def _exists(self, path: str, uid: str) -> bool:
        volume = Volume.of(self._api.get(path))
        return volume is not None and volume.uid == uid

    def _outcome(self, row: Row) -> str:
        """What has become of a volume whose PV is gone.

        :raises Busy: if its node still lists it."""
        node = nodes.get(self._api, self._namespace, row.node)
        before = {one.name for one in self._rows}
        outcome = "deleted"
        for entry in nodes.NodeStorage(self._api, node).list(row.driver).volumes:
            if entry.get("name") == row.name:
                raise protocol.Busy("its PV is gone, and its node still lists it; run this again")
            if entry.get("archiveOf") == row.name and entry["name"] not in before:
                outcome = f"it is archived as {entry['name']}"
        return outcome
