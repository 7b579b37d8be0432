"""No account of ours may write a kind of object without a policy that says which of them, and no
policy can be off: each has its binding, and knows an account by its rights and not by its name.
What the policies let through is tested on a real API server (tests/cluster/test_policy.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.controller import modes

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
BASE = [DEPLOY / folder for folder in (".", "shared", "shared/account", "secrets", "snapshots")]
# Drivers of one's own: those that ./build.sh new-driver writes, and the examples.
SKELETONS = [ROOT / "bundle/skeleton" / mode / "deploy" for mode in ("node", "shared")]
OWN = [*SKELETONS, ROOT / "examples/deploy/nfs", ROOT / "examples/lvm"]
Object = dict[str, Any]
OPERATIONS = {"create": "CREATE", "update": "UPDATE", "patch": "UPDATE", "delete": "DELETE"}
# Whoever may read this subresource may use it.
CONNECTED = "pods/exec"
# To use a security context is no writing.
OPENSHIFT = ["security.openshift.io"]
# A Lease only decides which of our own instances works.
WITHOUT_POLICY = {"leases"}
OBEYS = "authorizer.group('flexvol').resource('policies').name('{0}').check('obey').allowed()"
IGNORES = "!authorizer.group('flexvol').resource('policies').name('{0}').check('ignore').allowed()"


def text_of(file: Path) -> str:
    """The drivers of the skeletons have one name, and here that of their mode."""
    mode = file.parents[1].name if file.parent in SKELETONS else ""
    return file.read_text().replace("mydriver", f"{mode}driver")


def manifests(folders: list[Path]) -> list[Object]:
    texts = [text_of(file) for folder in folders for file in folder.glob("*.yaml")]
    return [
        one for text in texts for one in yaml.safe_load_all(text) if one["kind"] != "Kustomization"
    ]


ALL = manifests(BASE + OWN)


def of_kind(*kinds: str) -> list[Object]:
    return [one for one in ALL if one["kind"] in kinds]


ACCOUNTS = sorted(one["metadata"]["name"] for one in of_kind("ServiceAccount"))
OWN_ACCOUNTS = [name for name in ACCOUNTS if name.startswith("flexvol-driver-")]
POLICIES = {one["metadata"]["name"]: one["spec"] for one in of_kind("ValidatingAdmissionPolicy")}


def rules_of(account: str) -> list[Object]:
    """All that an account may do, by whatever binding."""
    roles = {(one["kind"], one["metadata"]["name"]): one for one in of_kind("Role", "ClusterRole")}
    bound = [
        (one["roleRef"]["kind"], one["roleRef"]["name"])
        for one in of_kind("RoleBinding", "ClusterRoleBinding")
        if account in [subject["name"] for subject in one["subjects"]]
    ]
    return [rule for key in bound for rule in roles[key]["rules"]]


def obeyed(account: str) -> set[str]:
    """The words of the policies that hold for an account."""
    return {
        name
        for rule in rules_of(account)
        if rule["apiGroups"] == ["flexvol"] and "obey" in rule["verbs"]
        for name in rule["resourceNames"]
    }


def condition(policy: Object) -> str:
    (only,) = policy["matchConditions"]
    return str(only["expression"])


def covered(account: str, resource: str, verb: str) -> bool:
    """Whether a policy for the account looks at such a request."""
    operation = "CONNECT" if resource == CONNECTED else OPERATIONS[verb]
    for policy in POLICIES.values():
        holds = any(OBEYS.format(name) in condition(policy) for name in obeyed(account))
        for rule in policy["matchConstraints"]["resourceRules"] if holds else []:
            if resource in rule["resources"] and operation in rule["operations"]:
                return True
    return False


@pytest.mark.parametrize("account", ACCOUNTS)
def test_each_right_to_write_has_a_policy(account: str) -> None:
    writes = {
        (resource, verb)
        for rule in rules_of(account)
        if rule["apiGroups"] not in (["flexvol"], OPENSHIFT)
        for resource in rule["resources"]
        for verb in set(rule["verbs"]) - {"get", "list", "watch"}
    }

    assert writes
    assert {
        one for one in writes if one[0] not in WITHOUT_POLICY and not covered(account, *one)
    } == set()
    assert not [rule for rule in rules_of(account) if "*" in str(rule)]


@pytest.mark.parametrize("account", ACCOUNTS)
def test_each_account_obeys_the_policies_of_its_own_word(account: str) -> None:
    words = {"node", "shared"} if account in OWN_ACCOUNTS else {account.removeprefix("flexvol-")}

    (word,) = obeyed(account)

    assert word in words


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_each_policy_is_bound_fails_closed_and_knows_accounts_by_their_rights(name: str) -> None:
    policy = POLICIES[name]
    bindings = [
        one["spec"]
        for one in of_kind("ValidatingAdmissionPolicyBinding")
        if one["spec"]["policyName"] == name
    ]
    account = name.split("-")[1]

    assert [one["validationActions"] for one in bindings] == [["Deny"]]
    assert policy["failurePolicy"] == "Fail"
    assert " ".join(condition(policy).split()) == (
        "request.userInfo.username.startsWith('system:serviceaccount:') && "
        f"{OBEYS.format(account)} && {IGNORES.format(account)}"
    )
    assert "flexvol-node" not in condition(policy)
    assert bool(policy.get("paramKind")) == ("paramRef" in bindings[0])


def test_the_nodes_serve_the_provisioners_of_the_classes_that_come_with_them() -> None:
    (served,) = [
        one for one in of_kind("ClusterRole") if one["metadata"]["name"] == "flexvol-served"
    ]
    (rule,) = served["rules"]

    classes = [one for one in manifests(BASE) if one["kind"] == "StorageClass"]
    assert set(rule["resourceNames"]) == {one["provisioner"] for one in classes}


def named(account: str, verb: str, resource: str) -> list[str]:
    return [
        name
        for rule in rules_of(account)
        if rule["verbs"] == [verb] and rule["resources"] == [resource]
        for name in rule["resourceNames"]
    ]


IN_SHARED_MODE = [account for account in ACCOUNTS if obeyed(account) == {"shared"}]


def argument(deployment: Object, name: str) -> str:
    """The value of an argument of the provisioner in the pods of a Deployment."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (value,) = [
        word.partition("=")[2] for word in container["args"] if word.startswith(f"--{name}=")
    ]
    return str(value)


