"""Deletes volumes that no claim has any more, archives and snapshots, for good.

What is lost is shown first, and the command asks. Refused is what a claim has or waits for, what a
PV keeps ready for a claim, and what cannot be seen. Where the policy Retain has kept a volume and
its PV, the PV gets the policy Delete, and the provisioner deletes both. Anything else is deleted by
the call of the driver that the provisioner makes, which looks again whose it is and whether it is
in use. A volume whose class archives becomes an archive, which is deleted by its own name then."""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from typing import Any, NamedTuple

from cluster.controller import cluster, decide, volume_manifest
from cluster.controller import lost_storage as lost
from cluster.controller.cluster import CLAIMS, VOLUMES, Cluster
from cluster.controller.inventory import (
    ARCHIVED,
    AVAILABLE,
    BOUND,
    MISSING,
    OF_OTHERS,
    RELEASED,
    SNAPSHOT,
    UNSEEN,
    Key,
    Row,
)
from cluster.controller.storage import PLUGIN_DIRECTORY, executable
from cluster.kubectl import by_provisioner, inventory, nodes
from cluster.kubectl.move.plans import plan_path
from shared import protocol
from shared.options import AWAITED, NO_OWNER, nobody
from shared.table import aligned, human_bytes, is_deletion_confirmed, printable

Object = dict[str, Any]
_HEADINGS = ("VOLUME", "NODE", "POOL", "SIZE", "USED", "CLAIM", "WHAT IT IS")
MOVING = "moving"  # the state of what a move leaves behind, as drivers list it
_KEPT = (SNAPSHOT, ARCHIVED)  # what outlives the claim that its record names
_WHOLE = (BOUND, AVAILABLE, RELEASED)  # a PV's own volume, as its node lists it
_SEE_PV = "what hinders that: kubectl describe pv"
_WAIT_SECONDS, _AGAIN_SECONDS = 90.0, 0.5


class Place(NamedTuple):
    """Where a person says that a volume is. None: nothing was said."""

    node: str | None
    pool: str | None

    def holds(self, row: Row) -> bool:
        return self.node in (None, row.node) and self.pool in (None, row.entry.get("pool"))

    def __str__(self) -> str:
        """As the end of a sentence."""
        node = "" if self.node is None else f" on node {self.node}"
        return node + ("" if self.pool is None else f" in pool {self.pool}")


