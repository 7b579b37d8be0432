"""Of clone-and-snapshot, move-and-drain, backup, disaster-recovery, lost-etcd and
troubleshooting."""

from __future__ import annotations

BACKUP = (
    "tests/cluster/test_backup.py"
    "::test_a_backup_beside_the_running_application_comes_back_in_a_new_claim"
)
DRILL = (
    "tests/cluster/test_disaster.py"
    "::test_after_the_loss_of_etcd_adopted_volumes_have_their_data_and_nothing_was_collected"
)
PAGES = "tests/cluster/test_disaster_pages.py::"
OLD_AND_NEW = PAGES + "test_a_claim_that_has_a_new_volume_gets_its_old_one_and_no_data_is_lost"
PLUGIN = PAGES + "test_the_plugin_comes_out_of_a_pod_and_works"
FROZEN = "tests/node/test_backup_page.py::test_a_frozen_volume_is_copied_whole_while_its_pod_runs"
REPAIRED = (
    "tests/node/test_damaged_page.py"
    "::test_a_volume_whose_errors_need_a_decision_works_again_by_the_steps_of_the_page"
)
RELEASED = (
    "tests/cluster/test_gone_nodes.py"
    "::test_a_volume_of_a_gone_node_is_reported_and_released_by_the_command_and_no_other_is"
)
MOVE = "tests/cluster/test_move.py::"
SCHEDULED = (
    "tests/cluster/test_scheduled_snapshots.py"
    "::test_the_job_makes_a_snapshot_and_deletes_the_oldest_beyond_its_number"
)

TESTS = {
    "kubectl -n flexvol exec deployment/flexvol-cluster -- cat": PLUGIN,
    "install kubectl-flexvol": PLUGIN,
    "kubectl -n shop delete pvc": OLD_AND_NEW,
    "kubectl wait --for=jsonpath": OLD_AND_NEW,
    "kubectl patch pv pvc-2c5e1f0d": OLD_AND_NEW,
    "kubectl flexvol adopt pvc": OLD_AND_NEW,
    "kubectl -n flexvol exec deployment/flexvol-cluster -- provisioner": RELEASED,
    "kubectl -n shop create job": BACKUP,
    "kubectl -n shop wait": BACKUP,
    "kubectl -n shop logs": BACKUP,
    "kubectl -n shop apply -f restore.yaml": BACKUP,
    "kubectl -n shop delete job": BACKUP,
    "kubectl -n shop patch cronjob": BACKUP,
    "fsfreeze": FROZEN,
    "cp --sparse=always": REPAIRED,
    "e2fsck": REPAIRED,
    "mount -o loop,ro": REPAIRED,
    "umount /media": REPAIRED,
    "kubectl -n flexvol create job": SCHEDULED,
    "kubectl -n flexvol wait": SCHEDULED,
    "kubectl -n flexvol logs": SCHEDULED,
    "kubectl -n flexvol delete job": SCHEDULED,
    "kubectl delete pv": "tests/cluster/test_inventory.py"
    "::test_every_volume_is_shown_with_its_state_and_anything_wrong_is_an_exit_status",
    "kubectl drain node1": MOVE
    + "test_the_drain_of_the_page_ends_all_pods_but_those_the_move_needs",
    "kubectl taint node": "tests/cluster/test_carried.py"
    "::test_a_node_that_has_another_name_keeps_its_claims_and_their_data_by_one_command",
    "kubectl flexvol move --all": MOVE
    + "test_a_drained_node_gives_all_its_volumes_to_another_but_those_in_use",
    "kubectl flexvol move pvc": MOVE
    + "test_a_volume_is_moved_when_no_pod_uses_it_and_its_pods_find_their_data_on_the_other_node",
    "kubectl flexvol snapshot": "tests/cluster/test_clone.py"
    "::test_a_snapshot_of_a_running_pods_claim_comes_back_in_a_new_claim",
    "kubectl flexvol adopt": DRILL,
    "kubectl apply -f application.yaml": DRILL,
    "kubectl patch pv": DRILL,
    "kubectl flexvol static": "tests/cluster/test_static.py"
    "::test_a_claim_selects_a_static_volume_which_is_its_own_then_and_stays_when_it_goes",
}
