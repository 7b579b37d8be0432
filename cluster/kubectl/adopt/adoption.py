"""Adopts volumes one after another."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from cluster.controller import cluster, volume_manifest
from cluster.controller.cluster import VOLUMES, Cluster, path_to
from cluster.controller.inventory import Key
from cluster.controller.objects import Claim, Object, Volume
from cluster.controller.storage import Listed
from cluster.kubectl import nodes
from cluster.kubectl.adopt.candidates import (
    Candidate,
    candidates_of,
    check_brought_back,
    choose,
    is_left,
    meant,
    recorded_claim,
)
from cluster.kubectl.adopt.checks import (
    TAKE_AWAY,
    check_claim,
    check_rivals,
    check_volume,
    claim_named_by,
    is_about,
    record_differs,
)
from cluster.kubectl.adopt.manifest import made, volume_for
from shared import protocol
from shared.options import AWAITED, NO_OWNER
from shared.table import human_bytes


class Adoption:
    """What there is, and how a volume of it gets its PV."""

    def __init__(
        self,
        api: Cluster,
        drivers: Mapping[str, str],
        settings: argparse.Namespace,
        listed: Mapping[Key, Listed],
        flexvol_nodes: Mapping[str, nodes.FlexvolNode],
    ) -> None:
        """drivers: by provisioner. listed: by node and driver. flexvol_nodes: by name."""
        self._api = api
        self._drivers = drivers
        self._settings = settings
        self._flexvol_nodes = flexvol_nodes
        self._candidates = list(candidates_of(listed, flexvol_nodes))
        volumes = map(Volume, api.items(VOLUMES))
        self._volumes = {volume.name: volume for volume in volumes}
        self._cluster_uid = nodes.cluster_uid(api)
        self._lacking = [one for one in self._candidates if self._lacks_pv(one)]

    def _lacks_pv(self, candidate: Candidate) -> bool:
        if candidate.name in self._volumes:
            return False
        return not is_left(candidate.entry, self._cluster_uid)

    def without_pv(self) -> list[str]:
        """The names of the volumes that `--all` means."""
        return sorted({one.name for one in self._lacking})

    def adopt(self, name: str) -> tuple[list[str], bool]:
        """Its row for the table, and whether it has its PV now, or would have it."""
        candidates = meant(name, self._candidates, set(self._volumes))
        row = [name, *_cells(candidates)]
        try:
            candidate = self._chosen(name, candidates)
            volume = self._volumes.get(candidate.name)
            if volume is not None:
                return [*row, self._with_pv(candidate, volume)], True
            claim = self._settings.claim or recorded_claim(candidate)
            by_hand = not self._settings.all
            check_rivals(candidate, claim, self._lacking, self._volumes, by_hand)
            live = Claim.of(self._api.get(cluster.claim_path(*claim)))
            check_claim(candidate, claim, live)
            volume = volume_for(self._api, self._settings, candidate, claim, live)
            row[3:] = [str(claim), volume.reclaim_policy]
            if not self._settings.dry_run:
                self._record(candidate, volume.claim_reference)
                self._create(candidate, volume)
            self._volumes[candidate.name] = volume
        except (protocol.Failure, cluster.Refused, cluster.Unreachable) as error:
            return [*row, f"left alone: {error}"], False
        return [*row, self._outcome(candidate, live is not None)], True

    def _chosen(self, name: str, candidates: list[Candidate]) -> Candidate:
        """Raises a Failure if no volume, or more than one, can be meant."""
        if not candidates:
            check_brought_back(name, self._candidates)
        with_pv = [one for one in candidates if self._has_pv(one)]
        if len(with_pv) == 1:
            return with_pv[0]
        return choose(name, candidates)

    def _has_pv(self, candidate: Candidate) -> bool:
        """Whether a PV means it, and no volume of its name on another node."""
        volume = self._volumes.get(candidate.name)
        if volume is None or candidate.is_archive:
            return False
        return is_about(volume, candidate, self._drivers)

    def _outcome(self, candidate: Candidate, has_claim: bool) -> str:
        outcome = "would be adopted" if self._settings.dry_run else "adopted"
        if candidate.is_archive:
            outcome += f" as {candidate.name}"
        claim = "its claim is there" if has_claim else "it awaits its claim"
        return f"{outcome}; {claim}"

    def _with_pv(self, candidate: Candidate, volume: Volume) -> str:
        """The outcome for a volume whose PV is there."""
        check_volume(volume, candidate, self._drivers)
        claim = claim_named_by(volume)
        if self._settings.claim not in (None, claim):
            raise protocol.InvalidArgument(
                f"its PV is for the claim {claim}; take it from that claim first: {TAKE_AWAY}"
            )
        if not record_differs(volume, candidate, self._cluster_uid):
            return "has its PV already"
        if self._settings.dry_run:
            return f"has its PV already; its record would name the claim {claim}"
        owner_uid = candidate.owner.uid or NO_OWNER
        request = volume_manifest.adopt_request(volume, self._cluster_uid, owner_uid)
        self._storage(candidate).adopt(candidate.driver, request)
        return f"has its PV already; its record names the claim {claim} now"

    def _storage(self, candidate: Candidate) -> nodes.NodeStorage:
        return nodes.NodeStorage(self._api, self._flexvol_nodes[candidate.node])

    def _record(self, candidate: Candidate, claim: Object) -> None:
        """Writes the claim of a PV, and this cluster, in the volume's record."""
        owner = {**claim, "uid": claim.get("uid") or AWAITED}
        options = made(candidate.entry)["options"]
        spec = {"claimRef": owner, "flexVolume": {"options": options}}
        about = Volume({"metadata": {"name": candidate.entry["name"]}, "spec": spec})
        request = volume_manifest.adopt_request(about, self._cluster_uid)
        self._storage(candidate).adopt(candidate.driver, request)

    def _create(self, candidate: Candidate, volume: Volume) -> None:
        """Creates the PV.

        :raises Busy: if somebody else has made it meanwhile, for another claim."""
        try:
            self._api.create(VOLUMES, volume.json)
        except cluster.Refused as error:
            path = path_to(VOLUMES, candidate.name)
            rival = Volume.of(self._api.get(path)) if error.status == 409 else None
            if rival is None:
                raise
            claim = claim_named_by(rival)
            if claim == claim_named_by(volume):
                return
            # Somebody adopts the volume at the same time: what the PV says counts.
            if all(claim) and not candidate.is_archive:
                self._record(candidate, rival.claim_reference)
            raise protocol.Busy(
                f"somebody else has just made the PV, for the claim {claim}"
            ) from None


def _cells(candidates: list[Candidate]) -> list[str]:
    """Node, size, claim and policy of the first volume that may be meant."""
    if not candidates:
        return ["-"] * 4
    first = candidates[0]
    size = first.entry.get("sizeBytes")
    return [
        first.node or "-",
        human_bytes(size) if isinstance(size, int) else "-",
        str(first.claim) if any(first.claim) else "-",
        "-",
    ]
