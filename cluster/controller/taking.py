"""A claim that is bound at once is no node's at first: the node whose turn comes writes its name on
the claim."""

from __future__ import annotations

import logging
import threading
import time

from cluster.controller import cluster, retry
from cluster.controller.capacity import Capacity
from cluster.controller.instance import Instance
from cluster.controller.objects import SELECTED_NODE, Claim, StorageClass
from cluster.controller.own_node import OwnNode
from cluster.controller.turns import Turns
from cluster.controller.waiting_claims import WaitingClaims
from cluster.controller.workqueue import Key
from shared import protocol

# How long a claim that this node gave back is left to the others. Two nodes would otherwise hand
# the claim to each other without end.
_LEFT_TO_OTHERS_SECONDS = 30.0
_CONFLICT = 409
_log = logging.getLogger("claim")


def set_node(api: cluster.Cluster, claim: Claim, node: str | None) -> bool:
    """Chooses the claim's node, or lets others choose; False if the claim has changed since it was
    read.

    node: None for no node.
    :raises Refused, Unreachable: by the API server."""
    change = {
        "annotations": {SELECTED_NODE: node},
        "resourceVersion": claim.resource_version,
    }
    try:
        api.patch(cluster.claim_path(claim.namespace, claim.name), {"metadata": change})
    except cluster.Refused as error:
        if error.status == _CONFLICT:
            return False
        raise
    return True


class Taking:
    """Takes claims for this node, and leaves to the others those that this node gave back."""

    def __init__(
        self,
        instance: Instance,
        claims: WaitingClaims,
        node: OwnNode,
        turns: Turns,
        capacity: Capacity,
    ) -> None:
        self._api = instance.api
        self._work = instance.work
        self._claims = claims
        self._node = node
        self._turns = turns
        self._capacity = capacity
        self._lock = threading.Lock()
        # By the claim's uid, until when a claim that this node gave back is left to the others.
        self._left_until: dict[str, float] = {}

    def take(self, key: Key, claim: Claim, storage_class: StorageClass) -> None:
        """One attempt for a claim that is no node's: takes it if it is this node's turn.

        key: of the claim in the queue, which is told how to go on."""
        now = time.monotonic()
        left_until = self._left_until.get(claim.uid, now)
        if left_until > now:
            self._claims.not_free(claim.uid)
            self._work.again(key, left_until - now)
            return
        waited_seconds = now - self._claims.free_since(claim.uid, now)
        turn_seconds = self._turns.seconds(claim, storage_class, waited_seconds)
        if turn_seconds is None:
            self._claims.not_free(claim.uid)
            self._work.failed(key, retry.SLOW)
        elif turn_seconds > waited_seconds:
            self._work.again(key, turn_seconds - waited_seconds)
        elif self._node.has_changed():
            self._work.failed(key, retry.SOON)
        elif set_node(self._api, claim, self._node.name):
            self._work.done(key)
        else:
            self._work.failed(key, retry.SOON)

    def leave_to_others(self, claim: Claim) -> None:
        """This node is about to give the claim back. What room there is now is published first, so
        that whoever chooses the claim's node again knows it."""
        now = time.monotonic()
        with self._lock:
            self._left_until = {
                uid: until for uid, until in self._left_until.items() if until > now
            }
            self._left_until[claim.uid] = now + _LEFT_TO_OTHERS_SECONDS
        try:
            self._capacity.publish()
        except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
            # The trouble of the node must not keep the claim on it.
            _log.warning("capacity not published: %s", error)
