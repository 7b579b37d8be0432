"""What `kubectl flexvol uninstall` says of volumes, and its table in docs."""

from __future__ import annotations

import re

import pytest

from cluster.controller import inventory
from cluster.kubectl import uninstall
from cluster.kubectl.nodes import FlexvolNode, FlexvolPod
from tests import documents


@pytest.mark.parametrize(
    ("drivers", "stays"),
    [
        pytest.param(["flexvol/loop"], "Pools stay, below /var/lib/flexvol.", id="the built-in"),
        pytest.param(["acme/nfs"], "The storage of acme/nfs stays as it is.", id="another"),
    ],
)
def test_what_stays_is_what_the_drivers_have(
    drivers: list[str], stays: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = FlexvolPod("flexvol/flexvol-1", tuple(drivers), "")

    uninstall._print_way_out([FlexvolNode("n1", (pod,))])

    *_, command, last = capsys.readouterr().out.splitlines()
    assert command.endswith(f"/{drivers[0].replace('/', '~')}/{drivers[0].split('/')[1]} uninstall")
    assert last == stays


def states() -> set[str]:
    """The states that a volume of a cluster can have."""
    words = {name: value for name, value in vars(inventory).items() if name.isupper()}
    del words["MOVING"]  # of a driver's entry, not of a row
    del words["LISTED"]  # only without an API server
    return {word for word in words.values() if isinstance(word, str) and word.isalpha()}


def test_a_volume_of_each_state_has_a_remedy() -> None:
    assert set(uninstall.REMEDIES) == states()


def test_the_page_has_each_state_with_the_commands_of_its_remedy() -> None:
    rows = documents.table("its state")
    del rows["its state"]
    remedies = {}
    for cell, (remedy,) in rows.items():
        for state in re.findall(r"`(\w+)`", cell):
            remedies[state] = remedy

    assert set(remedies) == states()
    for state, remedy in uninstall.REMEDIES.items():
        commands = re.findall(r"kubectl flexvol (\w+)|(--[\w-]+)", remedy)
        for words in commands:
            assert max(words) in remedies[state], state
