"""docs/contract.md and docs/contract.json say of the contract what the sources say."""

from __future__ import annotations

import json
import re

import pytest

from node.sanity import catalog
from node.sanity.check import Check
from shared import schemas
from shared.protocol import CALLOUTS, Capabilities
from tests import documents
from tests.sources import ROOT

PAGE = ROOT / "docs/contract.md"
TEXT = PAGE.read_text()
SCHEMAS = ROOT / "docs/contract.json"
DEFINITIONS = schemas.document()["$defs"]
# The page's words for the arguments.
ARGUMENTS = {
    "options": "OPTIONS",
    "node": "NODE",
    "volume": "VOLUME",
    "device": "DEVICE",
    "device_dir": "DIRECTORY",
    "mount_dir": "DIRECTORY",
    "new_bytes": "NEW",
    "old_bytes": "OLD",
}
# A trap keeps its number, because the checks of the suite and people name the number.
TRAPS = {
    1: "leaves something mounted",
    2: "mounts nothing",
    3: "No callout cleans up",
    4: "mounts elsewhere",
    5: "second mount",
    6: "getvolumename",
    7: "isattached",
    8: "not stated",
    9: "Not supported",
    10: "stderr",
    11: "driver's directory",
    12: "init",
    13: "the PV's name",
    14: "new size",
    15: "mountOptions",
    16: "a path and nothing else",
    17: "Secrets",
    18: "killed",
    19: "at once",
    20: "pile up",
    21: "`ro`",
    22: "arguments of a child",
    23: "128 KiB",
    24: "environment",
    25: "author of a pod",
    26: "fsGroup",
    27: "is dead",
    28: "changed while volumes are in use",
    29: "no PV",
    30: "ReadWriteOnce",
    31: "makes a file system",
    32: "is repeated after a success",
    33: "capacityBytes",
    34: "reads their options",
    35: "is gone fails",
    36: "were edited",
    37: "passing trouble",
}


def spans(cells: str) -> set[str]:
    """The code spans of a text."""
    return set(re.findall(r"`([^`]+)`", cells))


def first_spans(heading: str) -> set[str]:
    """The code spans in the first column of the table with that heading."""
    return set().union(*map(spans, documents.table(heading)))


def test_the_schemas_are_those_of_the_sources() -> None:
    assert json.loads(SCHEMAS.read_text()) == schemas.document(), (
        "write it anew: dist/flexvol help --schema > docs/contract.json"
    )


@pytest.mark.parametrize("callout", CALLOUTS)
def test_each_callout_is_explained_with_its_arguments(callout: str) -> None:
    words = [callout, *(ARGUMENTS[name] for name in CALLOUTS[callout].arguments)]

    assert f"- **`{' '.join(words)}`**" in TEXT


@pytest.mark.parametrize(
    "callout", [name for name, row in CALLOUTS.items() if row.caller == "provisioner"]
)
def test_the_time_limits_of_the_provisioner_are_told(callout: str) -> None:
    assert re.search(rf"\*\*`{callout}[A-Z ]*`\*\*, {CALLOUTS[callout].seconds} s:", TEXT)


def test_all_keys_of_a_reply_are_told() -> None:
    assert first_spans("key of a reply") == set(DEFINITIONS[schemas.ANY_REPLY]["properties"])


def test_all_capabilities_are_told_with_what_holds_where_they_are_left_out() -> None:
    told = documents.table("capability")
    left_out = {name.strip("`"): cells[0] for name, cells in told.items() if "`" in name}

    # pkg/volume/flexvolume/driver-call.go, defaultCapabilities
    assert left_out == {
        **dict.fromkeys(Capabilities.NAMES, "true"),
        "supportsMetrics": "false",
    }


def test_all_keys_of_the_options_are_told() -> None:
    known = set(DEFINITIONS["mount.request"]["properties"])

    assert first_spans("key of the options") == known | {"kubernetes.io/secret/KEY"}


def test_each_trap_keeps_its_number() -> None:
    told = {
        int(number): cells[0]
        for number, cells in documents.table("trap").items()
        if number.isdigit()
    }

    assert list(told) == list(TRAPS)
    for number, words in TRAPS.items():
        assert words in told[number], f"trap {number}"


@pytest.mark.parametrize("check", catalog.CHECKS, ids=lambda check: check.name)
def test_the_traps_of_a_check_are_on_the_page(check: Check) -> None:
    assert set(check.traps) <= set(TRAPS)
