"""The plan of a move, in a ConfigMap from before the first change until the move is done."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from cluster.controller import cluster
from cluster.controller.objects import Object, Volume

LABEL = "flexvol/move"  # on each ConfigMap with a plan
_KEY = "move"  # of the ConfigMap's data


def plan_path(namespace: str, volume: str) -> str:
    """The ConfigMap with the plan for that volume. namespace: where flexvol is installed."""
    return cluster.path_to(_collection(namespace), _config_map(volume))


def _collection(namespace: str) -> str:
    return cluster.in_namespace(namespace, "configmaps")


def _config_map(volume: str) -> str:
    return f"move-{volume}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """From where to where a volume moves, and how far the move has come.

    id: the record of each copy of the volume names it while the volume moves.
    source, to: names of nodes.
    volume: the PV as it is to be on the node `to`.
    policy: the reclaim policy that the PV had before the move.
    hostname: the label of the node `to`.
    pool_id: of the pool on that node.
    is_carried: the volume's disk is in the node `to` already, so nothing is copied.
    is_cancelled: the volume is to stay on the node `source`.
    is_replacing: the PV is being made anew for the node `to`; from then on nobody cancels.
    uid, resource_version: of the ConfigMap; empty before it is made."""

    id: str
    source: str
    to: str
    volume: Volume
    policy: str
    hostname: str
    pool_id: str
    is_carried: bool = False
    is_cancelled: bool = False
    is_replacing: bool = False
    uid: str = ""
    resource_version: str = ""

    @property
    def name(self) -> str:
        """Of the volume."""
        return self.volume.name

    @property
    def driver(self) -> str:
        """As VENDOR/NAME."""
        return self.volume.driver

    @property
    def destination(self) -> str:
        """The node where the volume is when the move, or its cancelling, is done."""
        return self.source if self.is_cancelled else self.to

    @property
    def words(self) -> str:
        """As the ConfigMap holds it."""
        return json.dumps(
            {
                "id": self.id,
                "source": self.source,
                "to": self.to,
                "back": self.is_cancelled,
                "replaces": self.is_replacing,
                "carried": self.is_carried,
                "policy": self.policy,
                "hostname": self.hostname,
                "poolId": self.pool_id,
                "volume": self.volume.json,
            }
        )

    @classmethod
    def of(cls, config_map: Object) -> Plan:
        """The plan that the ConfigMap holds."""
        written = json.loads(config_map["data"][_KEY])
        metadata = config_map["metadata"]
        return cls(
            id=written["id"],
            source=written["source"],
            to=written["to"],
            volume=Volume(written["volume"]),
            policy=written["policy"],
            hostname=written["hostname"],
            pool_id=written["poolId"],
            # A plan that an older flexvol wrote has no such key, and is about a copy.
            is_carried=bool(written.get("carried")),
            is_cancelled=written["back"],
            is_replacing=written["replaces"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
        )


class Plans:
    """The plans of all moves that are not done. namespace: where flexvol is installed."""

    def __init__(self, api: cluster.Cluster, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    def all(self) -> list[Plan]:
        """Of moves from any node."""
        path = cluster.selected(_collection(self._namespace), labelSelector=LABEL)
        config_maps = (self._api.get(path) or {"items": []})["items"]
        return [Plan.of(config_map) for config_map in config_maps]

    def find(self, volume: str) -> Plan | None:
        """The plan for that volume, read live; None if no move of it was begun."""
        config_map = self._api.get(self._path(volume))
        return None if config_map is None else Plan.of(config_map)

    def create(self, plan: Plan) -> None:
        """Writes the plan, unless the volume has one: then Refused, status 409."""
        body = {
            "metadata": {"name": _config_map(plan.name), "labels": {LABEL: ""}},
            "data": {_KEY: plan.words},
        }
        self._api.create(_collection(self._namespace), body)

    def change(self, plan: Plan, **changes: Any) -> Plan | None:
        """Returns the plan as it is then; None if somebody else ended that move.

        :raises Refused: with the status 409 if somebody else changed it since it was read."""
        changed = dataclasses.replace(plan, **changes)
        metadata = {"uid": plan.uid, "resourceVersion": plan.resource_version}
        body = {"metadata": metadata, "data": {_KEY: changed.words}}
        self._api.patch(self._path(plan.name), body)
        now = self.find(plan.name)
        return now if now is not None and now.id == plan.id else None

    def end(self, plan: Plan) -> None:
        """Deletes the plan."""
        self._api.delete(self._path(plan.name), plan.uid)

    def _path(self, volume: str) -> str:
        return plan_path(self._namespace, volume)
