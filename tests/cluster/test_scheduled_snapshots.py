"""The CronJob of docs/clone-and-snapshot.md makes snapshots and keeps as many as it says, with the
account of deploy/snapshots, which may run nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml

from tests import documents
from tests.cluster.accounts import pod_of, sent, token_of
from tests.cluster.commands import Ask
from tests.cluster.kube.cluster import Cluster
from tests.cluster.namespaces import Kubernetes
from tests.cluster.own_provisioner import bound, claim
from tests.cluster.page_commands import chapter, follow
from tests.sources import ROOT
from tests.waiting import wait_until

PAGE = ROOT / "docs/clone-and-snapshot.md"
CHAPTER = "Every night: a CronJob"
RIGHTS = ROOT / "deploy/snapshots"
LOOP = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/flexvol~loop/loop"
REFUSED = "this account only makes snapshots"


def snapshots_yaml(namespace: str) -> str:
    """The file of the page, for a namespace in the place of `shop`."""
    (text,) = [block for block in documents.blocks("yaml", PAGE) if "CronJob" in block]
    return text.replace("shop/data", f"{namespace}/data").replace(": shop\n", f": {namespace}\n")


@pytest.fixture(scope="module")
def rights(cluster: Cluster) -> Iterator[None]:
    """The account and its policy."""
    cluster.kubectl("apply", "-k", RIGHTS, capture_output=True)
    yield
    cluster.kubectl("delete", "-k", RIGHTS, "--wait=true", capture_output=True)


@pytest.fixture(scope="module")
def token(cluster: Cluster, rights: None) -> str:
    """Of the account, which has its rights and is held by the policy."""
    flexvol = Kubernetes(cluster, "flexvol")
    token = token_of(flexvol, "", "flexvol-snapshots")
    wait_until("the policy holds", lambda: REFUSED in answer(flexvol, token, ["true"]))
    return token


@pytest.fixture
def kustomization(k8s: Kubernetes, rights: None, tmp_path: Path) -> Iterator[Path]:
    """The directory of the administrator's kustomization, without the base, which is applied."""
    shutil.copytree(RIGHTS, tmp_path / "snapshots")
    file = tmp_path / "snapshots.yaml"
    file.write_text(snapshots_yaml(k8s.namespace))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["snapshots", file.name],
        "images": [{"name": "flexvol", "newName": "localhost/flexvol", "newTag": "dev"}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    yield tmp_path
    k8s.cluster.kubectl("delete", "-f", file, "--wait=true", capture_output=True)


@pytest.fixture
def volume(k8s: Kubernetes, ask: Ask) -> Iterator[str]:
    """The volume of the claim `data`. Its snapshots go afterwards."""
    k8s.apply(claim("data", "flexvol-loop", "node1"))
    yield bound(k8s, "data")["data"]
    for snapshot in snapshots_of(ask, f"{k8s.namespace}/data"):
        ask("snapshot", "--delete", snapshot)


def snapshots_of(ask: Ask, claim: str) -> list[str]:
    lines = ask("snapshot", "--list", claim).stdout.splitlines()
    return [line.split()[0] for line in lines if claim in line.split()]


def test_the_job_makes_a_snapshot_and_deletes_the_oldest_beyond_its_number(
    k8s: Kubernetes, kustomization: Path, volume: str, ask: Ask
) -> None:
    data = f"{k8s.namespace}/data"
    for number in range(7):
        assert ask("snapshot", data, f"old{number}-{k8s.namespace}").returncode == 0
    apply, create, wait, logs, delete = chapter(CHAPTER, "kubectl")

    follow(k8s.cluster, apply, kustomization)
    follow(k8s.cluster, create)
    try:
        follow(k8s.cluster, wait)
        printed = follow(k8s.cluster, logs)
    finally:
        follow(k8s.cluster, delete)

    assert f"made {volume}-2" in printed
    assert f"deleted old0-{k8s.namespace} of {volume}" in printed
    kept = snapshots_of(ask, data)
    assert len(kept) == 7
    assert kept[:6] == [f"old{number}-{k8s.namespace}" for number in range(1, 7)]
    assert kept[6].startswith(f"{volume}-2")


def answer(k8s: Kubernetes, token: str, words: list[str]) -> str:
    """The API server's answer to an `exec` of these words in flexvol's pod on node1. Without an
    upgrade of the connection no program is started."""
    pod = pod_of(k8s, "flexvol-node", "node1")
    query = urlencode([*(("command", word) for word in words), ("stdout", "true")])
    path = f"/api/v1/namespaces/flexvol/pods/{pod}/exec?{query}"
    return sent("POST", token, path, {})


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["sh", "-c", "ls"], id="another program"),
        pytest.param([LOOP, "delete", "pvc-1"], id="another command of the driver"),
        pytest.param([LOOP, "snapshot", "--delete", "kept"], id="the deletion of a snapshot"),
        pytest.param([LOOP, "snapshot", "--keep=1", "--d=kept", "--", "a"], id="a shortened word"),
        pytest.param([LOOP + " snapshot", "--", "pvc-1"], id="two words in one"),
        pytest.param([LOOP, "snapshot", "--", "a", "b", "c"], id="a word too many"),
        pytest.param([LOOP, "snapshot", "--", "../a"], id="no name of a volume"),
    ],
)
def test_the_account_may_not_run(cluster: Cluster, token: str, words: list[str]) -> None:
    k8s = Kubernetes(cluster, "flexvol")

    assert REFUSED in answer(k8s, token, words)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["pvc-1"], id="a snapshot that is called after the time"),
        pytest.param(["pvc-1", "nightly"], id="a snapshot with a name"),
    ],
)
def test_the_account_may_make(cluster: Cluster, token: str, words: list[str]) -> None:
    k8s = Kubernetes(cluster, "flexvol")

    printed = answer(k8s, token, [LOOP, "snapshot", "--keep=7", "--pool=default", "--", *words])

    assert "ValidatingAdmissionPolicy" not in printed
    assert "forbidden" not in printed


def test_the_objects_of_the_page_are_accepted(cluster: Cluster) -> None:
    text = "---\n".join(documents.blocks("yaml", PAGE))
    objects = [one | {"metadata": with_default(one)} for one in yaml.safe_load_all(text)]

    cluster.kubectl(
        "apply",
        "--dry-run=server",
        "-f",
        "-",
        input=yaml.safe_dump_all(objects),
        capture_output=True,
    )


def with_default(one: dict[str, dict[str, str]]) -> dict[str, str]:
    """The object's metadata, in a namespace that exists."""
    metadata = one["metadata"]
    if metadata["namespace"] == "shop":
        return {**metadata, "namespace": "default"}
    return metadata
