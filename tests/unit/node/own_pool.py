"""A pool of a test: a real directory with real records, whose images are empty files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from node.drivers.loop import pool_settings, records
from node.drivers.loop.pool_settings import PoolSettings
from node.drivers.loop.pools import Pool
from node.drivers.loop.records import Record
from node.host import files
from shared.options import Claim

RECORD = records.new(
    name="pvc-1",
    size_bytes=1 << 20,
    sector_bytes=4096,
    fs_type="ext4",
    thick=False,
    owner=Claim("web", "data", "uid-1"),
    cluster_uid="cluster",
    class_name="fast",
    reclaim_policy="Delete",
    access_modes=["ReadWriteOnce"],
    mount_options=[],
    created="2026-01-01T00:00:00Z",
    blank=True,
)


def open_pool(path: Path) -> Pool:
    """Makes a pool with nothing in reserve, and opens it."""
    directory = files.open_directory(str(path))
    pool_settings.make(directory, "0", 1.0)
    return Pool("default", str(path), directory, PoolSettings("id", "0", 1.0, False))


def add(pool: Pool, directory: str, **changes: Any) -> Record:
    """Makes a volume in a directory of that name. changes: of RECORD. Returns its record."""
    record = RECORD.changed(**changes)
    place = Path(pool.path, directory)
    place.mkdir()
    (place / "image").touch()
    with files.open_below(pool.directory, directory) as opened:
        records.write(opened, record)
    return record


def entries(pool: Pool) -> set[str]:
    """The names in the pool's directory but the pool's own."""
    return {path.name for path in Path(pool.path).iterdir()} - {"pool.json", ".locks"}
