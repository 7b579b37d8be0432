"""All commands of a node have one shape, and the list of them is made from the files."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from node import commands

FOLDER = Path(commands.__file__).parent


def test_each_file_of_the_folder_is_a_command() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}

    assert set(commands.names()) == {module.rstrip("_") for module in modules}


@pytest.mark.parametrize("name", commands.names())
def test_a_command_has_help_arguments_run_and_says_whether_it_needs_root(name: str) -> None:
    file = name if (FOLDER / f"{name}.py").exists() else f"{name}_"
    command = importlib.import_module(f"node.commands.{file}")

    parser = commands.parser(name)

    assert parser.description == command.__doc__
    assert isinstance(command.NEEDS_ROOT, bool)
    assert callable(command.run)


@pytest.mark.parametrize("name", commands.names())
def test_the_first_line_of_a_commands_help_is_a_sentence_that_fits_the_list(name: str) -> None:
    summary = commands.summary(name)

    assert summary[0].isupper()
    assert summary.endswith(".")
    assert len(summary) <= 86  # with the name before it, within 100 columns


def test_arguments_that_do_not_go_together_are_answered_with_the_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        commands.main("pool", [])

    assert exit_.value.code == 2
    output = capsys.readouterr().err
    assert output.startswith("usage: flexvol pool")
    assert "say what to do: init, list" in output


def test_a_command_that_needs_root_says_so_to_anyone_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    assert commands.main("status", []) == 1
    assert capsys.readouterr().err == "flexvol status: only root can do that; run it with sudo\n"


def test_the_help_of_a_command_is_the_same_by_both_ways(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        commands.main("trim", ["--help"])
    asked = capsys.readouterr().out

    assert commands.main("help", ["trim"]) == 0
    assert capsys.readouterr().out == asked


def test_a_driver_is_chosen_by_its_name() -> None:
    parser = argparse.ArgumentParser()

    commands.add_driver(parser)

    assert parser.parse_args([]).driver == "loop"
    assert parser.parse_args(["--driver", "directory"]).driver == "directory"
