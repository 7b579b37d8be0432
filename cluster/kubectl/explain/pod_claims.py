"""The claims that a pod uses: which of them wait, and which of them can never be served."""

from __future__ import annotations

from cluster.controller import decide
from cluster.controller.objects import PROVISIONER, Claim, Pod, StorageClass
from cluster.kubectl.explain.findings import Finding, note, problem
from cluster.kubectl.explain.scene import Scene, WaitingClaim


def without_volume(pod: Pod, scene: Scene) -> list[Claim]:
    """The pod's claims that have no volume, but for those of a volume populator."""
    claims = [scene.claims.get(name) for name in pod.claim_names]
    return [
        claim
        for claim in claims
        if claim is not None and not claim.volume_name and not claim.is_populated
    ]


def waiting_for_flexvol(pod: Pod, scene: Scene) -> list[WaitingClaim]:
    """The pod's claims that wait for a volume of flexvol."""
    found = []
    for claim in without_volume(pod, scene):
        storage_class = scene.class_of(claim)
        if storage_class is not None and scene.driver_of(storage_class):
            found.append(WaitingClaim(claim, storage_class))
    return found


def waiting_for_node(pod: Pod, scene: Scene) -> list[str]:
    """The names of the pod's claims that wait until a node is chosen for them."""
    names = []
    for name in pod.claim_names:
        claim = scene.claims.get(name)
        if claim is None or claim.volume_name or claim.selected_node:
            continue
        storage_class = scene.class_of(claim)
        if storage_class is not None and storage_class.is_late:
            names.append(name)
    return names


def being_made(pod: Pod, scene: Scene) -> list[Claim]:
    """The pod's claims whose volume is still to be made, on the node that was chosen."""
    claims = [scene.claims.get(name) for name in pod.claim_names]
    return [
        claim
        for claim in claims
        if claim is not None and not claim.volume_name and claim.selected_node
    ]


def as_given(claim: Claim, storage_class: StorageClass | None) -> Claim:
    """The claim as kube-controller-manager makes it when a node is chosen, so that explain tells
    now what the provisioner will decide then."""
    if storage_class is None or claim.provisioner:
        return claim
    annotations = {**claim.annotations, PROVISIONER[0]: storage_class.provisioner}
    metadata = {**claim.metadata, "annotations": annotations}
    return Claim({**claim.json, "metadata": metadata})


def _ephemeral(pod: Pod) -> list[str]:
    """The names of the claims that are made for the pod's own volumes."""
    return [f"{pod.name}-{volume['name']}" for volume in pod.volumes if "ephemeral" in volume]


def on_missing_claims(pod: Pod, scene: Scene, warning: str) -> list[Finding]:
    """Claims of the pod that do not exist. warning: the last event about the pod."""
    ephemeral = _ephemeral(pod)
    findings = []
    for name in pod.claim_names:
        if name in scene.claims:
            continue
        if name in ephemeral:
            findings.append(_on_unmade_ephemeral(name, pod, warning))
        else:
            sentence = f"pod {pod.name} uses the claim {name}, which does not exist; create it"
            findings.append(problem(sentence))
    return findings


def _on_unmade_ephemeral(name: str, pod: Pod, warning: str) -> Finding:
    sentence = (
        f"the claim {name} of pod {pod.name} is not there yet; "
        "kube-controller-manager makes it for the pod's ephemeral volume"
    )
    if warning:
        sentence += f", and says: {warning}"
    return problem(sentence)


def on_foreign_claims(pod: Pod, scene: Scene) -> list[Finding]:
    """Claims that have the name of a claim for an ephemeral volume of the pod, and were not made
    for the pod."""
    findings = []
    for name in _ephemeral(pod):
        claim = scene.claims.get(name)
        if claim is None or _is_owned(claim, pod):
            continue
        if _is_of_earlier(claim, pod):
            sentence = (
                f"the claim {name} was made for an earlier pod {pod.name}, and "
                "goes with it; kube-controller-manager then makes another one "
                "for the pod's ephemeral volume"
            )
            findings.append(note(sentence))
        else:
            sentence = (
                f"pod {pod.name} needs a claim of the name {name} for its "
                "ephemeral volume, and the claim of that name was not made for "
                "this pod; give the pod, or its volume, another name"
            )
            findings.append(problem(sentence))
    return findings


def _is_owned(claim: Claim, pod: Pod) -> bool:
    uid = pod.metadata.get("uid")
    return any(owner.get("uid") == uid for owner in claim.owner_references)


def _is_of_earlier(claim: Claim, pod: Pod) -> bool:
    """Whether the claim was made for an earlier pod of the same name."""
    return any(
        owner.get("kind") == "Pod" and owner.get("name") == pod.name
        for owner in claim.owner_references
    )


def on_hopeless_claims(pod: Pod, scene: Scene) -> list[Finding]:
    """Claims of the pod that can never be served as they stand, whichever claim explain is asked
    about."""
    findings = []
    for claim in without_volume(pod, scene):
        why = _why_hopeless(claim, scene)
        if why:
            findings.append(problem(f"pod {pod.name} also uses the claim {claim.name}: {why}"))
    return findings


def _why_hopeless(claim: Claim, scene: Scene) -> str:
    """Empty also for a claim without a class, and for a claim of another provisioner."""
    if not claim.class_name:
        return ""
    storage_class = scene.class_of(claim)
    if storage_class is None:
        return decide.problem(claim, None, False)
    if not scene.driver_of(storage_class):
        return ""
    given = as_given(claim, storage_class)
    of_one_node = scene.is_of_one_node(storage_class)
    return decide.problem(given, storage_class, of_one_node)
