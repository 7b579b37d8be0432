"""A claim that names its PV: where its volume is, and what is wrong with it."""

from __future__ import annotations

from typing import NamedTuple

from cluster.controller import decide, inventory
from cluster.controller.identity import Identity, node_of
from cluster.controller.objects import AWAITS_CLAIM, Claim, Pod, Volume
from cluster.kubectl.explain import deletion, growth
from cluster.kubectl.explain.findings import Finding, note, problem
from cluster.kubectl.explain.pods import is_running, on_pods
from cluster.kubectl.explain.scene import Scene
from cluster.kubectl.explain.view import View, claims_of
from shared import protocol
from shared.table import human_bytes


class _Bound(NamedTuple):
    """A claim whose PV is of flexvol, and the pods that use it. row: the volume as the inventory
    has it."""

    claim: Claim
    volume: Volume
    pods: list[Pod]
    scene: Scene
    row: inventory.Row


def on_bound(view: View, claim: Claim, pods: list[Pod]) -> list[Finding]:
    """What there is to say of a claim with a PV. pods: those that use the claim."""
    volumes = view.volumes_of([claim.name, *claims_of(pods)])
    volume = volumes.get(claim.volume_name)
    if volume is None:
        return [problem(_on_no_volume(claim))]
    if volume.claim_reference.get("uid", claim.uid) != claim.uid:
        return [problem(_on_other_owner(claim, volume)), *on_pods(view, pods, volumes)]
    if volume.driver not in view.drivers.values():
        known = ", ".join(view.drivers.values())
        sentence = f"its PV {volume.name} is not of a driver of flexvol here ({known})"
        return [note(sentence), *on_pods(view, pods, volumes)]
    node = node_of(volume, view.drivers)
    view.ask([node] if node else view.flexvol_nodes, volume.driver)
    view.ask_for_pods(pods, volumes)
    scene = view.scene(volumes)
    bound = _Bound(claim, volume, pods, scene, _row(scene, claim, volume, pods))
    return [
        note(_place(bound.row, volume)),
        *_on_users(bound),
        *on_pods(view, pods, volumes),
        *_on_state(bound.row),
        *_on_growth(view, bound),
        *_on_binding(view, claim, volume),
        *_on_deleted_claim(view, claim, pods),
        *deletion.on_owner(claim),
        _on_deletion(bound),
    ]


def _on_no_volume(claim: Claim) -> str:
    name = claim.volume_name
    if not protocol.is_object_name(name):
        # Whoever may create a claim writes this name, so it stands in no command to be copied.
        return (
            f"its spec.volumeName is {protocol.shown(name)}, which is no PV's "
            "name; leave spec.volumeName out of a new claim"
        )
    return (
        f"its PV {name} does not exist; if its volume does (see: kubectl "
        f"flexvol inventory), bring the PV back: kubectl flexvol adopt {name}"
    )


def _on_other_owner(claim: Claim, volume: Volume) -> str:
    """Returns the sentence about a claim whose PV belongs to another claim. The other claim has
    another name, or is an earlier claim of the same name. A person gives the PV of an earlier claim
    to this claim by changing the PV, as Kubernetes has it; the provisioner then tells the driver.
    """
    owner = volume.claim
    sentence = (
        f"its PV {volume.name} belongs to the claim {owner.full_name} with the uid {owner.uid}"
    )
    if owner.full_name != claim.full_name:
        return f"{sentence}; leave spec.volumeName out of a new claim, or name another"
    sentence = f"{sentence}, which is an earlier claim of this name"
    if volume.reclaim_policy == "Delete":
        patch = '{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}'
        return (
            f"{sentence}, so it is deleted with its data; to keep it, if it is "
            f"still there: kubectl patch pv {volume.name} -p '{patch}'"
        )
    patch = '{"spec": {"claimRef": {"uid": null, "resourceVersion": null}}}'
    return f"{sentence}; to give it to this claim: kubectl patch pv {volume.name} -p '{patch}'"


