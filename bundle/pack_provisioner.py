"""Builds dist/provisioner with shiv: the provisioner side and its pinned dependencies, the same bytes every time.

Compiled extensions are left out (PyYAML works without), so one file serves every Python from 3.10 on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from bundle import environment

ROOT = Path(__file__).resolve().parent.parent
CONTENTS = ("protocol.py", "process.py", "caller.py", "table.py", "provisioner.py", "controller")
EPOCH = "315532800"  # 1980-01-01, the earliest date a zip can hold


def build(target: Path) -> None:
    """Writes the zipapp to `target`, replacing it in one step."""
    target.parent.mkdir(exist_ok=True)
    python = environment.python()
    with tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch, "site")
        environment.install(python, [ROOT / "bundle/requirements.txt"], "--target", str(site), "--no-compile")
        _make_reproducible(site)
        for entry in CONTENTS:
            source = ROOT / entry
            if source.is_dir():
                shutil.copytree(source, site / entry, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, site)
        aside = Path(scratch, "provisioner")
        line = [
            python,
            "-m",
            "shiv",
            "--site-packages",
            site,
            "--output-file",
            aside,
            "--entry-point",
            "provisioner:start",
        ]
        line += ["--python", "/usr/bin/env python3", "--compressed", "--reproducible", "--no-modify"]
        settings = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PYTHONHASHSEED": "0"}
        subprocess.run([str(word) for word in line], check=True, env=settings)
        shutil.copy(aside, target.with_name("." + target.name))
    os.replace(target.with_name("." + target.name), target)


def _make_reproducible(site: Path) -> None:
    """Leaves out what depends on the machine that builds."""
    for path in list(site.rglob("*")):
        if path.suffix in (".so", ".pyc") or path.name in (
            "RECORD",
            "WHEEL",
            "INSTALLER",
            "REQUESTED",
            "direct_url.json",
        ):
            path.unlink()
    shutil.rmtree(site / "bin", ignore_errors=True)


if __name__ == "__main__":
    build(ROOT / "dist/provisioner")
