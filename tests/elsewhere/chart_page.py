"""Of chart."""

from __future__ import annotations

CHART = "tests/cluster/test_chart.py::"
TAKEN_OVER = CHART + "test_helm_takes_over_what_kubectl_applied_and_no_pod_starts_anew"
UPGRADED = CHART + "test_an_upgrade_changes_what_the_values_say_while_a_pod_runs_on"
ANEW = CHART + "test_an_uninstall_leaves_volumes_where_a_new_install_finds_them"

TESTS = {
    "kubectl create namespace flexvol": ANEW,
    "kubectl label namespace flexvol": ANEW,
    "helm install": ANEW,
    "helm upgrade flexvol": UPGRADED,
    "helm upgrade --install": TAKEN_OVER,
    "helm uninstall": ANEW,
    "kubectl -n flexvol rollout restart": UPGRADED,
    "kubectl flexvol uninstall": ANEW,
}
