"""A move from its beginning to its end.

A move is written down in a ConfigMap first: from where to where, and the PV that is to be. Its
phases, of which each may find itself done, and what each of them may leave behind if it is killed:

1. The PV says Retain from now on, so that no instance deletes anything, whatever goes. Killed here:
   the plan, and a PV that says Retain.
2. The old copy is exported, under its lock, and imported on the other node (copying.py). Killed
   here: an old copy that mounts for no pod, and a part of a new copy, or the whole of it.
3. The PV is deleted and made again under its name (replacing.py). Killed here: a claim that says
   Lost, and no PV, until the same command is run again.
4. The old copy is deleted, then the plan (ending.py). Killed here: an old copy that says that it
   moves, and the plan.

A volume that was carried has one copy, which the other node lists in the PV's very pool, by its id.
Then nothing is copied, and above all nothing is deleted. The old node must be gone, or off, or show
that the pool is not there: else the disk may be a copy.

The nodes' instances touch neither copy meanwhile: they delete no PV that says Retain, a PV of
another identity is not theirs, and they collect no volume as an orphan whose claim exists, or that
is not blank."""

from __future__ import annotations

from cluster.controller import volume_manifest
from cluster.controller.objects import Volume
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.beginning import begin, check_carried
from cluster.kubectl.move.cancelling import cancel
from cluster.kubectl.move.copying import copy
from cluster.kubectl.move.ending import (
    announce,
    delete_old_copy,
    say_stuck_pods,
)
from cluster.kubectl.move.plans import Plan
from cluster.kubectl.move.replacing import replace


def move(access: Access, name: str, to: str) -> None:
    """Moves the volume to the node `to`, or goes on with its move. To the node that the volume
    comes from, the move is cancelled.

    :raises NotMoved: if the volume cannot move.
    :raises Failure, Refused, Unreachable: called again, the move goes on."""
    plan = access.plans.find(name)
    if plan is None:
        volume = access.volume(name)
        if access.node_of(volume) == to:
            _settle(access, volume, to)
            return
        plan = begin(access, volume, to)
    elif to == plan.source:
        cancel(access, plan)
        return
    elif to != plan.destination:
        raise NotMoved(
            f"{name} is on its way to node {plan.destination}; that comes "
            f"first: kubectl flexvol move {name} --to {plan.destination}"
        )
    _go_on(access, plan)


def _settle(access: Access, volume: Volume, node: str) -> None:
    """Of a volume that is on its node already, and that has no plan. A copy there that says it
    moves lost its plan, and the PV says that this copy is the volume."""
    if volume.pool_name:
        entry = access.entry(volume, node)
        if entry is not None and entry.get("state") == "moving":
            request = volume_manifest.listed_request(entry)
            access.storage(node).adopt(volume.driver, request)
    access.say(f"{volume.name} is on node {node} already")


def _go_on(access: Access, plan: Plan) -> None:
    if not access.is_at(plan.name, plan.to):
        _bring(access, plan)
    plan = replace(access, plan)
    announce(access, plan)
    if not plan.is_carried:
        delete_old_copy(access, plan)
    access.plans.end(plan)
    access.say(f"{plan.name} is on node {plan.to}")
    say_stuck_pods(access, plan)


def _bring(access: Access, plan: Plan) -> None:
    """Has the data on the other node, while the PV is still the old node's, or is gone."""
    if access.is_at(plan.name, plan.source):
        access.set_policy(plan.name, "Retain")
    if not plan.is_carried:
        copy(access, plan)
    elif not plan.is_replacing:
        check_carried(access, plan.volume, plan.source, plan.to)
