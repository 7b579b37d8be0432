"""Driver files that a test has built, as a node has them."""

from __future__ import annotations

import subprocess
from pathlib import Path


def precompile(file: Path) -> None:
    """Gives a built driver the bytecode of its interpreter, as `install` does. Without it each call
    takes three times as long."""
    subprocess.run([file, "precompile"], check=True)
