"""What all commands of a person have in common: the cluster that is meant, words that are misspelt,
and a reader who leaves."""

from __future__ import annotations

import argparse
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import kubectl

ROOT = Path(__file__).resolve().parents[4]


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


# The commands that change nothing.
READS = {"inventory", "explain", "uninstall"}


@pytest.mark.parametrize("command", kubectl.COMMANDS)
def test_a_command_that_changes_something_says_first_which_cluster_it_is_about(
    command: str,
) -> None:
    module = kubectl._command(command)
    writing = argparse.Namespace(apply=True, dry_run=False, list=None)
    reading = argparse.Namespace(apply=False, dry_run=True)

    assert kubectl._only_reads(module, writing) == (command in READS), (
        f"correct READS, or what {command} says of itself"
    )
    if command in ("static", "adopt"):
        assert kubectl._only_reads(module, reading)


def test_each_module_that_can_be_run_as_a_command_is_in_the_list() -> None:
    modules = [module.name for module in pkgutil.iter_modules(kubectl.__path__)]
    commands = [name for name in modules if hasattr(kubectl._command(name), "run")]

    assert {name.replace("_", "-") for name in commands} == set(kubectl.COMMANDS)


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


@pytest.mark.parametrize(
    "driver",
    [
        pytest.param("loop", id="no vendor"),
        pytest.param("", id="nothing"),
        pytest.param("a/b/c", id="three parts"),
        pytest.param("../loop", id="a way to other files"),
    ],
)
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


@pytest.mark.parametrize(
    ("words", "name"),
    [
        pytest.param(["adopt", "--all", "--node="], "node", id="adopt on every node"),
        pytest.param(["inventory", "--node", ""], "node", id="inventory of every node"),
        pytest.param(["release", ""], "volume", id="release of no PV"),
        pytest.param(
            ["move", "--all", "--from=", "--to=b"], "source", id="move from a node without a name"
        ),
        pytest.param(["explain", "data", "-n", ""], "claim-namespace", id="a namespace"),
        pytest.param(["inventory", "--context="], "context", id="a context"),
    ],
)
def test_an_empty_value_is_refused_and_means_nothing_else(words: list[str], name: str) -> None:
    """It is what an unset variable of a shell leaves."""
    done = provisioner(*words)

    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"error: the value of {name} is empty")
