"""An instance that makes and deletes volumes, as all of its parts know it."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.controller.cluster import Cluster
from cluster.controller.events import Events
from cluster.controller.identity import Identity
from cluster.controller.secrets import Secrets
from cluster.controller.storage import Storage
from cluster.controller.workqueue import Key, WorkQueue


@dataclass(frozen=True)
class Instance:
    """api: the API server.

    identity: who the instance is.
    storage: its drivers.
    events: its events on claims, PVs and nodes.
    work: the claims and PVs that something is to be done with.
    secrets: those of volumes."""

    api: Cluster
    identity: Identity
    storage: Storage
    events: Events
    work: WorkQueue[Key]
    secrets: Secrets
