"""Of monitoring, security, upgrade-and-uninstall, scale, kubectl-plugin, deprecation-and-exit,
your-own-driver, contract, architecture and contributing."""

from __future__ import annotations

PLUGINS = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
PLAYGROUND = "tests/playground/test_playground.py::"
SECRETS = "tests/cluster/test_secrets.py::"
INVENTORY = "tests/cluster/test_inventory.py::"
OWN_DRIVER = (
    "tests/cluster/test_own_driver.py"
    "::test_the_commands_of_the_page_bring_a_driver_of_ones_own_to_a_pod"
)
LIFE = "tests/unit/bundle/test_build.py::test_the_example_driver_lives_through_a_volumes_life"
RIGHTS = "tests/cluster/test_rights.py::test_each_command_needs_the_rights_that_the_table_gives_it"

TESTS = {
    "./build.sh new-driver": OWN_DRIVER,
    "./build.sh test drivers/quota": OWN_DRIVER,
    "./build.sh image --driver": OWN_DRIVER,
    "kubectl apply -k drivers": OWN_DRIVER,
    "kubectl exec quota": OWN_DRIVER,
    "./build.sh build --driver": LIFE,
    "vgcreate data": "tests/vm/test_lvm.py::node",
    "vgchange --addtag flexvol data": "tests/vm/test_lvm.py::node",
    "dist/flexvol provision": LIFE,
    "dist/flexvol delete": LIFE,
    "kubectl apply -k deploy/monitoring/operator": "tests/cluster/test_operator_objects.py"
    "::test_one_command_gives_the_operator_its_objects_and_grafana_the_dashboard",
    "kubectl apply -k deploy/secrets": SECRETS
    + "test_without_the_rights_it_is_said_what_to_apply_and_with_them_all_is_well",
    "kubectl -n vault create rolebinding": SECRETS
    + "test_a_pods_driver_gets_the_secret_that_its_class_names",
    "install dist/provisioner": "tests/cluster/conftest.py::ask",
    "kubectl flexvol inventory": INVENTORY
    + "test_every_volume_is_shown_with_its_state_and_anything_wrong_is_an_exit_status",
    "kubectl flexvol explain": INVENTORY
    + "test_explain_says_that_a_claim_waits_for_a_pod_and_then_where_its_volume_is",
    "kubectl flexvol release": RIGHTS,
    "kubectl flexvol uninstall": RIGHTS,
    "kubectl flexvol delete": INVENTORY
    + "test_every_volume_is_shown_with_its_state_and_anything_wrong_is_an_exit_status",
    "kubectl delete -k": PLAYGROUND + "test_uninstalling_as_the_readme_says_leaves_an_empty_pool",
    "dist/provisioner uninstall": PLAYGROUND
    + "test_uninstalling_as_the_readme_says_leaves_an_empty_pool",
    f"'{PLUGINS}/flexvol~loop/loop' uninstall": PLAYGROUND
    + "test_uninstalling_as_the_readme_says_leaves_an_empty_pool",
    "dist/flexvol help --schema": "tests/node/test_by_hand.py"
    "::test_help_prints_the_schemas_of_a_callout_or_of_all",
    "dist/flexvol --help": "tests/node/test_by_hand.py::test_help_names_every_command_and_callout",
}
