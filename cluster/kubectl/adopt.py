"""Makes PVs for volumes that have none, so that claims of their names find their data again.

That helps after the loss of the cluster's etcd, or of a PV, and for a volume that its class
archived when it was deleted: name the archive, or the claim that it was of. A volume that has its
PV is left alone; only its record is told which claim the PV is bound to, if it names another.
Nothing is deleted, and no data is touched.

The volume's record is written first: its claim, this cluster, and that it is not to be collected;
an archive comes back by that. Then the PV is made, under the volume's name, so that there is never
a second one. Killed in between, it goes on when it is run again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from cluster.controller import cluster, decide, secrets, volume_manifest
from cluster.controller.cluster import CLASSES, VOLUMES, Cluster, path_to
from cluster.controller.inventory import is_never_mounted
from cluster.controller.storage import Listed, provisioner_of
from cluster.kubectl import by_provisioner, nodes
from shared import protocol
from shared.options import ANY, AWAITED, NO_OWNER, is_reserved
from shared.table import aligned, human_bytes, printable

Object = dict[str, Any]
_NONE: Object = {"metadata": {}}
_HEADINGS = ("VOLUME", "NODE", "SIZE", "CLAIM", "POLICY", "OUTCOME")


class Name(NamedTuple):
    """Of a claim."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Found(NamedTuple):
    """A volume as its driver lists it. node: "" for storage that every node reaches. identity: of
    the provisioner that the volume's PV is to be of."""

    node: str
    driver: str
    entry: Object
    identity: str

    @property
    def owner(self) -> Object:
        owner = self.entry.get("owner")
        return owner if isinstance(owner, dict) else {}

    @property
    def is_archive(self) -> bool:
        return self.entry.get("state") == _ARCHIVED

    @property
    def name(self) -> str:
        """Of the volume, and of its PV; an archive has a name of its own beside it."""
        return str(self.entry["archiveOf"] if self.is_archive else self.entry["name"])

    @property
    def where(self) -> str:
        return f"on node {self.node}" if self.node else f"in the storage of {self.driver}"


# How a PV goes and its data stays, whatever its policy was.
_TAKE_AWAY = (
    "give that PV the policy Retain, so that its data stays (kubectl patch pv NAME -p "
    """'{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}'), and then delete the claim, if """
    "it is there, and the PV"
)
_ARCHIVED = "archived"
_MOVING = "moving"  # which may be the only copy, if its move was forgotten with the old cluster


def is_left(entry: Object, cluster_uid: str) -> bool:
    """Whether `--all` does not mean it: it is something else than a volume in use; or it was never
    mounted and is this cluster's, so that its provisioner is about to make its PV, or to collect
    it."""
    return _other(entry) not in ("", _MOVING) or (
        is_never_mounted(entry) and entry.get("clusterUid") == cluster_uid
    )


def _other(entry: Object) -> str:
    """What it is, if it is a snapshot, archived, or on its way elsewhere."""
    kind = str(entry.get("kind") or "volume")
    return kind if kind != "volume" else str(entry.get("state") or "")


def chosen(name: str, found: list[Found]) -> Found:
    """The one volume or archive that is meant. Raises a Failure that says why there is none to
    adopt. found: all that the name may mean."""
    if not found:
        raise protocol.NotFound(f"no node that answers has a volume {name}")
    names = sorted({str(one.entry["name"]) for one in found})
    if len(names) > 1:
        raise protocol.InvalidArgument(
            f"{name} may mean several, so name one of them: {', '.join(names)}"
        )
    nodes_with_it = sorted({one.node for one in found})
    if len(found) > 1 and len(nodes_with_it) == 1:
        pools = sorted(str(one.entry.get("pool", "")) for one in found)
        raise protocol.InvalidArgument(
            f"the volume {name} is in {' and in '.join('pool ' + pool for pool in pools)} of node "
            f"{nodes_with_it[0]}, so neither was adopted; keep a copy of the one that is not "
            f"meant (on the node: loop export {name} --pool POOL), and move its directory out of "
            "the pool"
        )
    if len(found) > 1:
        places = " and ".join(one.where for one in found)
        raise protocol.InvalidArgument(f"the volume {name} is {places}; name one with --node")
    if found[0].entry.get("error"):
        raise protocol.Internal(str(found[0].entry["error"]))
    if _other(found[0].entry) == _MOVING:
        to = protocol.shown(str(found[0].entry.get("movingTo")))
        raise protocol.Busy(
            f"the volume {name} cannot be adopted while it is being moved to node {to}; if that "
            f"move was lost with its cluster, and no other node lists {name}, root {found[0].where}"
            " may say that this is the volume (loop help adopt), and then it can be adopted"
        )
    if _other(found[0].entry) not in ("", _ARCHIVED):
        raise protocol.Busy(
            f"the volume {name} cannot be adopted while it is "
            f"{protocol.shown(_other(found[0].entry))}; see: kubectl flexvol inventory"
        )
    return found[0]


