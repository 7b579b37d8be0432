"""flexvol's service accounts, as one who has stolen a token of theirs uses it, and the answers of
the admission policies."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import subprocess
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.cluster.kube.cluster import SERVER
from tests.cluster.namespaces import Kubernetes, Object
from tests.cluster.own_provisioner import AUTHORITY
from tests.cluster.proxy import in_namespace
from tests.sources import ROOT
from tests.waiting import wait_until

RIGHTS = ROOT / "deploy/secrets"
MADE_IN = "flexvol-secrets"


def may(k8s: Kubernetes, account: str, verb: str) -> bool:
    account = f"system:serviceaccount:flexvol:{account}"
    return (
        k8s.run("auth", "can-i", verb, "secrets", "--as", account, check=False).stdout.strip()
        == "yes"
    )


Writer = Callable[..., subprocess.CompletedProcess[str]]


def holder_of(
    k8s: Kubernetes, pod: str = "", account: str = "flexvol-node", namespace: str = "flexvol"
) -> Writer:
    """kubectl with a token of an account of ours, as one who has stolen it uses it. pod: the one
    that the token is bound to, as a pod's own token is."""
    token = token_of(k8s, pod, account, namespace)
    return lambda *argv, **keywords: k8s.run("--token", token, *argv, check=False, **keywords)


def token_of(k8s: Kubernetes, pod: str, account: str, namespace: str = "flexvol") -> str:
    bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"] if pod else []
    return k8s.run("-n", namespace, "create", "token", account, *bound).stdout.strip()


def sent_patch(token: str, path: str, body: Object) -> str:
    """The API server's answer to a patch. kubectl reads an object before it patches it, which not
    every account may."""
    return sent("PATCH", token, path, body, "application/merge-patch+json")


def sent(method: str, token: str, path: str, body: Object, kind: str = "application/json") -> str:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
    context = ssl.create_default_context(cafile=AUTHORITY)
    where = urlsplit(SERVER).netloc

    def answer() -> str:
        connection = http.client.HTTPSConnection(where, timeout=30, context=context)
        with contextlib.closing(connection):
            connection.request(method, path, json.dumps(body), headers)
            return connection.getresponse().read().decode()

    return in_namespace(answer)


def node_account(k8s: Kubernetes, node: str) -> Writer:
    return holder_of(k8s, pod_of(k8s, "flexvol-node", node))


def cluster_account(k8s: Kubernetes) -> Writer:
    return holder_of(k8s, pod_of(k8s, "flexvol-cluster"), "flexvol-cluster")


def pod_of(k8s: Kubernetes, app: str, node: str = "") -> str:
    on_node = f"spec.nodeName={node}" if node else ""

    def staying() -> list[str]:  # the token of one that ends ends with it
        pods = Kubernetes(k8s.cluster, "flexvol").all("pods", f"app={app}", on_node)
        metadata = [pod["metadata"] for pod in pods]
        return [str(one["name"]) for one in metadata if "deletionTimestamp" not in one]

    names: list[str] = wait_until(f"there is a pod of {app} {node}", staying)
    return names[0]


def patch(kind: str, name: str, body: Object, *more: str) -> list[str]:
    return ["patch", kind, name, "--type=merge", "-p", json.dumps(body), *more]


def annotation(key: str, value: str | None) -> Object:
    return {"metadata": {"annotations": {key: value}}}


def refused(done: subprocess.CompletedProcess[str], words: str) -> bool:
    assert done.returncode != 0, done.stdout
    assert "ValidatingAdmissionPolicy" in done.stderr and words in done.stderr, done.stderr
    return True


def allowed(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stderr
    return True


def until_a_policy_refuses(account: Writer, *words: str, request: str = "") -> None:
    """Waits until a policy that was just made holds for the account's kubectl. request: the text
    that kubectl reads from its standard input."""
    wait_until(
        "the policy holds",
        lambda: "ValidatingAdmissionPolicy" in account(*words, input=request).stderr,
    )
