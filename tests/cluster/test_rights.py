"""A person needs the rights that the documents' table gives for each command of `kubectl flexvol`:
the table is read, given to accounts, and the commands are run with these."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests import documents
from tests.cluster.claims import TOO_LARGE, forge, raise_claim, wait_for_volume
from tests.cluster.commands import run_command
from tests.cluster.kube.cluster import STATE
from tests.cluster.namespaces import Kubernetes, Object
from tests.cluster.own_provisioner import bound, claim
from tests.waiting import wait_until

GROUPS = {"storageclasses": "storage.k8s.io"}
RBAC = "rbac.authorization.k8s.io"
EVERYONE = "all commands"


class Rights(NamedTuple):
    """Rules of a ClusterRole, and of a Role in flexvol's namespace."""

    everywhere: list[Object]
    inside: list[Object]


def table() -> dict[str, Rights]:
    """The documents' table, by command."""
    found = {}
    rows = documents.table("`kubectl flexvol`")
    del rows["`kubectl flexvol`"]
    for commands, (everywhere, inside) in rows.items():
        for command in re.findall(r"`([^`]+)`", commands) or [commands]:
            found[command] = Rights(rules(everywhere), rules(inside))
    return found


def rules(cell: str) -> list[Object]:
    """ "pods, nodes: get, list; events: create" as RBAC has it."""
    found = []
    for part in filter(None, cell.split("; ")):
        resources, verbs = (words.split(", ") for words in part.split(": "))
        for resource in resources:
            group = GROUPS.get(resource, "")
            found.append({"apiGroups": [group], "resources": [resource], "verbs": verbs})
    return found


class Person:
    """An account with the rights of the table's row for all commands, and of the command's own."""

    def __init__(self, k8s: Kubernetes, command: str, here: Path) -> None:
        self._k8s = k8s
        self._kubeconfig = here / f"{command}.kubeconfig"
        settings = json.loads((STATE / "admin.kubeconfig").read_text())
        token = k8s.run("create", "token", command).stdout.strip()
        settings["users"] = [{"name": "u", "user": {"token": token}}]
        self._kubeconfig.write_text(json.dumps(settings))

    def run(self, *words: str, status: int = 0) -> str:
        """What the command printed. It ended with that status."""
        done = run_command(*words, kubeconfig=self._kubeconfig)
        assert done.returncode == status, done
        return done.stdout + done.stderr

    def may(self, *words: str, status: int = 0) -> str:
        printed = self.run(*words, status=status)
        assert "forbidden" not in printed and "403" not in printed, printed
        return printed


def objects(k8s: Kubernetes, command: str, rights: Rights) -> list[Object]:
    """An account of the test's namespace, its roles, and what gives them to the account."""
    subject = {"kind": "ServiceAccount", "name": command, "namespace": k8s.namespace}
    account = {"name": command, "namespace": k8s.namespace}
    found: list[Object] = [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": account,
        }
    ]
    name = f"{k8s.namespace}-{command}"
    for kind, metadata, given in (
        ("ClusterRole", {"name": name}, rights.everywhere),
        ("Role", {"name": name, "namespace": "flexvol"}, rights.inside),
    ):
        about = {"apiVersion": f"{RBAC}/v1", "metadata": metadata}
        reference = {"apiGroup": RBAC, "kind": kind, "name": name}
        found.append({**about, "kind": kind, "rules": given})
        binding = {"roleRef": reference, "subjects": [subject]}
        found.append({**about, "kind": f"{kind}Binding", **binding})
    return found


@pytest.fixture
def persons(k8s: Kubernetes, tmp_path: Path) -> Iterator[dict[str, Person]]:
    rows = table()
    everyone = rows[EVERYONE]
    made: list[Object] = []
    for command, own in rows.items():
        both = Rights(everyone.everywhere + own.everywhere, everyone.inside + own.inside)
        made += objects(k8s, command.replace(" ", "-"), both)
    text = yaml.safe_dump_all(made)
    k8s.cluster.kubectl("apply", "-f", "-", input=text, capture_output=True)
    # This is the last account that got rights.
    account = f"system:serviceaccount:{k8s.namespace}:release"

    def may(*words: str) -> bool:
        return k8s.run("auth", "can-i", *words, f"--as={account}", check=False).returncode == 0

    everywhere = ("create", "pods", "--subresource=eviction")
    wait_until("the rights hold everywhere", lambda: may(*everywhere))
    inside = ("create", "pods", "--subresource=exec", "-n", "flexvol")
    wait_until("the rights hold in flexvol's namespace", lambda: may(*inside))
    yield {command: Person(k8s, command.replace(" ", "-"), tmp_path) for command in rows}
    k8s.cluster.kubectl("delete", "-f", "-", input=text, capture_output=True)


def test_each_command_needs_the_rights_that_the_table_gives_it(
    k8s: Kubernetes, persons: dict[str, Person]
) -> None:
    data = f"{k8s.namespace}/data"
    film = f"film-{k8s.namespace}"
    k8s.apply(claim("data", "flexvol-loop", "node1"))
    volume = bound(k8s, "data")["data"]
    reader = persons[EVERYONE]
    assert volume in reader.may("inventory")
    assert "it is bound" in reader.may("explain", data)
    reader.may("snapshot", data, f"kept-{volume}")
    assert volume in reader.may("snapshot", "--list")
    reader.may("snapshot", "--delete", f"kept-{volume}")
    assert volume in reader.may("uninstall", status=1)
    assert "cannot get resource" in reader.run("move", volume, "--to", "node2", status=1)

    words = ("static", film, "--node=node1", "--size=32Mi", "--class=flexvol-loop", "--apply")
    assert "cannot create resource" in reader.run(*words, status=1)
    persons["static"].may(*words)
    k8s.run("delete", "pv", film)
    persons["adopt"].may("adopt", film, "--claim", f"{k8s.namespace}/later")
    k8s.run("delete", "pv", film)
    assert f"{film}: deleted" in persons["delete"].may("delete", film, "--yes")

    persons["move"].may("move", volume, "--to", "node2")
    raise_claim(k8s, TOO_LARGE)
    wait_for_volume(k8s, TOO_LARGE)
    persons["cancel-expansion"].may("cancel-expansion", data)

    gone = forge(k8s, "gone", "node9", claim="gone")
    persons["release"].may("release", gone)
    k8s.until_gone("pv", gone)