def is_about(volume: Object, found: Found, drivers: dict[str, str]) -> bool:
    """Whether the PV means this very volume: two nodes may have volumes of one name."""
    source = volume["spec"].get("flexVolume") or {}
    by = decide.annotations_of(volume).get(decide.PROVISIONED_BY, "")
    if source.get("driver") != found.driver or drivers.get(by) != found.driver:
        return False
    return decide.node_of(volume, drivers) == found.node and _names_pool(volume, found) is not False


def _names_pool(volume: Object, found: Found) -> bool | None:
    """Whether the PV names the pool that the volume is in, by id; None if either names none."""
    options = (volume["spec"].get("flexVolume") or {}).get("options") or {}
    pool_id, there = options.get("poolId"), found.entry.get("poolId")
    return pool_id == there if pool_id and there else None


def check_volume(volume: Object, found: Found, drivers: dict[str, str]) -> None:
    """Raises InvalidArgument unless the PV of the volume's name means this volume."""
    name, node = volume["metadata"]["name"], decide.node_of(volume, drivers)
    if found.is_archive:
        raise protocol.InvalidArgument(
            f"the archive {found.entry['name']} comes back under the name {name}, and there is a "
            "PV of that name; it means another volume"
        )
    if is_about(volume, found, drivers):
        return
    if node and found.node and node != found.node and _names_pool(volume, found):
        raise protocol.InvalidArgument(
            f"the PV {name} is of node {node}, and its pool is on node {found.node} now; to keep "
            f"its claim: kubectl flexvol move {name} --to {found.node}"
        )
    owner = f"node {node}" if node else "another driver"
    if node and node == found.node:
        owner = "another pool of that node"
    raise protocol.InvalidArgument(
        f"the PV {name} exists already, and is of {owner}, so it means another volume"
    )


def record_differs(volume: Object, found: Found, cluster_uid: str) -> bool:
    """Whether the record names another claim, or another cluster, than the PV is bound in. What a
    PV says counts while it is bound: see cluster/controller/owners.py, which
    leaves the volumes of another cluster to a person."""
    uid = (volume["spec"].get("claimRef") or {}).get("uid")
    if not uid or (volume.get("status") or {}).get("phase") != "Bound":
        return False
    if found.entry.get("error") or _other(found.entry):
        return False
    recorded = (found.owner.get("uid"), found.entry.get("clusterUid", cluster_uid))
    return "owner" in found.entry and recorded != (uid, cluster_uid)


def claim_of(found: Found) -> Name:
    """Whose it was, as its record says. Raises InvalidArgument if it does not name a claim."""
    name = _names(found.owner)
    if name == (ANY, ANY):
        raise protocol.InvalidArgument(
            "the volume was made for any claim; its PV is made again by: kubectl flexvol static"
        )
    if not all(map(protocol.is_object_name, name)):
        raise protocol.InvalidArgument(
            "the volume's record names no claim; name one: --claim NAMESPACE/NAME"
        )
    return name


def claim_named_by(volume: Object) -> Name:
    return _names(volume["spec"].get("claimRef") or {})


def _names(owner: Object) -> Name:
    return Name(str(owner.get("namespace", "")), str(owner.get("name", "")))


