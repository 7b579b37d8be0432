"""What `kubectl flexvol snapshot --list` shows, and which words go together."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from cluster.controller import inventory
from cluster.controller.inventory import Row
from cluster.kubectl import snapshot


def row(name: str, source: str, claim: str, state: str = inventory.SNAPSHOT, **more: Any) -> Row:
    entry = {"name": name, "source": source, **more}
    return Row(name, "node1", "flexvol/loop", claim, [], state, "", "", entry)


VOLUME = row("pvc-1", "", "shop/data", inventory.BOUND)
SNAPSHOTS = [
    row("z", "pvc-1", "shop/data", number=1),
    row("of-an-older-owner", "pvc-1", "shop/old", number=2),
    row("of-an-older-volume", "pvc-0", "shop/data", number=1),
    row("of-another", "pvc-2", "shop/other", number=1),
]


def test_a_claims_snapshots_are_those_of_its_volume_and_those_made_for_its_name() -> None:
    found = snapshot.of_claim({"data", "shop/data"}, SNAPSHOTS, [VOLUME, *SNAPSHOTS])

    assert [one.name for one in found] == ["z", "of-an-older-owner", "of-an-older-volume"]
    of_volume = snapshot.of_claim({"pvc-2", "default/pvc-2"}, SNAPSHOTS, [VOLUME, *SNAPSHOTS])
    assert [one.name for one in of_volume] == ["of-another"]


def test_snapshots_are_in_the_order_in_which_keep_deletes_them_whatever_the_clock_showed() -> None:
    shuffled = [
        row("third", "pvc-1", "", number=3, created="2020-01-01T00:00:00Z"),
        row("first", "pvc-1", "", number=1, created="2026-01-01T00:00:00Z"),
        row("damaged", "pvc-1", "", error="its image is missing"),
        row("other", "pvc-0", "", number=9),
    ]

    ordered = sorted(shuffled, key=snapshot._order)

    assert [one.name for one in ordered] == ["other", "damaged", "first", "third"]


@pytest.mark.parametrize(
    "words",
    [[], ["data", "--delete", "x"], ["--list", "--delete", "x"]],
    ids=["nothing to do", "a claim beside a deletion", "a list beside a deletion"],
)
def test_words_that_do_not_go_together_are_a_mistake(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    snapshot.arguments(parser)
    unused: Any = None

    assert snapshot.run(unused, {}, parser.parse_args(words)) == 2
    assert "give a CLAIM, --list, or --delete NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param([], "there are no snapshots", id="of anything"),
        pytest.param(
            ["data"],
            "there are no snapshots of the claim default/data, nor of a volume data",
            id="of a claim of the context's namespace, which may not be the one that is meant",
        ),
        pytest.param(
            ["shop/data"], "there are no snapshots of the claim shop/data", id="of a claim"
        ),
    ],
)
def test_where_there_is_none_it_is_said_what_was_looked_for(words: list[str], said: str) -> None:
    parser = argparse.ArgumentParser()
    snapshot.arguments(parser)
    settings = parser.parse_args([*words, "--list", "--namespace", "default"])

    assert snapshot._no_snapshots(settings) == said
