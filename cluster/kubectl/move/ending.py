"""The last phase: the cluster is told where the volume is, and the old copy is deleted."""

from __future__ import annotations

from cluster.controller import cluster, volume_manifest
from cluster.controller.events import Events
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.plans import Plan

_EVENTS_SECONDS = 5.0  # for the events to reach the API server


def announce(access: Access, plan: Plan) -> None:
    """Says on the claim and its PV where the volume is. kube-controller-manager has just said that
    the claim lost its PV, and that "Data on the volume is lost!"."""
    volume = access.volume(plan.name)
    claim = access.claim_of(volume)
    sentence = (
        f"the volume {plan.name} is on node {plan.to} now, with all its data; "
        f"before, it was on node {plan.source}. For that its PV was made anew. "
        "No data was lost, whatever the event ClaimLost says"
    )
    events = Events(access.api, "flexvol-move")
    events.normal(volume.json, "VolumeMoved", sentence)
    if claim is not None:
        events.normal(claim.json, "VolumeMoved", sentence)
    events.close(_EVENTS_SECONDS)


def delete_old_copy(access: Access, plan: Plan) -> None:
    """Deletes the copy on the old node, if its record says that it is the old copy of this move."""
    node = plan.source
    if access.api.get(cluster.path_to(cluster.NODES, node)) is None:
        access.say(f"node {node} is gone, so its old copy of {plan.name} is not deleted")
        return
    entry = access.entry(plan.volume, node)
    if entry is None:
        return
    if entry.get("move") != plan.id or entry.get("state") != "moving":
        raise NotMoved(
            f"the volume {plan.name} on node {node} is not the old copy of this "
            "move any more, so it is not deleted; see: kubectl flexvol "
            f"inventory --node {node}"
        )
    access.storage(node).delete(plan.driver, volume_manifest.listed_request(entry))


def say_stuck_pods(access: Access, plan: Plan) -> None:
    """Pods that the scheduler gave to the old node meanwhile cannot start there."""
    for pod in access.pods_of(access.claim_of(plan.volume)):
        if pod.node_name == plan.source:
            access.say(
                f"pod {pod.name} waits for the volume on node {plan.source}; delete that pod"
            )
