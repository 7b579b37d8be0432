"""Makes PVs for volumes that have none, so that claims of their names find their data again.

That helps after the loss of the cluster's etcd, or of a PV. A volume that has its PV is left alone.
Nothing is deleted, and no data is touched.

The volume's record is written first: its claim, this cluster, and that it is not to be collected.
Then the PV is made, under the volume's name, so that there is never a second one. Killed in
between, it goes on when it is run again."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NamedTuple

import protocol
from administration import by_provisioner, nodes
from controller import cluster, decide, secrets, volume_manifest
from controller.cluster import CLASSES, VOLUMES, Cluster
from controller.storage import Listed
from table import aligned, human_bytes

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
    """A volume on a node, as its driver lists it."""

    node: str
    driver: str
    entry: Object

    @property
    def owner(self) -> Object:
        owner = self.entry.get("owner")
        return owner if isinstance(owner, dict) else {}


_MOVING = "moving"  # which may be the only copy, if its move was forgotten with the old cluster


def is_left(entry: Object, cluster_uid: str) -> bool:
    """Whether `--all` does not mean it: it is something else than a volume in use; or it was never
    mounted and is this cluster's, so that its provisioner is about to make its PV, or to collect
    it."""
    return _other(entry) not in ("", _MOVING) or (
        entry.get("blank") is True and entry.get("clusterUid") == cluster_uid
    )


def _other(entry: Object) -> str:
    """What it is, if it is a snapshot, archived, or on its way elsewhere."""
    kind = str(entry.get("kind") or "volume")
    return kind if kind != "volume" else str(entry.get("state") or "")


def chosen(
    name: str, found: list[Found], volume: Object | None, drivers: dict[str, str]
) -> Found | None:
    """The volume of that name to adopt; None if it has its PV, `volume`. Raises a Failure that says
    why not."""
    if not found:
        raise protocol.NotFound(f"no node that answers has a volume {name}")
    if volume is not None:
        node = decide.node_of(volume, drivers)
        if node in [one.node for one in found]:
            return None
        owner = f"node {node}" if node else "another driver"
        raise protocol.InvalidArgument(
            f"the PV {name} exists already, and is of {owner}; if that is gone for good, give "
            f"the PV up, which deletes no data: provisioner release {name}"
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
        raise protocol.InvalidArgument(
            f"the volume {name} is on node {' and on node '.join(nodes_with_it)}; name "
            "one with --node"
        )
    if found[0].entry.get("error"):
        raise protocol.Internal(str(found[0].entry["error"]))
    if _other(found[0].entry):
        raise protocol.Busy(
            f"the volume {name} cannot be adopted while it is "
            f"{protocol.shown(_other(found[0].entry))}; see: provisioner inventory"
        )
    return found[0]


def claim_of(found: Found) -> Name:
    """Whose it was, as its record says. Raises InvalidArgument if it does not name a claim."""
    name = _names(found.owner)
    if name == (protocol.ANY, protocol.ANY):
        raise protocol.InvalidArgument(
            "the volume was made for any claim; its PV is made again by: provisioner static"
        )
    if not all(map(protocol.is_name, name)):
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
            f"volume {one.entry['name']} on {one.node} (made {one.entry.get('created')})"
            for one in lacking
            if one.entry["name"] != found.entry["name"] and _names(one.owner) == claim
        ]
    if others and by_hand:
        raise protocol.InvalidArgument(
            f"the claim {claim} has {', '.join(others)}; delete that PV first, or choose "
            "another claim: "
            "--claim NAMESPACE/NAME"
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
    if bound not in ("", found.entry["name"]):
        raise protocol.InvalidArgument(
            f"the claim {claim} has got the PV {bound} meanwhile; delete that claim, or choose "
            "another: --claim"
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
            isinstance(value, str) and not protocol.is_reserved(key)
            for key, value in options.items()
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
    return [found.node, human_bytes(size) if isinstance(size, int) else "-", claim, "-"]


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("volume", nargs="*", default=[], metavar="VOLUME")
    which.add_argument("--all", action="store_true", help="every volume that has no PV")
    parser.add_argument("--node", metavar="NAME", help="only volumes of this node")
    parser.add_argument(
        "--claim", type=_claim_name, metavar="NAMESPACE/NAME", help="not for the claim it was of"
    )
    parser.add_argument(
        "--recorded-policy",
        action="store_true",
        help="the PV gets the reclaim policy that "
        "the volume "
        "was made "
        "with. Else "
        "it gets "
        "Retain, so that no "
        "mistake "
        "while things are put back deletes the only copy",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and do nothing"
    )


def _claim_name(text: str) -> Name:
    name = Name(*text.partition("/")[::2])
    if not all(map(protocol.is_name, name)):
        raise argparse.ArgumentTypeError(f"{text}: expected NAMESPACE/NAME")
    return name


def run(api: Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    if settings.claim and len(settings.volume) != 1:
        print("--claim is for one VOLUME", file=sys.stderr)
        return 2
    if settings.node:
        there = {settings.node: nodes.get(api, settings.namespace, settings.node)}
    else:
        there = {name: node for name, node in nodes.find(api, settings.namespace).items() if name}
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
    print(aligned(_HEADINGS, rows) if rows else "there is nothing to adopt")
    for (node, driver), why in sorted(silent.items()):
        print(f"the driver {driver} on node {node} lists no volumes: {why}", file=sys.stderr)
    return 1 if wrong else 0


class _Adoption:
    """What there is, and how a volume of it gets its PV."""

    def __init__(
        self,
        api: Cluster,
        drivers: dict[str, str],
        settings: argparse.Namespace,
        listed: dict[nodes.Key, Listed],
        there: dict[str, nodes.Node],
    ) -> None:
        self._api, self._drivers, self._settings, self._there = api, drivers, settings, there
        self._found: dict[str, list[Found]] = {}
        for (node, driver), (volumes, _) in sorted(listed.items()):
            for entry in volumes:
                if protocol.is_name(str(entry.get("name", ""))):
                    self._found.setdefault(entry["name"], []).append(Found(node, driver, entry))
        self._volumes = {one["metadata"]["name"]: one for one in api.items(VOLUMES)}
        self._cluster_uid = nodes.cluster_uid(api)
        self._lacking = [
            one
            for name, found in sorted(self._found.items())
            for one in found
            if name not in self._volumes and not is_left(one.entry, self._cluster_uid)
        ]

    def without_pv(self) -> list[str]:
        return sorted({one.entry["name"] for one in self._lacking})

    def adopt(self, name: str) -> tuple[list[str], bool]:
        """Its row for the table, and whether it has its PV now, or would have it."""
        found = self._found.get(name, [])
        row = [name, *(_about(found[0]) if found else ["-"] * 4)]
        try:
            one = chosen(name, found, self._volumes.get(name), self._drivers)
            if one is None:
                theirs = claim_named_by(self._volumes[name])
                if self._settings.claim not in (None, theirs):
                    raise protocol.InvalidArgument(
                        f"its PV is for the claim {theirs}; delete that PV first"
                    )
                return [*row, "has its PV already"], True
            claim = self._settings.claim or claim_of(one)
            check_rivals(one, claim, self._lacking, self._volumes, by_hand=not self._settings.all)
            live = self._api.get(cluster.claim_path(*claim))
            check_claim(one, claim, live)
            volume = self._volume(one, claim, live)
            row[3:] = str(claim), volume["spec"]["persistentVolumeReclaimPolicy"]
            if not self._settings.dry_run:
                self._record(one, volume["spec"]["claimRef"])
                self._create(one, volume)
            self._volumes[name] = volume
            outcome = "would be adopted" if self._settings.dry_run else "adopted"
            return [
                *row,
                f"{outcome}; {'its claim is there' if live else 'it awaits its claim'}",
            ], True
        except (protocol.Failure, cluster.Refused, cluster.Unreachable) as error:
            return [*row, f"left alone: {error}"], False

    def _volume(self, found: Found, claim: Name, live: Object | None) -> Object:
        entry, provisioner = found.entry, ".".join(reversed(found.driver.split("/")))
        us = decide.Identity({provisioner: found.driver}, found.node, found.node)
        name = str(entry.get("class") or "")
        there = self._api.get(f"{CLASSES}/{name}") if protocol.is_name(name) else None
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
            "uid": entry["name"].removeprefix("pvc-"),
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
            entry["name"],
            {"metadata": whose, "spec": {"accessModes": _modes(entry)}},
            storage_class,
            made(entry),
            us,
            nodes.hostname(self._api, found.node),
            secret and secret[:2],
        )

    def _record(self, found: Found, claim: Object) -> None:
        storage = nodes.NodeStorage(self._api, self._there[found.node])
        owner = {**claim, "uid": claim.get("uid") or protocol.AWAITED}
        spec = {"claimRef": owner, "flexVolume": {"options": made(found.entry)["options"]}}
        about = {"metadata": {"name": found.entry["name"]}, "spec": spec}
        storage.adopt(found.driver, volume_manifest.adopt_request(about, self._cluster_uid))

    def _create(self, found: Found, volume: Object) -> None:
        try:
            self._api.create(VOLUMES, volume)
        except cluster.Refused as error:
            there = (
                self._api.get(f"{VOLUMES}/{found.entry['name']}") if error.status == 409 else None
            )
            if there is None:
                raise
            theirs = claim_named_by(there)
            if theirs != claim_named_by(
                volume
            ):  # somebody adopts it at the same time: what the PV says counts
                if all(theirs):
                    self._record(found, there["spec"]["claimRef"])
                raise protocol.Busy(
                    f"somebody else has just made the PV, for the claim {theirs}"
                ) from None
