"""The playground shows a claim becoming a mounted volume, stays, refuses a second one, and goes
without a trace.

It is a cluster of its own, so it has its turn before the one of tests/cluster starts.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import documents
from tests.cluster.kube import build, machine
from tests.cluster.kube import cluster as kube
from tests.cluster.kube.node import Node
from tests.cluster.nodes import DRIVER, POOL
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
# The name of a cluster beside this one goes on with a number.
OUR_NAME = re.compile(rf"{kube.STATE.name}(?![0-9])")
pytestmark = pytest.mark.cluster


def kubectl(shown: str, *words: str) -> str:
    """By the command that the playground prints."""
    line = [*shlex.split(alias(shown)), *words]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def playground(*words: str) -> subprocess.CompletedProcess[str]:
    line = ["./build.sh", "playground", *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=3600)


@pytest.fixture(scope="module")
def shown() -> Iterator[str]:
    """What `./build.sh playground` prints; it is up then."""
    lacking = kube.missing()
    if lacking:
        pytest.skip(lacking)
    done = playground()
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield done.stdout
    finally:
        playground("--down")


def test_it_shows_a_claim_becoming_a_mounted_volume(shown: str) -> None:
    assert "pod/web condition met" in shown
    assert "Bound" in shown
    assert "/dev/loop" in shown


def test_the_printed_kubectl_works_and_the_cluster_is_still_there(shown: str) -> None:
    def read() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            f"{alias(shown)} exec web -- cat /data/started",
            shell=True,
            capture_output=True,
            text=True,
            check=False,
        )

    wait_until("the pod has written", lambda: read().stdout)
    done = read()

    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_kubectl_flexvol_works_by_the_printed_lines(shown: str, tmp_path: Path) -> None:
    (install,) = [line for line in shown.splitlines() if "install dist/provisioner" in line]
    *words, target = shlex.split(install)
    plugin = tmp_path / Path(target).name
    subprocess.run([*words, plugin], cwd=ROOT, check=True)
    line = [*shlex.split(alias(shown)), "flexvol", "inventory"]
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    done = subprocess.run(line, env=path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "default/data" in done.stdout


def test_the_printed_shells_are_those_of_the_nodes(shown: str) -> None:
    lines = re.findall(r"^  (nsenter .*) bash +# on (node[12])$", shown, re.MULTILINE)
    assert [name for _, name in lines] == ["node1", "node2"]
    seen = ""
    for line, _ in lines:
        argv = [*shlex.split(line), DRIVER, "status"]
        seen += subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert seen.count("default/data") == 1


def test_the_printed_image_is_one_that_the_nodes_have(shown: str) -> None:
    (image,) = re.findall(r"the image busybox, write (\S+)", shown)
    kubectl(shown, "run", "shell", f"--image={image}", "--", "sleep", "infinity")
    try:
        kubectl(shown, "wait", "--for=condition=Ready", "pod/shell", "--timeout=120s")
    finally:
        kubectl(shown, "delete", "pod", "shell", "--now")


def test_the_readmes_kustomization_is_what_runs(shown: str, tmp_path: Path) -> None:
    """As it stands there; the playground's own differs only in how long a node has to be gone."""
    block = re.search(
        r"\$ cat > kustomization.yaml <<\.\n(.*?)\n\.\n",
        documents.text(),
        re.DOTALL,
    )
    assert block is not None
    (tmp_path / "kustomization.yaml").write_text(block[1])
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")

    lines = kubectl(shown, "apply", "-k", str(tmp_path)).splitlines()

    assert "daemonset.apps/flexvol-node unchanged" in lines
    # kubectl sees policies change whenever it applies them, as the server fills them in.
    changed = [
        line
        for line in lines
        if not line.endswith(" unchanged") and "validatingadmissionpolicy" not in line
    ]
    assert changed == ["deployment.apps/flexvol-cluster configured"]


def test_uninstalling_as_the_readme_says_leaves_an_empty_pool(shown: str) -> None:
    def uninstall() -> subprocess.CompletedProcess[str]:
        line = [*shlex.split(alias(shown))[:2], "dist/provisioner", "uninstall"]
        line += ["--kubeconfig", str(kube.STATE / "admin.kubeconfig")]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)

    refused = uninstall()
    assert refused.returncode == 1 and "default/data" in refused.stdout, refused.stderr
    kubectl(shown, "delete", "-k", "deploy/example", "--wait=true")
    wait_until("nothing needs flexvol any more", lambda: uninstall().returncode == 0)
    assert kubectl(shown, "get", "pv", "-o", "name") == ""
    assert "kubectl delete -k ." in uninstall().stdout
    kubectl(shown, "delete", "-k", "tests/cluster/kube/overlay", "--wait=true")

    for node in (Node(kube.STATE, Path(), 1), Node(kube.STATE, Path(), 2)):
        assert {path.name for path in node.path(POOL).iterdir()} == {"pool.json", ".locks"}
        node.enter(DRIVER, "uninstall", capture_output=True)
        assert not node.path(DRIVER).parent.exists()


def test_down_leaves_nothing(shown: str) -> None:
    done = playground("--down")

    assert done.returncode == 0, done.stderr
    # A device whose file another cluster deletes at this moment cannot be told from one of ours.
    wait_until("nothing is left", lambda: not left_behind())


def test_a_cluster_of_programs_that_one_has_is_undone_when_its_owner_is_killed(
    tmp_path: Path,
) -> None:
    if kube.missing():
        pytest.skip(kube.missing())
    for program in build.PROGRAMS:
        (tmp_path / program).symlink_to(build.programs() / program)
    code = (
        "from tests.cluster.kube import build, cluster; made = "
        "cluster.Cluster(build.programs()); made.up([]); "
        "print('up', flush=True); input()"
    )
    theirs = {**os.environ, "FLEXVOL_KUBE_BIN": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=theirs,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"up\n"
        assert left_behind()

        owner.kill()

    wait_until("nothing is left", lambda: not left_behind())


def alias(shown: str) -> str:
    (line,) = [line for line in shown.splitlines() if "alias kubectl=" in line]
    return line.partition("='")[2].rstrip("'")


def left_behind() -> dict[str, object]:
    """What there is of this cluster on this machine, by kind. Another one may run beside it."""
    namespaces = subprocess.run(
        ["ip", "netns", "list"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    others = loop_devices_of_others()
    # A volume of the playground is a file on the file system of its data.
    number = os.stat(kube.DATA.parent).st_dev
    disk = f"{os.major(number)}:{os.minor(number)}"
    found: dict[str, object] = {
        "state": [str(path) for path in (kube.DATA, kube.STATE) if path.exists()],
        "namespaces": [line for line in namespaces if line.startswith(machine.PREFIX)],
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").glob("*/flexvol-node*")],
        "mounts": [
            line for line in Path("/proc/mounts").read_text().splitlines() if OUR_NAME.search(line)
        ],
        "loop devices": [
            device
            for device in machine.loop_devices()
            if re.search("flexvol-kube|pvc-[0-9a-f]{8}-", str(device["back-file"]))
            and device["back-maj:min"] == disk
            and device["name"] not in others
        ],
        "processes": [
            path for path in Path("/proc").glob("[0-9]*/cmdline") if OUR_NAME.search(_text(path))
        ],
    }
    return {kind: what for kind, what in found.items() if what}


def loop_devices_of_others() -> set[str]:
    directories = kube.DATA.parent.glob(f"{kube.DATA.name}*")
    others = [directory for directory in directories if directory != kube.DATA]
    return {device for other in others for device in machine.loop_devices_of(other)}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # the process ended
        return ""
