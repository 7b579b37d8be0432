"""What all commands of a person have in common: the cluster that is meant, words that are misspelt,
and a reader who leaves."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flexvol
from cluster import kubectl
from cluster.controller import cluster
from cluster.kubectl import claims
from node.commands import trim
from shared import protocol

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def kubeconfig(tmp_path: Path) -> str:
    """Two clusters, as a person has who works with a test cluster too."""

    def context(name: str, **more: str) -> dict[str, Any]:
        return {"name": name, "context": {"cluster": f"cluster-{name}", "user": "me", **more}}

    servers = {"one": "https://10.0.0.1:6443", "two": "https://10.0.0.2:6443"}
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": f"cluster-{name}", "cluster": {"server": server}}
                    for name, server in servers.items()
                ],
                "users": [{"name": "me", "user": {"token": "t"}}],
                "contexts": [context("one"), context("two", namespace="shop")],
                "current-context": "one",
            }
        )
    )
    return str(path)


@pytest.mark.parametrize(
    ("context", "name", "namespace"),
    [
        pytest.param(
            None,
            "cluster-one (https://10.0.0.1:6443), context one",
            "default",
            id="the current context, which names no namespace",
        ),
        pytest.param(
            "two",
            "cluster-two (https://10.0.0.2:6443), context two",
            "shop",
            id="another context, which names one",
        ),
    ],
)
def test_the_cluster_and_the_namespace_are_those_of_the_context(
    kubeconfig: str, context: str | None, name: str, namespace: str
) -> None:
    api = cluster.Cluster(kubeconfig, context)

    assert (api.name, api.namespace) == (name, namespace)


def test_a_context_that_is_not_there_is_said_with_those_that_are(kubeconfig: str) -> None:
    with pytest.raises(cluster.Unreachable, match="no context three; it has: one, two"):
        cluster.Cluster(kubeconfig, "three")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(None, "there is no such file; name one with --kubeconfig", id="no file"),
        pytest.param("", "is empty", id="an empty file"),
        pytest.param("a: [b", "expected ',' or ']'", id="no YAML"),
        pytest.param("hello", "it has not the form of one", id="YAML of something else"),
        pytest.param("contexts: 3", "it has not the form of one", id="no list of contexts"),
        pytest.param(
            "contexts: [{name: one}]", "no current context; name one.*: one", id="none is current"
        ),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)

    with pytest.raises(cluster.Unreachable, match=f"(?s){path}.*{said}"):
        cluster.Cluster(str(path))


def test_of_several_files_the_first_ones_current_context_counts_as_for_kubectl(
    kubeconfig: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client takes the last one's: then kubectl and its plugin were about two clusters."""
    other = tmp_path / "other"
    other.write_text(Path(kubeconfig).read_text().replace('context": "one', 'context": "two'))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{kubeconfig}:{other}")

    assert "context one" in cluster.Cluster(None).name
    assert "context two" in cluster.Cluster(None, "two").name


def test_in_a_pod_a_kubeconfig_comes_before_the_service_account(
    kubeconfig: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As for kubectl, which is the other hand of the same person."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    assert "context one" in cluster.Cluster(None).name

    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(cluster.Unreachable, match="the pod's service account cannot be used"):
        cluster.Cluster(None)


def parsed(command: str, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    kubectl._command(command).arguments(parser)
    kubectl._add_cluster(parser)
    return parser.parse_args(words)


def test_a_claims_namespace_is_kubectls_and_flexvols_has_a_word_of_its_own(kubeconfig: str) -> None:
    plain = parsed("explain", "data", "--kubeconfig", kubeconfig, "--context", "two")
    said = parsed("explain", "data", "--namespace", "bank", "--kubeconfig", kubeconfig)
    installed = parsed("inventory", "--namespace", "storage")

    for settings in (plain, said):
        kubectl._connect(settings)

    assert (plain.claim_namespace, plain.namespace) == ("shop", "flexvol")
    assert (said.claim_namespace, said.namespace) == ("bank", "flexvol")
    assert installed.namespace == "storage"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("data", ("shop", "data"), id="a name"),
        pytest.param("bank/data", ("bank", "data"), id="a namespace and a name"),
        pytest.param("x" * 253, ("shop", "x" * 253), id="the longest name of a claim"),
    ],
)
def test_a_claim_is_named_as_kubectl_shows_it(words: str, expected: tuple[str, str]) -> None:
    assert claims.named(words, "shop") == expected


