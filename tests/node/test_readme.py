"""Every command in the README is run: those for a node here, as they stand there; the others by
tests named here."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.node.nodes import MIB, Node
from tests.sources import ROOT

PLUGINS = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
PLAYGROUND = "tests/playground/test_playground.py::"
SECRETS = "tests/cluster/test_secrets.py::"
INVENTORY = "tests/cluster/test_inventory.py::"
DRILL = (
    "tests/cluster/test_disaster.py"
    "::test_after_the_loss_of_etcd_adopted_volumes_have_their_data_and_nothing_was_collected"
)
MOVE = "tests/cluster/test_move.py::"
SHOWN = PLAYGROUND + "test_it_shows_a_claim_becoming_a_mounted_volume"
TIMER = (
    "tests/node/test_trim.py::test_systemd_understands_the_units_and_they_run_the_installed_driver"
)
# The beginning of a command -> the test that runs it.
ELSEWHERE = {
    "./build.sh demo": "tests/node/test_demo.py::test_the_demo_tells_the_whole_life_and_cleans_up",
    "./build.sh test": "tests/unit/test_layers.py::test_the_sources_keep",  # itself a part of it
    "./build.sh image": SHOWN,
    "./build.sh build --driver": "tests/unit/bundle/test_build.py"
    "::test_the_example_driver_lives_through_a_volumes_life",
    "ctr -n k8s.io images import": SHOWN,
    "cat > kustomization.yaml": PLAYGROUND + "test_the_readmes_kustomization_is_what_runs",
    "kubectl apply -k .": PLAYGROUND + "test_the_readmes_kustomization_is_what_runs",
    "kubectl -n flexvol rollout": "tests/cluster/test_disturbances.py"
    "::test_the_driver_is_updated_while_pods_run",
    "kubectl label node": "tests/cluster/test_disturbances.py"
    "::test_the_driver_is_updated_while_pods_run",
    "kubectl apply -k deploy/example": SHOWN,
    "kubectl wait": SHOWN,
    "kubectl apply -k deploy/secrets": SECRETS
    + "test_without_the_rights_it_is_said_what_to_apply_and_with_them_all_is_well",
    "kubectl -n vault create rolebinding": SECRETS
    + "test_a_pods_driver_gets_the_secret_that_its_class_names",
    "kubectl exec web": SHOWN,
    "kubectl -n flexvol exec deployment/flexvol-cluster": "tests/cluster/test_gone_nodes.py"
    "::test_a_volume_of_a_gone_node_is_reported_and_released_by_the_command_and_no_other_is",
    "install dist/provisioner": "tests/cluster/conftest.py::ask",
    "kubectl flexvol inventory": INVENTORY
    + "test_every_volume_is_shown_with_its_state_and_anything_wrong_is_an_exit_status",
    "kubectl flexvol explain": INVENTORY
    + "test_explain_says_that_a_claim_waits_for_a_pod_and_then_where_its_volume_is",
    "kubectl cordon node1": MOVE
    + "test_a_drained_node_gives_all_its_volumes_to_another_but_those_in_use",
    "kubectl taint node": "tests/cluster/test_carried.py"
    "::test_a_node_that_has_another_name_keeps_its_claims_and_their_data_by_one_command",
    "kubectl flexvol move --all": MOVE
    + "test_a_drained_node_gives_all_its_volumes_to_another_but_those_in_use",
    "kubectl flexvol move pvc": MOVE
    + "test_a_volume_is_moved_when_no_pod_uses_it_and_its_pods_find_their_data_on_the_other_node",
    "kubectl flexvol cancel-expansion": "tests/cluster/test_expansion.py"
    "::test_an_expansion_that_does_not_fit_is_given_up_under_a_running_pod",
    "kubectl flexvol delete": INVENTORY
    + "test_every_volume_is_shown_with_its_state_and_anything_wrong_is_an_exit_status",
    "kubectl flexvol snapshot": "tests/cluster/test_clone.py"
    "::test_a_snapshot_of_a_running_pods_claim_comes_back_in_a_new_claim",
    "kubectl delete -k": PLAYGROUND + "test_uninstalling_as_the_readme_says_leaves_an_empty_pool",
    "kubectl flexvol adopt": DRILL,
    "kubectl apply -f application.yaml": DRILL,
    "kubectl patch pv": DRILL,
    "kubectl flexvol static": "tests/cluster/test_static.py"
    "::test_a_claim_selects_a_static_volume_which_is_its_own_then_and_stays_when_it_goes",
    "dist/provisioner uninstall": PLAYGROUND
    + "test_uninstalling_as_the_readme_says_leaves_an_empty_pool",
    f"'{PLUGINS}/flexvol~loop/loop' uninstall": PLAYGROUND
    + "test_uninstalling_as_the_readme_says_leaves_an_empty_pool",
    "cp deploy/systemd": TIMER,
    "systemctl": TIMER,
    "dist/flexvol --help": "tests/node/test_by_hand.py::test_help_names_every_command_and_callout",
}


def commands() -> list[str]:
    """The lines of the README's console blocks that a person types, without their comments."""
    blocks = re.findall(
        r"```console\n(.*?)```",
        (ROOT / "README.md").read_text(),
        re.DOTALL,
    )
    lines = [
        line[2:] for block in blocks for line in block.splitlines() if line[:2] in ("$ ", "# ")
    ]
    return [re.sub(r"\s{2,}# .*", "", line) for line in lines]


def here() -> list[str]:
    return [line for line in commands() if not any(line.startswith(known) for known in ELSEWHERE)]


def test_the_tests_that_run_the_others_are_there() -> None:
    assert [
        known for known in ELSEWHERE if not any(line.startswith(known) for line in commands())
    ] == []
    for test in ELSEWHERE.values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), test


@pytest.fixture
def installed(node: Node, tmp_path: Path) -> Node:
    """A node with the driver installed, a disk, and a volume that no pod uses, with the README's
    name."""
    Path(PLUGINS).mkdir(parents=True, exist_ok=True)
    assert node.enter("mount", "-t", "tmpfs", "none", PLUGINS).returncode == 0
    node.command("install", PLUGINS)
    disk = tmp_path / "disk"
    for line in (["truncate", "-s", str(128 * MIB), disk], ["mkfs.ext4", "-q", disk]):
        assert node.enter(*map(str, line)).returncode == 0
    (volume,) = set(re.findall(r"pvc-[0-9a-f-]{36}", " ".join(commands())))
    node.provision(volume)
    (node.mount("web", volume) / "kept").write_text("kept")
    node.unmount("web", volume)
    node.until_free(volume)
    return node


def test_each_command_for_a_node_does_what_it_says(installed: Node, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    lines = here()
    assert len(lines) >= 8
    script = ["set -ex", "mount -t tmpfs none /mnt"]
    for line in lines:
        # The machine has no second disk.
        device = line.replace("/dev/sdb1", f"-o loop {tmp_path}/disk")
        script.append(device)
        if line.startswith("mount -o loop"):
            script.append("cat /mnt/kept && umount /mnt")
    done = installed.enter("sh", "-c", "\n".join(script))

    told = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert "made pool fast" in told
    assert "Nothing is wrong." in told
    assert "imported volume" in told and "into pool fast" in told
    assert "VOLUME" in told and "mounts here" in told
    assert told.rstrip().endswith("kept")
    assert (
        "pool fast at /var/lib/flexvol/fast takes no new volumes" in told and "given back" in told
    )
