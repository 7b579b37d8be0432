"""Keeps what the volume of a claim holds now, for new claims to begin with.

Of a volume in use it is as after a power cut, and possible if its pool's file system has reflinks;
else no pod may use it. A new claim of the same namespace gets the data by the annotation
flexvol/from-snapshot. On the node itself, `loop snapshot` freezes the file system for it."""

from __future__ import annotations

import argparse
import sys

from administration import claims, nodes
from controller import cluster, decide
from controller.storage import PLUGIN_DIRECTORY, executable

_SILENCE_SECONDS = 3600.0  # a copy of many blocks says nothing on its way


def arguments(parser: argparse.ArgumentParser) -> None:
    claims.arguments(parser)
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="by default the volume's name and the time (UTC)"
    )
    parser.add_argument(
        "--keep", type=int, metavar="N", help="then delete the volume's oldest snapshots beyond N"
    )


def run(api: cluster.Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    claim = claims.get(api, settings)
    volume, driver = claims.volume_of(api, claim, drivers)
    pod = nodes.get(api, settings.namespace, decide.node_of(volume, drivers)).pod
    line = [
        executable(PLUGIN_DIRECTORY, driver),
        "snapshot",
        *([f"--keep={settings.keep}"] if settings.keep is not None else []),
    ]
    pool = (volume["spec"]["flexVolume"].get("options") or {}).get("pool")
    if pool:
        line.append(f"--pool={pool}")
    line += ["--", volume["metadata"]["name"], *([settings.name] if settings.name else [])]
    status, said, errors = api.execute(pod, line, seconds=_SILENCE_SECONDS)
    sys.stdout.write(said.decode(errors="replace"))
    sys.stderr.write(errors)
    return status
