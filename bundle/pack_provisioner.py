"""Builds dist/provisioner with shiv from the provisioner side and its pinned dependencies: the same
bytes for the same sources.

Compiled extensions are left out (PyYAML works without), so one file serves every Python from 3.11
on."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bundle import environment, pack, tars

ROOT = Path(__file__).resolve().parent.parent
CONTENTS = ("provisioner.py", "cluster", "shared")
# The notes in each package about its installation, which differ from machine to machine.
LEFT_OUT = ("RECORD", "WHEEL", "INSTALLER", "REQUESTED", "direct_url.json")


def build(target: Path) -> None:
    """Writes the zipapp to `target`, replacing it in one step."""
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch, "site")
        made = Path(scratch, "provisioner")
        shutil.copytree(_dependencies(), site)
        bytecode = shutil.ignore_patterns("__pycache__")
        for entry in CONTENTS:
            source = ROOT / entry
            if source.is_dir():
                shutil.copytree(source, site / entry, ignore=bytecode)
            else:
                shutil.copy(source, site)
        line = [str(environment.python()), "-m", "shiv"]
        line += ["--site-packages", str(site), "--output-file", str(made)]
        line += ["--entry-point", "provisioner:start", "--python", "/usr/bin/env python3"]
        line += ["--compressed", "--reproducible"]
        settings = {**os.environ, "SOURCE_DATE_EPOCH": str(tars.EPOCH), "PYTHONHASHSEED": "0"}
        subprocess.run(line, check=True, env=settings)
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        _sort(made, aside)
    aside.chmod(0o755)
    os.replace(aside, target)


def _sort(made: Path, target: Path) -> None:
    """Copies the zipapp with its entries in order and with one mode. shiv takes the entries as the
    directory happens to list them, with the modes that the umask left to the files; its start code
    gives an unpacked file the mode of its entry."""
    with zipfile.ZipFile(made) as source, target.open("w+b") as file:
        header_length = min(entry.header_offset for entry in source.infolist())
        file.write(made.read_bytes()[:header_length])
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as copy:
            for entry in sorted(source.infolist(), key=lambda entry: entry.filename):
                content = source.read(entry)
                entry.external_attr = pack.FILE_MODE << 16
                copy.writestr(entry, content)


def _dependencies() -> Path:
    """A directory in the cache with the packages that the requirements name, without the files that
    depend on the machine that builds."""
    requirements = ROOT / "bundle/requirements.txt"
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    target = environment.cache() / f"site-{key}"
    if not target.exists():
        aside = Path(tempfile.mkdtemp(dir=target.parent))
        environment.install(
            environment.python(), [requirements], "--target", str(aside), "--no-compile"
        )
        for path in list(aside.rglob("*")):
            if path.suffix in (".so", ".pyc") or path.name in LEFT_OUT:
                path.unlink()
        shutil.rmtree(aside / "bin", ignore_errors=True)
        aside.chmod(0o755)
        aside.rename(target)
    return target


if __name__ == "__main__":
    build(ROOT / "dist/provisioner")