def check_rivals(
    found: Found, claim: Name, lacking: list[Found], volumes: dict[str, Object], by_hand: bool
) -> None:
    """Two volumes for one claim would be its data by chance. by_hand: a person has chosen this one;
    but a PV that is
    there for that claim is one too many even so. lacking: all that have no PV. Raises
    InvalidArgument, which names the others."""
    others = [
        f"PV {name}"
        for name, volume in volumes.items()
        if claim_named_by(volume) == claim
        and (volume.get("status") or {}).get("phase") not in ("Released", "Failed")
    ]
    if not by_hand:
        others += [
            f"volume {one.name} {one.where} (made {one.entry.get('created')})"
            for one in lacking
            if one.name != found.name and _names(one.owner) == claim
        ]
    if others and by_hand:
        raise protocol.InvalidArgument(
            f"the claim {claim} has {', '.join(others)}; choose another claim (--claim "
            f"NAMESPACE/NAME), or take that PV from the claim first: {_TAKE_AWAY}"
        )
    if others:
        raise protocol.InvalidArgument(
            f"its claim {claim} has {', '.join(others)} too, and this was made "
            f"{found.entry.get('created')}; name the "
            "one that you want, instead of --all, and with --claim NAMESPACE/NAME what the "
            "other is for"
        )


def check_claim(found: Found, claim: Name, live: Object | None) -> None:
    """live: the claim, if it is there. Raises a Failure if it cannot have the volume."""
    if live is None:
        return
    bound = live["spec"].get("volumeName") or ""
    if live["metadata"].get("deletionTimestamp"):
        raise protocol.Busy(f"the claim {claim} is being deleted; when it is gone, run this again")
    if bound not in ("", found.name):
        raise protocol.InvalidArgument(
            f"the claim {claim} has got the PV {bound} meanwhile; choose another claim (--claim "
            f"NAMESPACE/NAME), or take that PV from the claim first: {_TAKE_AWAY}"
        )
    if not bound and live["metadata"]["uid"] == found.owner.get("uid"):
        raise protocol.Busy(
            f"the claim {claim} waits, and the provisioner of its node is about to make the PV; "
            "run this again if it does not within a minute"
        )


def made(entry: Object) -> Object:
    """What of it the PV needs, as from a driver's provision. Raises Internal."""
    options, size, fs_type = entry.get("options"), entry.get("sizeBytes"), entry.get("fsType")
    if (
        not isinstance(options, dict)
        or not all(
            isinstance(value, str) and not is_reserved(key) for key, value in options.items()
        )
        or isinstance(size, bool)
        or not isinstance(size, int)
        or size < 1
        or not isinstance(fs_type, str)
    ):
        raise protocol.Internal(
            "the volume's driver does not list its size, file system and options in full; see its "
            "list on the node"
        )
    return {"options": options, "capacityBytes": size, "fsType": fs_type}


def _modes(entry: Object) -> list[str]:
    modes = entry.get("accessModes")
    return [str(mode) for mode in modes] if isinstance(modes, list) and modes else ["ReadWriteOnce"]


def _about(found: Found) -> list[str]:
    size, owner = found.entry.get("sizeBytes"), found.owner
    claim = f"{owner.get('namespace')}/{owner.get('name')}" if owner else "-"
    return [found.node or "-", human_bytes(size) if isinstance(size, int) else "-", claim, "-"]


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "volume",
        nargs="*",
        default=[],
        metavar="VOLUME",
        help="the name of a volume or of an archive, or NAMESPACE/NAME of the claim that it was of",
    )
    which.add_argument("--all", action="store_true", help="every volume that has no PV")
    parser.add_argument("--node", metavar="NAME", help="only volumes of this node")
    parser.add_argument(
        "--claim", type=_claim_name, metavar="NAMESPACE/NAME", help="not for the claim it was of"
    )
    parser.add_argument(
        "--recorded-policy",
        action="store_true",
        help="the PV gets the reclaim policy that the volume was made with. Else it gets Retain, "
        "so that no mistake while things are put back deletes the only copy",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and do nothing"
    )


def _claim_name(text: str) -> Name:
    name = Name(*text.partition("/")[::2])
    if not all(map(protocol.is_object_name, name)):
        raise argparse.ArgumentTypeError(f"{text}: expected NAMESPACE/NAME")
    return name


def only_reads(settings: argparse.Namespace) -> bool:
    return bool(settings.dry_run)


