"""Programs of a test's own in the place of the node's."""

from __future__ import annotations

import os
import subprocess

from tests.node.nodes import Node


def with_tool(node: Node, name: str, script: str) -> None:
    """Puts a program of that name before the machine's own; in the script, `real` is that."""
    directory = node.path("/run/flexvol/bin")
    directory.mkdir(exist_ok=True)
    real = subprocess.run(["which", name], capture_output=True, text=True, check=True)
    tool = directory / name
    tool.write_text(f"#!/bin/sh\nreal={real.stdout.strip()}\n{script}\n")
    tool.chmod(0o755)
    if node.executable[0] != "env":
        path = f"PATH=/run/flexvol/bin:{os.environ['PATH']}"
        node.executable = ["env", path, *node.executable]
