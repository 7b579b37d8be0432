"""Works through the steps against the API server."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

from cluster.controller import cluster
from cluster.controller.identity import node_of
from cluster.controller.objects import ApiObject, Claim, Object, Volume
from cluster.kubectl import claims, nodes
from cluster.kubectl.cancel_expansion import verdicts
from cluster.kubectl.cancel_expansion.sizes import (
    Sizes,
    Truth,
    sizes,
    truth_of,
)
from cluster.kubectl.cancel_expansion.steps import (
    SET_VOLUME,
    changes,
    next_step,
)
from shared import protocol
from shared.table import printable

_SECONDS = 60.0  # for all steps; each takes well below a second
_AGAIN_SECONDS = 1.0  # until an object that somebody else has changed is read again
# A failing expandfs that had begun before HOLD writes its failure on the claim whatever the claim
# says meanwhile (MarkNodeExpansionInfeasible patches without a precondition).
_SETTLE_SECONDS = 3.0


class State(NamedTuple):
    """Claim, PV and node at one moment."""

    claim: Claim
    volume: Volume
    now: Sizes
    truth: Truth


class Cancellation:
    """One claim whose expansion is cancelled. say: takes the lines that tell the person."""

    def __init__(
        self,
        api: cluster.Cluster,
        drivers: dict[str, str],
        settings: argparse.Namespace,
        say: Callable[[str], None],
    ) -> None:
        self._api = api
        self._drivers = drivers
        self._settings = settings
        self._say = say

    def run(self) -> int:
        state = self._read()
        self._check(state)
        name = state.claim.full_name
        situation = verdicts.situation(state.now, state.truth)
        if not self._next_step(state):
            self._say(f"there is no expansion to cancel for the claim {name}, {situation}")
            return 0
        is_growing = state.now.asked > state.truth.size
        what = "cancels the expansion of" if is_growing else "clears the expansion of"
        self._say(f"{what} the claim {name}, {situation}")
        state = self._work(state)
        self._say(verdicts.outcome(state.claim, state.now, state.truth))
        return 0

    def _next_step(self, state: State) -> str:
        records = self._settings.even_if_it_fits
        return next_step(state.now, state.truth.size, records=records)

    def _work(self, state: State) -> State:
        """Does step after step, until none is due, also not after a while."""
        deadline = time.monotonic() + _SECONDS
        is_settled = False
        while True:
            step = self._next_step(state)
            if step:
                self._do(step, state)
                is_settled = False
            elif is_settled:
                return state
            else:
                time.sleep(_SETTLE_SECONDS)
                is_settled = True
            if time.monotonic() > deadline:
                raise protocol.Busy(
                    f"the claim {state.claim.full_name} or its PV is changed by "
                    "somebody else again and again; run this again"
                )
            state = self._read()

    def _check(self, state: State) -> None:
        """Raises Busy if there is nothing to cancel, or not yet."""
        name = state.claim.full_name
        if state.claim.is_being_deleted:
            raise protocol.Busy(f"the claim {name} is being deleted; nothing was changed")
        if self._settings.even_if_it_fits:
            return
        why = verdicts.refusal(state.now, state.truth)
        if why:
            raise protocol.Busy(
                f"the expansion of the claim {name} is not cancelled: {why}; nothing was changed"
            )

    def _read(self) -> State:
        """All of it live. Raises a Failure if one of the three is not there, or not known."""
        claim = claims.get(self._api, self._settings)
        volume, driver = claims.volume_of(self._api, claim, self._drivers)
        truth = self._truth(volume, driver)
        return State(claim, volume, sizes(claim, volume), truth)

    def _truth(self, volume: Volume, driver: str) -> Truth:
        node_name = node_of(volume, self._drivers)
        node = nodes.get(self._api, self._settings.namespace, node_name)
        entries, pools = nodes.NodeStorage(self._api, node).list(driver)
        entry = next((one for one in entries if one.get("name") == volume.name), {})
        if entry.get("state") == "moving":
            raise protocol.Busy(
                f"the volume {volume.name} is being moved to another node; run "
                "this when that is done"
            )
        truth = truth_of(entry, pools)
        if truth is None:
            causes = [str(entry.get("error") or f"the driver {driver} does not list it")]
            for pool in pools:
                if pool.get("error"):
                    causes.append(f"pool {pool.get('name')}: {pool['error']}")
            raise protocol.Unavailable(
                f"the size of the volume {volume.name} on node {node_name} is "
                f"not known: {printable('; '.join(causes))}; nothing was "
                "changed"
            )
        return truth

    def _do(self, step: str, state: State) -> None:
        claim = state.claim
        body = changes(step, state.now, state.truth.size, claim)
        path = cluster.claim_path(claim.namespace, claim.name)
        try:
            if step == SET_VOLUME:
                volume_path = cluster.path_to(cluster.VOLUMES, state.volume.name)
                self._patch(volume_path, state.volume, body)
            elif "status" in body:
                self._patch(cluster.path_to(path, "status"), claim, body)
            else:
                self._patch(path, claim, body)
        except cluster.Refused as error:
            if error.status != 409:
                raise
            # Somebody else has changed the object, so it is read again.
            time.sleep(_AGAIN_SECONDS)

    def _patch(self, path: str, read: ApiObject, body: Object) -> None:
        """Raises Refused with status 409 if the object is no longer as it was read."""
        metadata = {**body.get("metadata", {}), "resourceVersion": read.resource_version}
        if self._api.patch(path, {**body, "metadata": metadata}) is None:
            raise protocol.NotFound(f"{read.name} was deleted meanwhile")
