"""What a callout costs, as ratios within one run: against starting Python, and against mount -o
loop. Needs root.

The driver is measured as it is installed, with the bytecode of the node's Python in it, and as it
is built, without."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from node.host import config
from shared import table

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
POOL = f"bench-{os.getpid()}"
CLAIM = {
    "kubernetes.io/pvc.namespace": "b",
    "kubernetes.io/pvc.name": "b",
    "kubernetes.io/pvc.uid": "u",
}


def run(*line: object) -> str:
    return subprocess.run(
        [str(word) for word in line], check=True, capture_output=True, text=True
    ).stdout


def ok(*line: object) -> dict[str, object]:
    """Runs a callout that must succeed."""
    reply: dict[str, object] = json.loads(run(*line))
    if reply["status"] != "Success":
        raise SystemExit(f"{line[1]}: {reply}")
    return reply


def measure(rounds: int, work: Path) -> list[tuple[str, float]]:
    """Medians in seconds, of all things in turn, so that the machine's moods are shared by them."""
    built = ROOT / "dist/flexvol"
    installed = work / "loop"
    shutil.copy(built, installed)
    run(installed, "precompile")
    run(built, "pool", "init", POOL, "--reserve", "0")
    pool_id = json.loads(Path(f"/var/lib/flexvol/{POOL}/pool.json").read_text())["id"]
    name = {"kubernetes.io/pvOrVolumeName": "pvc-bench"}
    ok(
        installed,
        "provision",
        json.dumps({**name, **CLAIM, "pool": POOL, "requestBytes": str(64 << 20)}),
    )
    place = {"pool": POOL, "poolId": pool_id}
    options = json.dumps(
        {
            **name,
            **place,
            "kubernetes.io/readwrite": "rw",
            "kubernetes.io/pod.namespace": "b",
        }
    )
    plain = work / "image"
    shutil.copy(f"/var/lib/flexvol/{POOL}/pvc-bench/image", plain)
    first = work / "first"
    second = work / "second"

    def directories() -> None:
        first.mkdir(exist_ok=True)
        second.mkdir(exist_ok=True)

    steps: list[tuple[str, Callable[[], object]]] = [
        ("python3 -I -S -c pass", lambda: run(PYTHON, "-I", "-S", "-c", "pass")),
        ("init, as built", lambda: ok(built, "init")),
        ("init, installed", lambda: ok(installed, "init")),
        ("mount -o loop", lambda: run("mount", "-o", "loop", plain, first)),
        ("umount of it", lambda: run("umount", first)),
        ("mount, first pod", lambda: ok(installed, "mount", first, options)),
        ("mount, second pod", lambda: ok(installed, "mount", second, options)),
        ("unmount, second pod", lambda: ok(installed, "unmount", second)),
        ("unmount, last pod", lambda: ok(installed, "unmount", first)),
    ]
    times: dict[str, list[float]] = {title: [] for title, _ in steps}
    for _ in range(rounds):
        directories()
        for title, step in steps:
            began = time.perf_counter()
            step()
            times[title].append(time.perf_counter() - began)
    ok(installed, "delete", json.dumps({**name, **CLAIM, **place}))
    return [(title, statistics.median(taken)) for title, taken in times.items()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="build.sh bench callouts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    work = Path(tempfile.mkdtemp(prefix="flexvol-bench-"))
    try:
        medians = measure(rounds, work)
    finally:
        shutil.rmtree(work)
        shutil.rmtree(f"/var/lib/flexvol/{POOL}", ignore_errors=True)
        config.forget(POOL)
    python = dict(medians)["python3 -I -S -c pass"]
    loop = dict(medians)["mount -o loop"]
    rows = [
        [title, f"{taken * 1000:.1f}", f"{taken / python:.1f}", f"{taken / loop:.1f}"]
        for title, taken in medians
    ]
    print(table.aligned(["what", "median ms", "x python", "x mount -o loop"], rows))
