"""A claim that was raised beyond what its volume's pool can hold, and how that is cancelled: data
and pods stay, claim and PV say the volume's size, and the volume grows again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.cluster.claims import TOO_LARGE, raise_claim, wait_for_volume
from tests.cluster.kube.cluster import STATE
from tests.cluster.kube.machine import PREFIX
from tests.cluster.namespaces import Kubernetes, Object, storage_class
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
NETWORK = ["nsenter", f"--net=/run/netns/{PREFIX}cp"]
KUBECONFIG = STATE / "admin.kubeconfig"
CHANGES = 4  # that the command makes


def flexvol(*words: str) -> subprocess.CompletedProcess[str]:
    """The plugin's command, with the administrator's kubeconfig."""
    line = [
        *NETWORK,
        str(ROOT / "dist/provisioner"),
        *words,
        f"--kubeconfig={KUBECONFIG}",
    ]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=180)


def cancel(k8s: Kubernetes, *words: str) -> str:
    done = flexvol("cancel-expansion", f"{k8s.namespace}/data", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def is_cancelled(k8s: Kubernetes) -> bool:
    """Refused while claim and PV say the true size already, and kubelet is to write the rest."""
    done = flexvol("cancel-expansion", f"{k8s.namespace}/data")
    return done.returncode == 0


def claim(k8s: Kubernetes) -> Object:
    found = k8s.get("pvc", "data")
    assert found is not None
    return found


def sizes(k8s: Kubernetes) -> tuple[str, str, str]:
    """What is asked, what the claim says there is, and what the PV says."""
    found = claim(k8s)
    return (
        found["spec"]["resources"]["requests"]["storage"],
        found["status"]["capacity"]["storage"],
        k8s.volume_of()["spec"]["capacity"]["storage"],
    )


def traces(k8s: Kubernetes) -> list[str]:
    """What tells of an expansion on claim and PV."""
    status = claim(k8s)["status"]
    found = [one["type"] for one in status.get("conditions") or [] if one["type"] != "Unused"]
    found += (status.get("allocatedResourceStatuses") or {}).values()
    notes = k8s.volume_of()["metadata"].get("annotations") or {}
    return found + [key for key in notes if "resize" in key]


def xfs_claim(k8s: Kubernetes) -> None:
    name = f"expansion-{k8s.namespace}"
    k8s.apply(storage_class(name, parameters={"fsType": "xfs"}))
    k8s.claim(size="320Mi", storage_class=name)


def blocks_kib(k8s: Kubernetes, pod: str) -> int:
    return int(k8s.shell(pod, "df -k /data | tail -1").stdout.split()[1])


def test_an_expansion_that_does_not_fit_is_given_up_under_a_running_pod(k8s: Kubernetes) -> None:
    xfs_claim(k8s)
    k8s.pod("web")
    k8s.shell("web", "echo kept > /data/file && sync")
    pod_uid = k8s.uid("pod", "web")
    before = blocks_kib(k8s, "web")
    raise_claim(k8s, TOO_LARGE)
    way_out = f"kubectl flexvol cancel-expansion {k8s.namespace}/data"
    k8s.event("web", "VolumeResizeFailed", way_out, 150)
    explained = flexvol("explain", "data", "-n", k8s.namespace)
    assert explained.returncode == 1
    assert way_out in explained.stdout

    told = cancel(k8s)

    assert "which asks for 900 GiB; its volume has 320 MiB" in told
    assert "say 320Mi; data and pods are as they were" in told
    assert sizes(k8s) == ("320Mi", "320Mi", "320Mi")
    wait_until("no trace is left", lambda: traces(k8s) == [])
    assert flexvol("explain", "data", "-n", k8s.namespace).returncode == 0
    assert "there is no expansion to cancel" in cancel(k8s)
    assert k8s.shell("web", "cat /data/file").stdout == "kept\n"
    raise_claim(k8s, "640Mi")
    wait_until("df follows", lambda: blocks_kib(k8s, "web") > before * 1.8, 150)
    wait_until("the claim says so", lambda: sizes(k8s) == ("640Mi", "640Mi", "640Mi"))
    assert k8s.shell("web", "cat /data/file").stdout == "kept\n"
    assert k8s.uid("pod", "web") == pod_uid


def test_a_pod_that_cannot_start_for_it_starts_when_the_expansion_is_given_up(
    k8s: Kubernetes,
) -> None:
    """Also where somebody has lowered the request as far as the API server allows, by which
    Kubernetes alone undoes nothing."""
    k8s.claim(size="64Mi")
    k8s.pod("writer")
    k8s.shell("writer", "echo kept > /data/file && sync")
    k8s.delete("pod", "writer")
    raise_claim(k8s, TOO_LARGE)
    wait_for_volume(k8s, TOO_LARGE)
    k8s.pod("web", wait=False)
    k8s.event("web", "FailedMount", "cancel-expansion", 150)
    raise_claim(k8s, "65Mi")

    cancel(k8s)

    k8s.running("web", 150)
    assert k8s.shell("web", "cat /data/file").stdout == "kept\n"
    assert sizes(k8s) == ("64Mi", "64Mi", "64Mi")
    k8s.delete("pod", "web")
    raise_claim(k8s, "128Mi")
    wait_for_volume(k8s, "128Mi")
    k8s.pod("web")
    wait_until("the claim says so", lambda: sizes(k8s) == ("128Mi", "128Mi", "128Mi"))
    assert blocks_kib(k8s, "web") > 110 << 10
    assert k8s.shell("web", "cat /data/file").stdout == "kept\n"


def test_an_expansion_that_fits_is_not_given_up(k8s: Kubernetes) -> None:
    k8s.claim(size="64Mi")
    k8s.pod("web")
    k8s.delete("pod", "web")
    raise_claim(k8s, "128Mi")
    wait_for_volume(k8s, "128Mi")

    done = flexvol("cancel-expansion", "data", "-n", k8s.namespace)

    assert done.returncode == 1
    assert "pool default has room for" in done.stderr
    assert "nothing was changed" in done.stderr
    assert sizes(k8s) == ("128Mi", "64Mi", "128Mi")
    told = cancel(k8s, "--even-if-it-fits")
    assert "The most that fits now: kubectl -n" in told
    assert sizes(k8s) == ("64Mi", "64Mi", "64Mi")


def test_killed_after_any_change_it_goes_on_when_it_is_run_again(
    k8s: Kubernetes, campaign: bool
) -> None:
    """After every other kill kube-controller-manager starts anew, too, and looks at every claim; in
    a campaign there is a round with it and one without it."""
    kills = [(number, number % 2 == 0) for number in range(1, CHANGES + 1)]
    if campaign:
        kills = [(number, restarts) for restarts in (False, True) for number, _ in kills]
    k8s.claim(size="64Mi")
    k8s.pod("web")
    k8s.shell("web", "echo kept > /data/file && sync")
    for number, restarts in kills:
        raise_claim(k8s, TOO_LARGE)
        wait_for_volume(k8s, TOO_LARGE)
        module = ["-m", "tests.cluster.killed_cancellation"]
        words = [str(KUBECONFIG), f"{k8s.namespace}/data", str(number)]
        killed = subprocess.run(
            [*NETWORK, sys.executable, *module, *words],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
        if restarts:
            k8s.cluster.restart("kube-controller-manager")

        wait_until("the expansion is cancelled", lambda: is_cancelled(k8s), 180)
        # kubelet may have to write the last of them, for which it has a minute or two.
        wait_until(
            f"the sizes are true, killed after change {number}",
            lambda: sizes(k8s) == ("64Mi", "64Mi", "64Mi"),
            180,
        )
        wait_until("no trace is left", lambda: traces(k8s) == [])
    k8s.delete("pod", "web")
    k8s.pod("again")
    assert k8s.shell("again", "cat /data/file").stdout == "kept\n"
