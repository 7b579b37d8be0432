"""Of README.md, install, quickstart, storage-classes, pools and expansion."""

from __future__ import annotations

PLAYGROUND = "tests/playground/test_playground.py::"
SHOWN = PLAYGROUND + "test_it_shows_a_claim_becoming_a_mounted_volume"
QUICKSTART = "tests/cluster/test_quickstart.py::"
POOLS_PAGE = "tests/node/test_pools_page.py::"
FSTAB = POOLS_PAGE + "test_systemd_mounts_the_disk_of_the_page_and_starts_the_node_without_it"
OLD_DISK = (
    POOLS_PAGE + "test_the_pool_of_an_old_root_disk_is_found_under_another_name_with_its_volumes"
)
TIMER = (
    "tests/node/test_trim.py::test_systemd_understands_the_units_and_they_run_the_installed_driver"
)

TESTS = {
    "./build.sh demo": "tests/node/test_demo.py::test_the_demo_tells_the_whole_life_and_cleans_up",
    "./build.sh image": SHOWN,
    "ctr -n k8s.io images import": SHOWN,
    "cat > kustomization.yaml": PLAYGROUND + "test_the_readmes_kustomization_is_what_runs",
    "kubectl apply -k .": PLAYGROUND + "test_the_readmes_kustomization_is_what_runs",
    "kubectl -n flexvol rollout": "tests/cluster/test_disturbances.py"
    "::test_the_driver_is_updated_while_pods_run",
    "kubectl label node": "tests/cluster/test_disturbances.py"
    "::test_the_driver_is_updated_while_pods_run",
    "kubectl apply -k deploy/example": SHOWN,
    "kubectl wait": SHOWN,
    "kubectl exec web": SHOWN,
    "kubectl annotate storageclass": QUICKSTART
    + "test_a_claim_that_names_no_class_gets_the_default_class",
    "kubectl patch pvc": QUICKSTART + "test_a_claim_grows_by_the_command_of_the_page",
    "kubectl flexvol cancel-expansion": "tests/cluster/test_expansion.py"
    "::test_an_expansion_that_does_not_fit_is_given_up_under_a_running_pod",
    "cp deploy/systemd": TIMER,
    "systemctl daemon-reload && systemctl enable": TIMER,
    "systemctl daemon-reload": FSTAB,
    "mkdir -p /mnt/old-root": OLD_DISK,
    "mount /dev/sdd1": OLD_DISK,
    "mount --bind /mnt/old-root": OLD_DISK,
    "./loop pool init old": OLD_DISK,
}
