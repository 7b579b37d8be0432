"""The volumes and archives that the nodes list, and which of them a person means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cluster.controller.inventory import ARCHIVED, MOVING, Key
from cluster.controller.leftovers import is_never_mounted
from cluster.controller.objects import ClaimReference, Object
from cluster.controller.storage import Listed
from cluster.kubectl.nodes import FlexvolNode
from shared import protocol


class ClaimName(NamedTuple):
    """What a claim is known by."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def is_valid(self) -> bool:
        """Whether a claim can have that name."""
        return all(map(protocol.is_object_name, self))


class Candidate(NamedTuple):
    """A volume or an archive that may be adopted.

    node: "" for storage that every node reaches.
    entry: as its driver lists it.
    identity: of the provisioner that the volume's PV is to be of."""

    node: str
    driver: str
    entry: Object
    identity: str

    @property
    def owner(self) -> ClaimReference:
        """The claim that the volume's record names."""
        return ClaimReference.of(self.entry.get("owner"))

    @property
    def claim(self) -> ClaimName:
        """The name of the claim that the volume's record names."""
        return ClaimName(self.owner.namespace, self.owner.name)

    @property
    def is_archive(self) -> bool:
        """Whether a class has archived the volume when it was deleted."""
        return self.entry.get("state") == ARCHIVED

    @property
    def name(self) -> str:
        """Of the volume, and of its PV; an archive has a name of its own beside it."""
        key = "archiveOf" if self.is_archive else "name"
        return str(self.entry[key])

    @property
    def where(self) -> str:
        """The place as a sentence names it."""
        return f"on node {self.node}" if self.node else f"in the storage of {self.driver}"


def candidates_of(
    listed: Mapping[Key, Listed],
    flexvol_nodes: Mapping[str, FlexvolNode],
) -> Iterator[Candidate]:
    """What the drivers list. Storage that every node reaches is listed by its own provisioner; that
    nodes list the same is no second volume."""
    shared = {driver for node, driver in listed if not node}
    for (node, driver), (entries, _) in sorted(listed.items()):
        if node and driver in shared:
            continue
        for entry in entries:
            identity = flexvol_nodes[node].pod_of(driver).identity
            candidate = Candidate(node, driver, entry, identity)
            if _has_names(candidate):
                yield candidate


def _has_names(candidate: Candidate) -> bool:
    names = [candidate.entry.get("name")]
    if candidate.is_archive:
        names.append(candidate.entry.get("archiveOf"))
    return all(isinstance(name, str) and protocol.is_name(name) for name in names)


def kind_of(entry: Object) -> str:
    """The word for anything but a volume in use: a snapshot, or a volume that is archived, or on
    its way to another node. Empty for a volume in use."""
    kind = str(entry.get("kind") or "volume")
    if kind != "volume":
        return kind
    return str(entry.get("state") or "")


def is_left(entry: Object, cluster_uid: str) -> bool:
    """Whether `--all` does not mean the entry: it is something else than a volume in use; or it was
    never mounted and is this cluster's, so that its provisioner is about to make its PV, or to
    collect it. A volume that moves may be the only copy, if its move was forgotten with the old
    cluster."""
    if kind_of(entry) not in ("", MOVING):
        return True
    return is_never_mounted(entry) and entry.get("clusterUid") == cluster_uid


def meant(
    name: str,
    candidates: list[Candidate],
    with_pv: set[str],
) -> list[Candidate]:
    """What a person may mean: a volume or an archive by its name; else the archives of a volume by
    the volume's name; else, by NAMESPACE/NAME, what was of that claim and has no PV, or, if there
    is nothing, what has one. with_pv: the names of the PVs."""
    if "/" in name:
        of_claim = [one for one in candidates if _was_of(one, name)]
        without_pv = [one for one in of_claim if one.name not in with_pv]
        return without_pv or of_claim
    named = [one for one in candidates if one.entry["name"] == name]
    return named or [one for one in candidates if one.name == name]


