"""A claim without a PV that flexvol does not serve, or can never serve as it stands. A claim that
flexvol serves is handed to waiting.py."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.controller import decide
from cluster.controller.objects import Claim, Pod, StorageClass
from cluster.kubectl.explain.findings import Finding, note, problem
from cluster.kubectl.explain.pod_claims import as_given
from cluster.kubectl.explain.pods import on_pods
from cluster.kubectl.explain.scene import is_of_one_node
from cluster.kubectl.explain.view import View
from cluster.kubectl.explain.waiting import ServedClaim, on_served

_IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"


def on_populated(view: View, claim: Claim, pods: list[Pod]) -> list[Finding]:
    """Of a claim whose volume somebody else's volume populator makes."""
    kind = claim.data_source.get("kind")
    sentence = f"{decide.POPULATOR}: its dataSourceRef is of kind {kind}"
    return [note(sentence), *on_pods(view, pods)]


def on_unbound(view: View, claim: Claim, pods: list[Pod]) -> list[Finding]:
    """What there is to say of a claim without a PV. pods: those that use the claim."""
    storage_class = view.classes.get(claim.class_name)
    if not claim.class_name:
        return _on_no_class(view, claim, pods)
    given = as_given(claim, storage_class)
    if storage_class is None:
        return [problem(decide.problem(given, None, True))]
    if given.provisioner not in view.drivers:
        known = ", ".join(view.drivers)
        sentence = (
            f"this claim is for the provisioner {given.provisioner}; flexvol's "
            f"nodes here serve {known}"
        )
        return [problem(sentence), *on_pods(view, pods)]
    driver = view.drivers[given.provisioner]
    of_one_node = is_of_one_node(driver, view.flexvol_nodes)
    hopeless = decide.problem(given, storage_class, of_one_node)
    if hopeless:
        return [problem(hopeless)]
    is_given = bool(claim.provisioner) or not storage_class.is_late
    node = given.selected_node if of_one_node else ""
    served = ServedClaim(given, storage_class, driver, node, of_one_node, is_given)
    return on_served(view, served, pods)


def _on_no_class(view: View, claim: Claim, pods: list[Pod]) -> list[Finding]:
    """Of a claim that wants no storage class, or names none and was given none."""
    if claim.spec.get("storageClassName") == "":
        sentence = (
            'this claim asks for no storage class (storageClassName: ""), so nothing is '
            "provisioned for it; it waits for an existing PV without a class"
        )
        return [note(sentence)]
    return [problem(_advice_on_no_class(view.classes.values())), *on_pods(view, pods)]


def _advice_on_no_class(classes: Iterable[StorageClass]) -> str:
    for storage_class in classes:
        if storage_class.annotation(_IS_DEFAULT) == "true":
            return (
                "this claim names no storage class; the default one is "
                f"{storage_class.name}, which kube-controller-manager gives the "
                "claim within minutes. If it does not, name the class in a new "
                "claim"
            )
    return (
        "this claim names no storage class, and no class is the default; name "
        "a class in a new claim, or make a class the default, which the claim "
        f"is then given: kubectl annotate storageclass NAME {_IS_DEFAULT}=true"
    )
