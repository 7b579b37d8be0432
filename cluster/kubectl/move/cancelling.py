"""A move that is cancelled before its PV was replaced: the old copy is the volume again, and what
has arrived on the other node is deleted."""

from __future__ import annotations

import time

from cluster.controller import volume_manifest
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.copying import pool_words
from cluster.kubectl.move.plans import Plan
from cluster.kubectl.move.replacing import change_plan
from shared import protocol

# An import that was left alone ends within this time, and then its rest can be deleted.
_FORGET_SECONDS = 20.0
_AGAIN_SECONDS = 0.5


def cancel(access: Access, plan: Plan) -> None:
    """Killed in between, the cancelling goes on when the same command is run again."""
    if plan.is_replacing:
        raise NotMoved(
            f"the PV {plan.name} is being made anew for node {plan.to} already; "
            "end that move, and then move the volume back: kubectl flexvol "
            f"move {plan.name} --to {plan.to}"
        )
    if plan.is_carried:
        _give_back(access, plan)  # there is one copy, and nothing to be undone
        access.say(f"the PV {plan.name} stays node {plan.source}'s")
        return
    # The plan comes first, so that what is on the other node is never taken for the volume again.
    plan = change_plan(access, plan, is_cancelled=True)
    try:
        _delete_new_copy(access, plan)
        _forget_stream(access, plan)
    except protocol.Unavailable as error:
        access.say(f"what has arrived of {plan.name} on node {plan.to} is left: {error}")
    _keep_old_copy(access, plan)


def _give_back(access: Access, plan: Plan) -> None:
    """The PV gets back its reclaim policy, and the plan ends."""
    if access.is_at(plan.name, plan.source):
        access.set_policy(plan.name, plan.policy)
    access.plans.end(plan)


def _delete_new_copy(access: Access, plan: Plan) -> None:
    entry = access.entry(plan.volume, plan.to)
    if entry is None or entry.get("move") != plan.id:
        return
    request = volume_manifest.listed_request(entry, cancelled_move=plan.id)
    access.storage(plan.to).delete(plan.driver, request)


def _forget_stream(access: Access, plan: Plan) -> None:
    """Deletes what has arrived of a stream that is not gone on with."""
    words = ["import", *pool_words(plan), "--forget", plan.name]
    deadline = time.monotonic() + _FORGET_SECONDS
    while True:
        try:
            access.run(plan.to, plan.driver, words)
            return
        except NotMoved as error:
            if time.monotonic() > deadline:
                access.say(
                    f"what has arrived of {plan.name} on node {plan.to} is "
                    f"left, and deleted after a day: {error}"
                )
                return
        time.sleep(_AGAIN_SECONDS)


def _keep_old_copy(access: Access, plan: Plan) -> None:
    """The old copy's record says again that it is the volume."""
    entry = access.entry(plan.volume, plan.source)
    if entry is None:
        if access.find_volume(plan.name) is not None:
            raise NotMoved(
                f"node {plan.source} does not list {plan.name}; see: kubectl "
                f"flexvol inventory --node {plan.source}"
            )
        access.plans.end(plan)
        access.say(f"{plan.name} is gone, and its PV too: its claim was deleted meanwhile")
        return
    if entry.get("state") == "moving":
        request = volume_manifest.listed_request(entry)
        access.storage(plan.source).adopt(plan.driver, request)
    _give_back(access, plan)
    access.say(f"{plan.name} stays on node {plan.source}")