def _was_of(candidate: Candidate, claim: str) -> bool:
    is_usable = kind_of(candidate.entry) in ("", ARCHIVED, MOVING)
    return is_usable and str(candidate.claim) == claim


def choose(name: str, candidates: list[Candidate]) -> Candidate:
    """The one volume or archive that is meant. candidates: all that the name may mean.

    :raises Failure: that says why no volume can be adopted by that name."""
    if not candidates:
        raise protocol.NotFound(f"no node that answers has {_asked(name)}")
    names = sorted({str(one.entry["name"]) for one in candidates})
    if len(names) > 1:
        raise protocol.InvalidArgument(
            f"{name} may mean several volumes, so name one of them: {', '.join(names)}"
        )
    if len(candidates) > 1:
        raise _several_places(names[0], candidates)
    (candidate,) = candidates
    if candidate.entry.get("error"):
        raise protocol.Internal(str(candidate.entry["error"]))
    _check_kind(names[0], candidate)
    return candidate


def _asked(name: str) -> str:
    """What a person has asked for, as the words of a sentence."""
    if "/" in name:
        return f"a volume or an archive of the claim {name}"
    return f"a volume or an archive {name}"


def _several_places(
    name: str,
    candidates: list[Candidate],
) -> protocol.InvalidArgument:
    """The failure that tells of a name that is on two nodes, or in two pools of a node."""
    if len({one.node for one in candidates}) > 1:
        places = " and ".join(one.where for one in candidates)
        return protocol.InvalidArgument(f"the volume {name} is {places}; name one with --node")
    pools = sorted(str(one.entry.get("pool", "")) for one in candidates)
    places = " and in ".join(f"pool {pool}" for pool in pools)
    return protocol.InvalidArgument(
        f"the volume {name} is in {places} of node {candidates[0].node}, so "
        "neither was adopted; keep a copy of the one that is not meant (on the "
        f"node: loop export {name} --pool POOL), and move its directory out of "
        "the pool"
    )


def _check_kind(name: str, candidate: Candidate) -> None:
    """Raises Busy for a snapshot, and for a volume on its way to another node."""
    kind = kind_of(candidate.entry)
    if kind == MOVING:
        to = protocol.shown(str(candidate.entry.get("movingTo")))
        raise protocol.Busy(
            f"the volume {name} cannot be adopted while it is being moved to "
            f"node {to}; if that move was lost with its cluster, and no other "
            f"node lists {name}, root {candidate.where} may say that this is "
            "the volume (loop help adopt), and then it can be adopted"
        )
    if kind not in ("", ARCHIVED):
        raise protocol.Busy(
            f"the volume {name} cannot be adopted while it is "
            f"{protocol.shown(kind)}; see: kubectl flexvol inventory"
        )


def check_brought_back(name: str, candidates: list[Candidate]) -> None:
    """Raises NotFound for an archive that is not listed while its volume is. This run may be the
    next one after a run that was killed; or another archive came back in its place."""
    if not name.startswith("archived-"):
        return
    for one in candidates:
        if not one.is_archive and name.endswith("-" + one.name):
            raise protocol.NotFound(
                f"there is no archive {name}, but its volume {one.name} is "
                f"{one.where}; if that is what you want: kubectl flexvol adopt "
                f"{one.name}"
            )


def recorded_claim(candidate: Candidate) -> ClaimName:
    """The claim that the volume was of, as its record says.

    :raises InvalidArgument: if the record does not name a claim."""
    claim = candidate.claim
    if candidate.owner.is_any:
        raise protocol.InvalidArgument(
            "the volume was made for any claim; its PV is made again by: kubectl flexvol static"
        )
    if not claim.is_valid:
        raise protocol.InvalidArgument(
            "the volume's record names no claim; name one: --claim NAMESPACE/NAME"
        )
    return claim
