"""Whether this machine can build programs from Go modules: Kubernetes, and helm."""

from __future__ import annotations

import os
import shutil


def missing() -> str:
    """Why nothing can be built, as words behind "and"; empty if it can.

    FLEXVOL_NO_BUILD=1 forbids to build: a build takes minutes, and whoever runs
    `./build.sh test --quick` waits for three."""
    if os.environ.get("FLEXVOL_NO_BUILD") == "1":
        return "this run builds nothing: unset FLEXVOL_NO_BUILD"
    if shutil.which("go") is None:
        return "go is missing: install Go 1.26"
    return ""
