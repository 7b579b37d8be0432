"""Killed at every system call that changes something, each callout converges when it is called
again, as kubelet and the provisioner call it: nothing written before is lost, and nothing is left
behind.

Without --campaign the calls that mkfs and the like make are a sample. A callout is killed at all
calls of the driver itself with ext4, and at every third with the other file systems and on a kernel
that lacks some calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.cases import CASES, kill_everywhere, needs_stepper
from tests.node.killing import LACKING, deny
from tests.node.nodes import Node

pytestmark = needs_stepper

EVERY = 3


@pytest.mark.parametrize("name", CASES)
def test_killed_at_every_call_it_converges(
    node: Node,
    tmp_path: Path,
    name: str,
    campaign: bool,
    record_property: Callable[[str, object], None],
) -> None:
    denied = next(
        (calls for kernel, calls in LACKING.items() if name.endswith(kernel)),
        None,
    )
    if denied:
        deny(node, denied)
    is_sample = denied or "xfs" in name or "btrfs" in name
    every = EVERY if is_sample else 1
    record_property(
        "kill points",
        kill_everywhere(name, CASES[name](node), tmp_path, campaign, every),
    )