def run(api: Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    if settings.claim and len(settings.volume) != 1:
        print("--claim is for one VOLUME", file=sys.stderr)
        return 2
    if settings.node:
        there = {settings.node: nodes.get(api, settings.namespace, settings.node)}
    else:
        there = nodes.find(api, settings.namespace)
        if not there:
            raise nodes.nowhere(settings.namespace)
    listed, silent = nodes.list_all(api, there.values(), settings.driver)
    drivers = by_provisioner({*drivers.values(), *(driver for _, driver in listed)})
    adoption = _Adoption(api, drivers, settings, listed, there)
    rows, wrong = [], bool(silent)
    for name in settings.volume or adoption.without_pv():
        row, done = adoption.adopt(name)
        rows.append(row)
        wrong = wrong or not done
    table = [[printable(cell) for cell in row] for row in rows]
    print(aligned(_HEADINGS, table) if rows else "there is nothing to adopt")
    for (node, driver), why in sorted(silent.items()):
        where = f"on node {node} " if node else ""
        print(f"the driver {driver} {where}lists no volumes: {why}", file=sys.stderr)
    return 1 if wrong else 0


class _Adoption:
    """What there is, and how a volume of it gets its PV."""

    def __init__(
        self,
        api: Cluster,
        drivers: dict[str, str],
        settings: argparse.Namespace,
        listed: dict[nodes.Key, Listed],
        there: dict[str, nodes.FlexvolNode],
    ) -> None:
        self._api, self._drivers, self._settings, self._there = api, drivers, settings, there
        self._found = list(_found(listed, there))
        self._volumes = {one["metadata"]["name"]: one for one in api.items(VOLUMES)}
        self._cluster_uid = nodes.cluster_uid(api)
        self._lacking = [
            one
            for one in self._found
            if one.name not in self._volumes and not is_left(one.entry, self._cluster_uid)
        ]

    def without_pv(self) -> list[str]:
        return sorted({one.name for one in self._lacking})

    def adopt(self, name: str) -> tuple[list[str], bool]:
        """Its row for the table, and whether it has its PV now, or would have it."""
        found = meant(name, self._found, set(self._volumes))
        row = [name, *(_about(found[0]) if found else ["-"] * 4)]
        try:
            if not found:
                _check_brought_back(name, self._found)
            with_pv = [one for one in found if self._has_pv(one)]
            one = with_pv[0] if len(with_pv) == 1 else chosen(name, found)
            volume = self._volumes.get(one.name)
            if volume is not None:
                return [*row, self._with_pv(one, volume)], True
            claim = self._settings.claim or claim_of(one)
            check_rivals(one, claim, self._lacking, self._volumes, by_hand=not self._settings.all)
            live = self._api.get(cluster.claim_path(*claim))
            check_claim(one, claim, live)
            volume = self._volume(one, claim, live)
            row[3:] = str(claim), volume["spec"]["persistentVolumeReclaimPolicy"]
            if not self._settings.dry_run:
                self._record(one, volume["spec"]["claimRef"])
                self._create(one, volume)
            self._volumes[one.name] = volume
            outcome = "would be adopted" if self._settings.dry_run else "adopted"
            if one.is_archive:
                outcome += f" as {one.name}"
            return [
                *row,
                f"{outcome}; {'its claim is there' if live else 'it awaits its claim'}",
            ], True
        except (protocol.Failure, cluster.Refused, cluster.Unreachable) as error:
            return [*row, f"left alone: {error}"], False

    def _has_pv(self, found: Found) -> bool:
        """Whether a PV means it, and no volume of its name on another node."""
        volume = self._volumes.get(found.name)
        return (
            volume is not None and not found.is_archive and is_about(volume, found, self._drivers)
        )

    def _with_pv(self, found: Found, volume: Object) -> str:
        """The outcome for a volume whose PV is there."""
        check_volume(volume, found, self._drivers)
        theirs = claim_named_by(volume)
        if self._settings.claim not in (None, theirs):
            raise protocol.InvalidArgument(
                f"its PV is for the claim {theirs}; take it from that claim first: {_TAKE_AWAY}"
            )
        if not record_differs(volume, found, self._cluster_uid):
            return "has its PV already"
        if self._settings.dry_run:
            return f"has its PV already; its record would name the claim {theirs}"
        request = volume_manifest.adopt_request(
            volume, self._cluster_uid, str(found.owner.get("uid") or NO_OWNER)
        )
        self._storage(found).adopt(found.driver, request)
        return f"has its PV already; its record names the claim {theirs} now"

    def _storage(self, found: Found) -> nodes.NodeStorage:
        return nodes.NodeStorage(self._api, self._there[found.node])

    def _volume(self, found: Found, claim: Name, live: Object | None) -> Object:
        if not found.identity:
            raise protocol.Unavailable(
                f"the pod that serves {found.driver} does not tell its provisioner's --identity "
                "in its arguments, and the PV needs it"
            )
        entry, provisioner = found.entry, provisioner_of(found.driver)
        us = decide.Identity({provisioner: found.driver}, found.identity, found.node)
        name = str(entry.get("class") or "")
        there = self._api.get(path_to(CLASSES, name)) if protocol.is_object_name(name) else None
        policy = entry.get("reclaimPolicy") if self._settings.recorded_policy else ""
        storage_class = {
            "metadata": {"name": name},
            "provisioner": provisioner,
            "reclaimPolicy": policy or "Retain",
            "parameters": there.get("parameters")
            if there and there["provisioner"] == provisioner
            else {},
        }
        names = {"namespace": claim.namespace, "name": claim.name}
        known = {
            **names,
            "uid": found.name.removeprefix("pvc-"),
            "annotations": decide.annotations_of(live or _NONE),
        }
        secret = secrets.wanted(
            {"metadata": known}, storage_class, us, self._settings.namespace + "-secrets"
        )
        # One that has lost this very PV takes only one with its uid. Any other is awaited, as it
        # may go meanwhile.
        whose = (
            {**names, "uid": live["metadata"]["uid"]}
            if live and live["spec"].get("volumeName")
            else names
        )
        return volume_manifest.volume_that_exists(
            found.name,
            {"metadata": whose, "spec": {"accessModes": _modes(entry)}},
            storage_class,
            made(entry),
            us,
            nodes.hostname(self._api, found.node) if found.node else "",
            secret and secret[:2],
        )

    def _record(self, found: Found, claim: Object) -> None:
        owner = {**claim, "uid": claim.get("uid") or AWAITED}
        spec = {"claimRef": owner, "flexVolume": {"options": made(found.entry)["options"]}}
        about = {"metadata": {"name": found.entry["name"]}, "spec": spec}
        request = volume_manifest.adopt_request(about, self._cluster_uid)
        self._storage(found).adopt(found.driver, request)

    def _create(self, found: Found, volume: Object) -> None:
        try:
            self._api.create(VOLUMES, volume)
        except cluster.Refused as error:
            path = path_to(VOLUMES, found.name)
            there = self._api.get(path) if error.status == 409 else None
            if there is None:
                raise
            theirs = claim_named_by(there)
            if theirs == claim_named_by(volume):
                return
            # Somebody adopts the volume at the same time: what the PV says counts.
            if all(theirs) and not found.is_archive:
                self._record(found, there["spec"]["claimRef"])
            raise protocol.Busy(
                f"somebody else has just made the PV, for the claim {theirs}"
            ) from None


def _found(listed: dict[nodes.Key, Listed], there: dict[str, nodes.FlexvolNode]) -> Iterator[Found]:
    """What the drivers list. Storage that every node reaches is listed by its own provisioner; that
    nodes list the same is no second volume."""
    shared = {driver for node, driver in listed if not node}
    for (node, driver), (volumes, _) in sorted(listed.items()):
        if node and driver in shared:
            continue
        for entry in volumes:
            one = Found(node, driver, entry, there[node].identity)
            names = [entry.get("name"), entry.get("archiveOf") if one.is_archive else "x"]
            if all(isinstance(name, str) and protocol.is_name(name) for name in names):
                yield one


def meant(name: str, found: list[Found], with_pv: set[str]) -> list[Found]:
    """What a person may mean: a volume or an archive by its name; else the archives of a volume by
    the volume's; else, by NAMESPACE/NAME, what was of that claim and has no PV, or, if there is
    nothing, what has one. with_pv: the names of the PVs."""
    if "/" in name:
        claim = Name(*name.split("/", 1))
        of_claim = [
            one
            for one in found
            if _names(one.owner) == claim and _other(one.entry) in ("", _ARCHIVED, _MOVING)
        ]
        return [one for one in of_claim if one.name not in with_pv] or of_claim
    named = [one for one in found if one.entry["name"] == name]
    return named or [one for one in found if one.name == name]


def _check_brought_back(name: str, found: list[Found]) -> None:
    """Raises NotFound for an archive that is not there, where its volume is. This run may be the
    next one after one that was killed; or another archive came back in its place."""
    for one in found:
        if not one.is_archive and name.startswith("archived-") and name.endswith("-" + one.name):
            raise protocol.NotFound(
                f"there is no archive {name}, but its volume {one.name} is {one.where}; if that is "
                f"what you want: kubectl flexvol adopt {one.name}"
            )