class Known(NamedTuple):
    """What decides whether a volume may go, read live. claims: of all namespaces. volume: the PV of
    the volume's name, if there is one. is_moving: whether a move of it is written down. is_whole:
    whether the PV's own volume is listed whole."""

    claims: list[Object]
    volume: Object | None
    is_moving: bool
    is_whole: bool


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "volume",
        nargs="+",
        metavar="VOLUME",
        help="a volume, archive or snapshot as inventory shows it; or NAMESPACE/CLAIM: the volume "
        "that this claim has left behind",
    )
    place_arguments(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def place_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the volume of a name is: a name may be on two nodes, or in two pools."""
    parser.add_argument("--node", metavar="NAME", help="the node that it is on")
    parser.add_argument("--pool", metavar="NAME", help="the pool that it is in")


def run(api: Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    rows, listed, silent = inventory.look(api, settings.namespace, settings.driver)
    place = Place(settings.node, settings.pool)
    chosen = [choose(word, place, rows, silent) for word in settings.volume]
    served = by_provisioner({*drivers.values(), *(driver for _, driver in listed)})
    deletion = Deletion(api, settings.namespace, rows, served)
    deletion.check_all(chosen)
    print(aligned(_HEADINGS, [_cells(row) for row in chosen]))
    if not settings.yes and not is_deletion_confirmed():
        return 1
    return deletion.delete_all(chosen)


def choose(word: str, place: Place, rows: list[Row], silent: dict[Key, str]) -> Row:
    """The volume that a person means by its name, or by the claim that it was of.

    :raises NotFound: if no node lists it, with the nodes that did not answer.
    :raises InvalidArgument: if there are several."""
    found = [row for row in rows if row.name == word]
    if "/" in word:
        found = [row for row in rows if row.claim == word and row.state not in _KEPT]
    found = [row for row in found if place.holds(row)]
    if len(found) == 1:
        return found[0]
    if found:
        each = ", ".join(
            f"{row.name} on node {row.node or '-'} in pool {row.entry.get('pool') or '-'} "
            f"({row.state})"
            for row in found
        )
        raise protocol.InvalidArgument(
            f"{protocol.shown(word)} may be {each}; name the volume, and where it is: --node, "
            "--pool"
        )
    unseen = [f"node {name or '-'} did not answer: {why}" for (name, _), why in silent.items()]
    sentence = (
        f"there is no volume, archive or snapshot {protocol.shown(word)}"
        + str(place)
        + "; see: kubectl flexvol inventory"
    )
    raise protocol.NotFound("; ".join([sentence, *unseen]))


def check(row: Row, known: Known) -> None:
    """Raises a Failure that says why the volume may not be deleted, if it may not."""
    name = row.name
    if row.state in (MISSING, UNSEEN):
        raise protocol.Unavailable(f"{name} cannot be seen, so it is not deleted: {row.why}")
    if known.is_moving:
        raise protocol.Busy(
            f"a move of {name} to another node is not done, so this may be its only whole copy; "
            f"end the move first: kubectl flexvol move {name} --to NODE"
        )
    if row.state in _WHOLE:
        _check_released(row, known)
        return
    if row.state in _KEPT:
        _check_unawaited(row, known)
    elif known.volume is not None:
        _check_copy(row, known)
    else:
        _check_unclaimed(row, known)
    if "owner" not in row.entry or not isinstance(row.entry.get("options"), dict):
        raise protocol.Internal(
            f"{name} is left alone, as its record does not tell whose it is: "
            f"{row.entry.get('error') or 'its driver does not list owner and options'}"
        )


def _check_unawaited(row: Row, known: Known) -> None:
    """A snapshot that a claim waits to begin with."""
    owner = row.entry.get("owner") or {}
    for claim in known.claims:
        metadata = claim["metadata"]
        wanted = decide.annotations_of(claim).get(decide.FROM_SNAPSHOT) == row.name
        waits = not claim["spec"].get("volumeName")
        if wanted and waits and metadata["namespace"] == owner.get("namespace"):
            raise protocol.Busy(
                f"the claim {lost.full_name(claim)} is about to begin with the snapshot "
                f"{row.name}; it can be deleted when that claim is bound"
            )


def _check_released(row: Row, known: Known) -> None:
    """A volume with its PV may go if the claim is gone and the PV's policy has kept it."""
    if row.state == BOUND:
        raise protocol.InvalidArgument(
            f"{row.name} is bound to the claim {row.claim}, so it is not deleted"
        )
    if row.state == AVAILABLE:
        raise protocol.InvalidArgument(
            f"the PV {row.name} is there for {row.claim or 'a claim'} to take, so the volume is "
            f"not deleted; without that PV no claim can: kubectl delete pv {row.name} keeps the "
            "volume, and then this command deletes it"
        )
    volume = known.volume
    if volume is None or volume["metadata"].get("deletionTimestamp"):
        raise protocol.Busy(f"the PV {row.name} is being deleted; {_SEE_PV} {row.name}")
    if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
        raise protocol.Busy(f"{row.name} is being deleted already; {_SEE_PV} {row.name}")
    for claim in known.claims:
        if claim["spec"].get("volumeName") == row.name:
            raise protocol.Busy(
                f"the claim {lost.full_name(claim)} names the PV {row.name}, so the volume is not "
                "deleted"
            )
    uid = (volume["spec"].get("claimRef") or {}).get("uid")
    has_claim = any(claim["metadata"]["uid"] == uid for claim in known.claims)
    if has_claim or (volume.get("status") or {}).get("phase") not in ("Released", "Failed"):
        raise protocol.Busy(
            f"the PV {row.name} is of a claim again, or is there for one to take; see: kubectl "
            f"get pv {row.name}"
        )


def _check_copy(row: Row, known: Known) -> None:
    """A volume beside the one that the PV of its name means: it may go if that one is elsewhere for
    certain."""
    options = (known.volume or {"spec": {}})["spec"].get("flexVolume", {}).get("options") or {}
    pool_of_volume, pool_of_copy = options.get("poolId"), row.entry.get("poolId")
    if not pool_of_volume or not pool_of_copy or pool_of_volume == pool_of_copy:
        raise protocol.Busy(
            f"the PV {row.name} may mean this very volume, as its pool is the one that the PV "
            f"names; see: kubectl flexvol inventory"
        )
    if not known.is_whole:
        raise protocol.Busy(
            f"the volume that the PV {row.name} means is not seen whole on its own node, so this "
            "may be the only copy"
        )


def _check_unclaimed(row: Row, known: Known) -> None:
    """A volume without a PV: no claim may be there that has it, names it, or waits for it. Where it
    is being moved, the other copy may not be whole: the move was written down in a cluster that is
    lost, or in another one."""
    if row.entry.get("state") == MOVING:
        raise protocol.Busy(
            f"{row.name} is being moved to node {row.entry.get('movingTo')} by a move that is not "
            "known here, so this may be its only whole copy. Root on its node may say that this "
            "is the volume (loop help adopt), and then it can be deleted"
        )
    owner = row.entry.get("owner") or {}
    for claim in known.claims:
        metadata, bound_to = claim["metadata"], claim["spec"].get("volumeName")
        names = (owner.get("namespace"), owner.get("name"))
        is_of_that_name = (metadata["namespace"], metadata["name"]) == names
        is_awaited = owner.get("uid") == AWAITED and is_of_that_name and not bound_to
        is_owner = metadata["uid"] == owner.get("uid")
        is_owned = is_owner and not decide.is_bound_elsewhere(claim, row.name)
        if bound_to == row.name or is_awaited or is_owned:
            raise protocol.Busy(
                f"the claim {lost.full_name(claim)} is there and needs {row.name}, so it is not "
                "deleted"
            )


class Deletion:
    """Checks volumes, and deletes them. rows: all volumes of the cluster."""

    def __init__(
        self, api: Cluster, namespace: str, rows: list[Row], drivers: dict[str, str]
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._rows = rows
        self._drivers = drivers

    def check_all(self, chosen: list[Row]) -> None:
        """Raises a Failure if one of them may not be deleted."""
        claims = list(self._api.items(CLAIMS))
        for row in chosen:
            check(row, self._known(row, claims))

    def _delete_checked(self, row: Row) -> str:
        known = self._known(row, list(self._api.items(CLAIMS)))
        check(row, known)
        if row.state == RELEASED and known.volume is not None:
            return self._have_deleted(row, known.volume)
        return self._delete(row)

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

    def _known(self, row: Row, claims: list[Object]) -> Known:
        volume = self._api.get(cluster.path_to(VOLUMES, row.name))
        # Snapshots and archives stay where they are when a volume is moved.
        is_moving = (
            row.state not in _KEPT
            and self._api.get(plan_path(self._namespace, row.name)) is not None
        )
        node = decide.node_of(volume, self._drivers) if volume is not None else ""
        is_whole = any(
            one.name == row.name
            and one.node == node
            and one.state in _WHOLE
            and not one.entry.get("error")
            for one in self._rows
        )
        return Known(claims, volume, is_moving, is_whole)

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

    def _own(self, storage: nodes.NodeStorage, driver: str, entry: Object) -> Object:
        """Gives a volume that no claim owns an owner that is nobody, since the driver's delete
        demands the owner's uid. A claim that came meanwhile keeps the volume: then that fails."""
        before = entry["owner"] or {"uid": NO_OWNER}
        owner = nobody(before, uuid.uuid4().hex)
        spec = {"claimRef": owner, "flexVolume": {"options": entry["options"]}}
        volume = {"metadata": {"name": entry["name"]}, "spec": spec}
        request = volume_manifest.adopt_request(volume, only_if_owner=before["uid"])
        storage.adopt(driver, request)
        return owner

    def _delete_snapshot(self, row: Row, node: nodes.FlexvolNode) -> str:
        """Snapshots are no volumes of the contract: the driver's own program deletes them."""
        words = ["snapshot", "--yes", "--driver", row.driver.split("/")[1], "--delete", row.name]
        pool = row.entry.get("pool")
        words += ["--pool", str(pool)] if pool else []
        line = [executable(PLUGIN_DIRECTORY, row.driver), *words]
        seconds = float(protocol.CALLOUTS["delete"].seconds)
        status, printed, errors = self._api.execute(node.pod, line, seconds=seconds)
        if status != 0:
            raise protocol.Internal(errors.strip() or f"snapshot ended with status {status}")
        return printed.decode(errors="replace").strip()

    def _have_deleted(self, row: Row, volume: Object) -> str:
        """The PV gets the policy Delete, unless it was changed since it was checked, and its node's
        provisioner does what it does with each such PV: a failure is seen in the PV's events."""
        path = cluster.path_to(VOLUMES, row.name)
        version = volume["metadata"]["resourceVersion"]
        change = {
            "metadata": {"resourceVersion": version},
            "spec": {"persistentVolumeReclaimPolicy": "Delete"},
        }
        if self._api.patch(path, change) is None:
            raise protocol.Busy("its PV has gone just now; run this again")
        deadline = time.monotonic() + _WAIT_SECONDS
        while self._is_there(path, volume["metadata"]["uid"]):
            if time.monotonic() > deadline:
                raise protocol.Busy(
                    f"the provisioner has not deleted it within {_WAIT_SECONDS:g} s, and goes on; "
                    f"{_SEE_PV} {row.name}"
                )
            time.sleep(_AGAIN_SECONDS)
        return self._what_is_left(row)

    def _is_there(self, path: str, uid: str) -> bool:
        volume = self._api.get(path)
        return volume is not None and volume["metadata"]["uid"] == uid

    def _what_is_left(self, row: Row) -> str:
        node = nodes.get(self._api, self._namespace, row.node)
        before = {one.name for one in self._rows}
        outcome = "deleted"
        for entry in nodes.NodeStorage(self._api, node).list(row.driver).volumes:
            if entry.get("name") == row.name:
                raise protocol.Busy("its PV is gone, and its node still lists it; run this again")
            if entry.get("archiveOf") == row.name and entry["name"] not in before:
                outcome = f"it is archived as {entry['name']}"
        return outcome


def _cells(row: Row) -> list[str]:
    sizes = [row.entry.get(key) for key in ("sizeBytes", "usedBytes")]
    cells = [
        row.name,
        row.node or "-",
        str(row.entry.get("pool") or "-"),
        *(human_bytes(size) if isinstance(size, int) else "?" for size in sizes),
        row.claim or "-",
        about(row),
    ]
    return [printable(cell) for cell in cells]


def about(row: Row) -> str:
    """What the volume is, for a person who is to decide about it."""
    entry = row.entry
    if row.state == SNAPSHOT:
        what = f"snapshot of {entry.get('source')}"
    elif row.state == ARCHIVED:
        what = f"archive of {entry.get('archiveOf')}"
    elif row.state == RELEASED:
        what = "volume that its PV's policy has kept; its claim is gone"
    elif row.state == OF_OTHERS:
        what = "volume of another cluster, whose claims cannot be seen from here"
    else:
        what = "volume without a claim"
    made = f", made {entry['created']}" if entry.get("created") else ""
    empty = ", never mounted" if entry.get("blank") is True else ""
    error = f"; {entry['error']}" if entry.get("error") else ""
    return what + made + empty + error