def _on_users(bound: _Bound) -> list[Finding]:
    running = sorted(pod.name for pod in bound.pods if is_running(pod))
    if running:
        return [note(f"used by pod {', '.join(running)}")]
    return [] if bound.pods else [note("no pod uses it")]


def _on_state(row: inventory.Row) -> list[Finding]:
    if not row.why and not row.is_wrong:
        return []
    return [Finding(row.why or f"it is {row.state}", row.is_wrong)]


def _on_growth(view: View, bound: _Bound) -> list[Finding]:
    row = bound.row
    listed = bound.scene.listed.get((row.node, row.driver))
    pools = listed.pools if listed else []
    findings = growth.on_growth(bound.claim, bound.volume, row.entry, pools)
    if findings:
        findings += growth.on_failed_growth(view, [bound.claim, *bound.pods])
    in_use = any(map(is_running, bound.pods))
    return [*findings, *growth.on_file_system_size(row.entry, in_use)]


def _row(
    scene: Scene,
    claim: Claim,
    volume: Volume,
    pods: list[Pod],
) -> inventory.Row:
    """The volume as the inventory has it."""
    node = node_of(volume, scene.drivers)
    objects = inventory.ClusterObjects(
        drivers=scene.drivers,
        volumes=[volume],
        claims=[claim],
        pods=pods,
        nodes={node} & scene.nodes.keys(),
        cluster_uid="",
    )
    for row in inventory.join(scene.listed, scene.silent, objects):
        if row.name == volume.name and row.state not in inventory.NO_PV:
            return row
    raise AssertionError(f"the inventory has no row for the PV {volume.name}")


def _place(row: inventory.Row, volume: Volume) -> str:
    """Where the volume is, and how full."""
    words = [f"it is {row.state}: PV {row.name}", volume.capacity]
    if row.node:
        words.append(f"on node {row.node}")
    if row.entry.get("pool"):
        words.append(f"in pool {row.entry['pool']}")
    used = row.entry.get("usedBytes")
    if isinstance(used, int):
        words.append(f"{human_bytes(used)} used")
    return ", ".join(words)


def _on_binding(view: View, claim: Claim, volume: Volume) -> list[Finding]:
    """Of a claim that names its PV and is not bound to it, and of a PV that somebody deletes."""
    findings = []
    if claim.status.get("phase", "Bound") != "Bound":
        warning = view.last_warning(claim)
        sentence = f"the claim is not bound to its PV {volume.name}"
        if warning:
            findings.append(problem(f"{sentence}; last warning: {warning}"))
        else:
            findings.append(note(f"{sentence} yet"))
    if volume.is_being_deleted:
        sentence = f"its PV {volume.name} is being deleted, and stays as long as the claim does"
        findings.append(note(sentence))
    return findings


def _on_deleted_claim(view: View, claim: Claim, pods: list[Pod]) -> list[Finding]:
    if not claim.is_being_deleted:
        return []
    ended = " ".join(sorted(pod.name for pod in view.ended_pods_of(claim.name)))
    if ended:
        sentence = (
            "the claim is being deleted, and waits until the pods that have ended are deleted, "
            f"too: kubectl -n {claim.namespace} delete pod {ended}"
        )
        return [problem(sentence)]
    when = ", when no pod uses it any more" if pods else ""
    return [note(f"the claim is being deleted{when}")]


def _on_deletion(bound: _Bound) -> Finding:
    volume = bound.volume
    drivers = bound.scene.drivers
    node = node_of(volume, drivers)
    identity = Identity(drivers, volume.identity, node)
    decision = decide.on_volume(_when_released(volume), identity)
    return deletion.on_deletion(decision, volume, bound.row.entry, bool(bound.pods))


def _when_released(volume: Volume) -> Volume:
    """The PV as it is once its claim has been deleted, and its driver has been told which claim
    that was."""
    annotations = {**volume.annotations}
    annotations.pop(AWAITS_CLAIM, None)
    metadata = {**volume.metadata, "annotations": annotations}
    return Volume({**volume.json, "metadata": metadata, "status": {"phase": "Released"}})
