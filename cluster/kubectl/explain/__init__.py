"""Says what will happen with a claim and with the pods that use it, or why they wait.

Of a bound claim: where its volume is, and what deleting the claim would do. What is wrong is told
in the words of the claim's events and of the provisioner's log, with what to do about it. With
--pod all claims of a pod are explained. The exit status is 1 if somebody must act."""

from __future__ import annotations

import argparse

from cluster.controller import cluster
from cluster.controller.objects import Claim, Pod
from cluster.kubectl import claims, nodes
from cluster.kubectl.explain.bound import on_bound
from cluster.kubectl.explain.findings import Finding
from cluster.kubectl.explain.growth import on_conditions
from cluster.kubectl.explain.pods import on_pods
from cluster.kubectl.explain.unbound import on_populated, on_unbound
from cluster.kubectl.explain.view import View
from shared import protocol
from shared.table import human_bytes, printable


def arguments(parser: argparse.ArgumentParser) -> None:
    claims.arguments(parser, is_needed=False)
    parser.add_argument(
        "--pod", metavar="POD", help="explain all claims of the pod of that name instead"
    )


def only_reads(_: argparse.Namespace) -> bool:
    return True


def run(
    api: cluster.Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    if bool(settings.pod) == bool(settings.claim):
        raise protocol.InvalidArgument("name a claim, or a pod with --pod")
    flexvol_nodes = nodes.find(api, settings.namespace)
    if not flexvol_nodes:
        raise nodes.nowhere(settings.namespace)
    missing = None
    if settings.claim:
        namespace, name, missing = _named_claim(api, settings)
        names = [name]
    else:
        namespace, pod_name = _named_pod(settings)
        names = _claims_of_pod(api, namespace, pod_name)
    view = View(api, namespace, settings.namespace, flexvol_nodes)
    if missing is not None and not view.pods_of(names[0]):
        raise missing
    outcomes = [_explain(view, name) for name in names]
    return int(any(outcomes))


def _named_claim(
    api: cluster.Cluster,
    settings: argparse.Namespace,
) -> tuple[str, str, protocol.NotFound | None]:
    """Namespace and name of the claim, and the failure if the claim does not exist: a pod may wait
    for it even so."""
    try:
        claim = claims.get(api, settings)
    except protocol.NotFound as error:
        namespace, name = claims.names(settings)
        return namespace, name, error
    return claim.namespace, claim.name, None


def _named_pod(settings: argparse.Namespace) -> tuple[str, str]:
    """Namespace and name of the pod that --pod means."""
    namespace, _, name = settings.pod.rpartition("/")
    return namespace or settings.claim_namespace, name


def _claims_of_pod(
    api: cluster.Cluster,
    namespace: str,
    pod_name: str,
) -> list[str]:
    """Raises NotFound if there is no such pod, or if the pod uses no claim."""
    path = cluster.path_to(cluster.in_namespace(namespace, "pods"), pod_name)
    pod = Pod.of(api.get(path))
    if pod is None:
        raise protocol.NotFound(f"there is no pod {pod_name} in namespace {namespace}")
    if not pod.claim_names:
        raise protocol.NotFound(
            f"pod {pod_name} uses no claim, so it waits for no volume of flexvol"
        )
    return pod.claim_names


def _explain(view: View, name: str) -> bool:
    """Prints what there is to say of the claim; returns whether somebody must act."""
    claim = view.claims.get(name)
    pods = view.pods_of(name)
    if claim is None:
        sentence = f"there is no claim {name} in namespace {view.namespace}"
        if pods:
            sentence += ", and a pod uses it"
        print(f"{view.namespace}/{name}: {printable(sentence)}")
        _print(on_pods(view, pods))
        return True
    size = human_bytes(claim.requested_bytes)
    print(f"{claim.full_name}: {size}, storage class {claim.class_name or 'none'}")
    findings = [*_findings(view, claim, pods), *on_conditions(claim)]
    _print(findings)
    return any(finding.is_wrong for finding in findings)


def _findings(view: View, claim: Claim, pods: list[Pod]) -> list[Finding]:
    """By the kind of claim."""
    if claim.volume_name:
        return on_bound(view, claim, pods)
    if claim.is_populated:
        return on_populated(view, claim, pods)
    return on_unbound(view, claim, pods)


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        print("- " + printable(finding.sentence))
