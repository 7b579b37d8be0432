"""Killed at every system call that changes something, each callout converges when it is called
again, as kubelet and the provisioner call it: nothing written before is lost, and nothing is left
behind.

Without --campaign the calls that mkfs and the like make are a sample. Those of the driver itself
are all on this kernel, and every third on a kernel that lacks some calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node.cases import CASES, kill_everywhere, needs_stepper
from tests.node.killing import LACKING, deny
from tests.node.nodes import Node

pytestmark = needs_stepper

EVERY_ON_OTHER_KERNELS = 3


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
    every = 1
    if denied:
        deny(node, denied)
        every = EVERY_ON_OTHER_KERNELS
    record_property(
        "kill points",
        kill_everywhere(name, CASES[name](node), tmp_path, campaign, every),
    )
