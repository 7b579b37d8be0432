"""The cluster for the tests: two real nodes, flexvol installed as a user installs it, started once
a session."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.accounts import MADE_IN, RIGHTS, may
from tests.cluster.commands import Ask
from tests.cluster.installing import install, keep_little_in_reserve
from tests.cluster.kube import build, images
from tests.cluster.kube import cluster as kube
from tests.cluster.kube.cluster import STATE, Cluster
from tests.cluster.kube.machine import PREFIX
from tests.cluster.leftovers import remove_leftovers
from tests.cluster.namespaces import Kubernetes, ours, own_namespace
from tests.cluster.nodes import DRIVER
from tests.sources import ROOT
from tests.waiting import wait_until

HAS_FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cluster/" in item.nodeid:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kube.Cluster]:
    """The running cluster with flexvol in it."""
    lacking = kube.missing()
    if lacking:
        pytest.skip(lacking)
    cluster = kube.Cluster(build.programs())
    shell = images.busybox(tmp_path_factory.mktemp("images") / "busybox.tar")
    product = images.product()
    try:
        try:
            cluster.up([shell, product])
            install(cluster)
            keep_little_in_reserve(cluster)
        except Exception:
            # The report is printed once; the failure itself is shown by every test.
            print(cluster.report(), file=sys.stderr)
            raise
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def k8s(cluster: kube.Cluster) -> Iterator[Kubernetes]:
    """A namespace of the test's own. Afterwards nothing of it is left: no PV, no volume, no loop
    device."""
    with own_namespace(cluster) as k8s:
        yield k8s


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """On a failure, what a person would look at next; and what the test leaves is removed."""
    outcome: Any = yield
    report = outcome.get_result()
    k8s = getattr(item, "funcargs", {}).get("k8s")
    has_failed = report.failed or item.stash.get(HAS_FAILED, False)
    item.stash[HAS_FAILED] = has_failed
    # Without the state directory this is the end of the cluster itself.
    if not (has_failed and isinstance(k8s, Kubernetes) and kube.STATE.exists()):
        return
    try:
        if report.failed:
            for title, text in diagnosis(k8s):
                report.sections.append((title, text[-8000:]))
        if report.when == "teardown":
            remove_leftovers(k8s.cluster)
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        # The cluster may be what has failed. An exception here would end the whole run.
        report.sections.append(("no more can be found out", str(error)[-2000:]))
        log = k8s.cluster.log("kube-apiserver")
        report.sections.append(("kube-apiserver", log[-4000:]))


def diagnosis(k8s: Kubernetes) -> Iterator[tuple[str, str]]:
    cluster = k8s.cluster
    yield "objects", k8s.run("get", "pvc,pv,pods", "-o", "wide", check=False).stdout
    yield "events", k8s.run("get", "events", "--sort-by=.lastTimestamp", check=False).stdout
    logs = cluster.kubectl(
        "-n",
        "flexvol",
        "logs",
        "-l",
        "app=flexvol-node",
        "--tail=40",
        "--prefix",
        check=False,
        capture_output=True,
    )
    yield "provisioners", logs.stdout
    names = [volume["metadata"]["name"] for volume in ours(k8s)] or [k8s.namespace]
    for node in cluster.nodes.values():
        log = node.path("/var/log/flexvol/loop.log")
        yield (
            f"{node.name}: driver",
            "\n".join(log.read_text().splitlines()[-30:]) if log.exists() else "no log",
        )
        lines = cluster.log(f"{node.name}-kubelet").splitlines()
        yield (
            f"{node.name}: kubelet",
            "\n".join([line for line in lines if any(name in line for name in names)][-20:]),
        )


@pytest.fixture(scope="module")
def shared(cluster: Cluster) -> Iterator[Kubernetes]:
    """The shared-mode provisioner of deploy/shared, with the driver on both nodes."""
    source = ROOT / "tests/drivers/shared"
    overlay = ROOT / "tests/cluster/kube/overlay-shared"
    for node in cluster.nodes.values():
        directory = node.path(DRIVER).parent.with_name("flexvol~shared")
        directory.mkdir(exist_ok=True)
        shutil.copy(source, directory / ".shared")
        (directory / ".shared").rename(directory / "shared")
    cluster.kubectl("apply", "-k", overlay, capture_output=True)
    flexvol = Kubernetes(cluster, "flexvol")
    flexvol.run("rollout", "status", "deployment/flexvol-shared", "--timeout=120s")
    yield flexvol
    cluster.kubectl("delete", "-k", overlay, "--wait=true", capture_output=True)


@pytest.fixture(scope="module")
def vault(cluster: Cluster) -> Iterator[Kubernetes]:
    """The namespace of the volumes' own secrets, with the rights of deploy/secrets: from the first
    test that asks for it on, which is the one that begins without."""
    cluster.kubectl("apply", "-k", RIGHTS, capture_output=True)
    vault = Kubernetes(cluster, MADE_IN)
    for account in ("flexvol-node", "flexvol-shared"):
        wait_until(
            f"{account} has its rights",
            functools.partial(may, vault, account, "create"),
        )
    yield vault
    cluster.kubectl("delete", "-k", RIGHTS, "--wait=true", capture_output=True)


@pytest.fixture(scope="module")
def ask(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """kubectl flexvol ..."""
    home = tmp_path_factory.mktemp("home")
    subprocess.run(
        ["install", "dist/provisioner", home / "kubectl-flexvol"],
        cwd=ROOT,
        check=True,
    )
    settings = {
        "PATH": f"{home}:{os.environ['PATH']}",
        "HOME": str(home),
        "SHIV_ROOT": f"{STATE}/shiv",
        "KUBECONFIG": str(STATE / "admin.kubeconfig"),
    }

    def run(*words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        """answer: what is given to its stdin."""
        line = [
            "nsenter",
            f"--net=/run/netns/{PREFIX}cp",
            str(cluster.programs / "kubectl"),
            "flexvol",
            *words,
        ]
        environment = {**os.environ, **settings}
        return subprocess.run(
            line,
            env=environment,
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run
