"""What `kubectl flexvol uninstall` says of volumes, and its table in docs."""

from __future__ import annotations

import re

from cluster.controller import inventory
from cluster.kubectl import uninstall
from tests import documents


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