@pytest.mark.parametrize("words", ["", "a/", "../secrets/x", "x" * 254, "a b", "x?watch=true"])
def test_what_can_be_no_claims_name_is_asked_for_nowhere(words: str) -> None:
    with pytest.raises(protocol.NotFound, match="there is no claim"):
        claims.named(words, "shop")


READS = {"inventory", "explain", "uninstall"}


@pytest.mark.parametrize("command", kubectl.COMMANDS)
def test_a_command_that_changes_something_says_first_which_cluster_it_is_about(
    command: str,
) -> None:
    module = kubectl._command(command)
    writing = argparse.Namespace(apply=True, dry_run=False, list=None)
    reading = argparse.Namespace(apply=False, dry_run=True)

    assert kubectl._only_reads(module, writing) == (command in READS)
    if command in ("static", "adopt"):
        assert kubectl._only_reads(module, reading)


@pytest.mark.parametrize("command", kubectl.COMMANDS)
def test_the_list_of_commands_has_a_whole_sentence_for_each(command: str) -> None:
    first = str(kubectl._command(command).__doc__).splitlines()[0]

    assert first.endswith(".")


def provisioner(*words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "provisioner.py"), *words]
    return subprocess.run(
        line, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )


def test_a_misspelt_command_is_answered_with_the_one_that_may_be_meant() -> None:
    done = provisioner("inventroy")

    assert done.returncode == 2
    assert "there is no command 'inventroy'; inventory may be meant" in done.stderr


@pytest.mark.parametrize("driver", ["loop", "", "a/b/c", "../loop"])
def test_a_driver_that_has_no_drivers_name_is_refused(driver: str) -> None:
    done = provisioner("inventory", "--driver", driver)

    assert done.returncode == 2
    assert "expected VENDOR/NAME, as in flexvol/loop" in done.stderr


def test_the_cluster_is_said_before_a_command_changes_anything(kubeconfig: str) -> None:
    """Even if the cluster then cannot be reached."""
    Path(kubeconfig).write_text(Path(kubeconfig).read_text().replace("10.0.0.1", "127.0.0.1"))

    changing = provisioner("release", "pv", "--kubeconfig", kubeconfig)
    reading = provisioner("inventory", "--kubeconfig", kubeconfig)

    first = "cluster cluster-one (https://127.0.0.1:6443), context one"
    assert changing.stderr.splitlines()[0] == first
    assert first not in reading.stderr


@pytest.mark.parametrize("words", [("help",), ("inventory", "--help")], ids=" ".join)
def test_a_reader_who_leaves_ends_a_command_quietly(words: tuple[str, ...]) -> None:
    """As head does, which has left here before the first line."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = provisioner(*words, stdout=writer)
    finally:
        os.close(writer)

    assert done.stderr == ""
    assert done.returncode in (0, 141)  # argparse itself swallows what --help meets


def test_a_person_who_stops_a_command_is_told_so_without_a_trace(kubeconfig: str) -> None:
    """While it waits for an API server that has taken the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        text = Path(kubeconfig).read_text()
        Path(kubeconfig).write_text(text.replace("https://10.0.0.1:6443", address))
        line = [sys.executable, str(ROOT / "provisioner.py"), "inventory"]
        with subprocess.Popen(
            [*line, f"--kubeconfig={kubeconfig}"], stderr=subprocess.PIPE, text=True
        ) as running:
            server.settimeout(60)
            with server.accept()[0]:
                running.send_signal(signal.SIGINT)
                _, said = running.communicate(timeout=60)

    assert said.strip().splitlines() == [
        "stopped; what was begun goes on when the same command is run again"
    ]
    assert running.returncode == 130


def test_a_command_on_a_node_that_a_person_stops_ends_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(trim, "NEEDS_ROOT", False)
    monkeypatch.setattr(trim, "run", stopped)

    assert flexvol.main(["loop", "trim"]) == 130
    assert capsys.readouterr().err == "flexvol trim: stopped\n"
