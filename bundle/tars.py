"""Tar archives that are the same bytes for the same files, whoever makes them and when."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

EPOCH = 315532800  # 1980-01-01 in seconds, the earliest date a zip can hold
_PROGRAM_MODE = 0o755
_FILE_MODE = 0o644


def write_gzip(target: Path, files: Mapping[str, Path]) -> None:
    """Writes a .tar.gz, replacing it in one step.

    :param files: what the archive has, by the name in it; links are followed"""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mtime = EPOCH
            entry.mode = _PROGRAM_MODE if os.access(path, os.X_OK) else _FILE_MODE
            tar.addfile(entry, io.BytesIO(content))
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    with aside.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=EPOCH) as packed:
        packed.write(unpacked.getvalue())
    os.replace(aside, target)


def rewrite(source: Path, target: Path) -> None:
    """Copies a tar archive of files and directories, sorted by name, with the same time, owner and
    mode for all of them."""
    with tarfile.open(source) as made, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for old in sorted(made.getmembers(), key=lambda member: member.name):
            entry = tarfile.TarInfo(old.name)
            entry.type = old.type
            entry.size = old.size
            entry.mtime = EPOCH
            entry.mode = _PROGRAM_MODE if old.isdir() else _FILE_MODE
            tar.addfile(entry, made.extractfile(old))