@pytest.mark.parametrize("account", IN_SHARED_MODE)
def test_an_account_of_shared_mode_is_that_of_one_deployment_and_serves_what_is_of_it(
    account: str,
) -> None:
    (deployment,) = [
        one
        for one in of_kind("Deployment")
        if one["spec"]["template"]["spec"]["serviceAccountName"] == account
    ]
    vendor, name = argument(deployment, "driver").split("/")

    assert named(account, "serve", "identities") == [argument(deployment, "identity")]
    assert named(account, "serve", "provisioners") == [f"{name}.{vendor}"]


def test_no_two_accounts_serve_the_same() -> None:
    """But that for the cluster's duties, which deletes no storage."""
    accounts = sorted({*ACCOUNTS} - {"flexvol-cluster"})
    for what, least in (("identities", len(IN_SHARED_MODE)), ("provisioners", len(OWN_ACCOUNTS))):
        served = [name for account in accounts for name in named(account, "serve", what)]
        assert 1 < least <= len(set(served)) == len(served), what


@pytest.mark.parametrize("account", OWN_ACCOUNTS)
def test_the_pods_of_a_driver_of_ones_own_that_have_a_token_have_its_account(account: str) -> None:
    name = account.removeprefix("flexvol-driver-")
    pods = [
        one["spec"]["template"]["spec"]
        for one in of_kind("Deployment", "DaemonSet")
        if one["metadata"]["name"] == account
    ]
    with_token = [pod for pod in pods if pod.get("automountServiceAccountToken", True)]

    assert [pod["serviceAccountName"] for pod in with_token] == [account]
    assert named(account, "serve", "provisioners") == [f"{name}.flexvol"]


@pytest.mark.parametrize("account", sorted({*IN_SHARED_MODE} - {"flexvol-shared"}))
def test_a_driver_of_ones_own_changes_no_lease_but_its_own(account: str) -> None:
    (provisioner,) = named(account, "serve", "provisioners")
    rules = [rule for rule in rules_of(account) if rule["resources"] == ["leases"]]

    assert [rule["verbs"] for rule in rules if "resourceNames" not in rule] == [["create"]]
    assert [rule["resourceNames"] for rule in rules if "resourceNames" in rule] == [
        [f"{modes.SHARED_LEASE}-{provisioner}"]
    ]


def test_each_account_is_in_the_namespace_in_which_its_bindings_look_for_it() -> None:
    """kustomize's `namespace` changes both only if they were alike before it."""
    accounts = {
        (one["metadata"]["name"], one["metadata"].get("namespace"))
        for one in of_kind("ServiceAccount")
    }
    subjects = {
        (subject["name"], subject["namespace"])
        for one in of_kind("RoleBinding", "ClusterRoleBinding")
        for subject in one["subjects"]
    }

    assert subjects == accounts


def test_the_component_without_policies_takes_both_kinds_away() -> None:
    component = yaml.safe_load((DEPLOY / "without-policies/kustomization.yaml").read_text())
    kinds = {one["kind"] for one in ALL if one["apiVersion"].startswith("admissionregistration")}

    assert component["kind"] == "Component"
    assert {one["target"]["kind"] for one in component["patches"]} == kinds
