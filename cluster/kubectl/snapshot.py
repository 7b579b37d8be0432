"""Keeps what the volume of a claim holds now, for new claims to begin with; --list shows it.

Of a volume in use it is as after a power cut, and possible if its pool's file system has reflinks;
else no pod may use it. A new claim of the same namespace gets the data by the annotation
flexvol/from-snapshot. On the node itself, `loop snapshot` freezes the file system for it."""

from __future__ import annotations

import argparse
import sys

from cluster.controller import cluster
from cluster.controller.identity import node_of
from cluster.controller.inventory import SNAPSHOT, Row
from cluster.controller.storage import PLUGIN_DIRECTORY, executable
from cluster.kubectl import by_provisioner, claims, nodes
from cluster.kubectl.delete.choosing import Place, choose, place_arguments
from cluster.kubectl.delete.deletion import Deletion
from cluster.kubectl.inventory.look import look
from shared import protocol
from shared.table import aligned, human_bytes, is_deletion_confirmed, printable

_SILENCE_SECONDS = 3600.0  # a copy of many blocks says nothing on its way
_HEADINGS = ("SNAPSHOT", "OF", "CLAIM", "NODE", "SIZE", "USED", "MADE", "ITS SOURCE WAS")


def arguments(parser: argparse.ArgumentParser) -> None:
    claims.arguments(parser, is_needed=False)
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="by default the volume's name and the time (UTC)"
    )
    parser.add_argument(
        "--keep", type=int, metavar="N", help="then delete the volume's oldest snapshots beyond N"
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="show the snapshots of CLAIM, or all; each volume's oldest first",
    )
    parser.add_argument(
        "--delete",
        metavar="NAME",
        help="delete that snapshot, and do nothing else; a terminal is asked first",
    )
    place_arguments(parser)
    parser.add_argument("--yes", action="store_true", help="with --delete: do not ask")


def only_reads(settings: argparse.Namespace) -> bool:
    return bool(settings.list)


def run(api: cluster.Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    if settings.delete is not None:
        is_clear = settings.claim is None and not settings.list
    else:
        is_clear = settings.list or settings.claim is not None
    if not is_clear:
        print("give a CLAIM, --list, or --delete NAME", file=sys.stderr)
        return 2
    if settings.list:
        return _list(api, drivers, settings)
    if settings.delete is not None:
        return _delete(api, drivers, settings)
    return _make(api, drivers, settings)


def _make(api: cluster.Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    claim = claims.get(api, settings)
    volume, driver = claims.volume_of(api, claim, drivers)
    pod = nodes.get(api, settings.namespace, node_of(volume, drivers)).pod
    line = [
        executable(PLUGIN_DIRECTORY, driver),
        "snapshot",
        *([f"--keep={settings.keep}"] if settings.keep is not None else []),
    ]
    if volume.pool_name:
        line.append(f"--pool={volume.pool_name}")
    line += ["--", volume.name, *([settings.name] if settings.name else [])]
    status, said, errors = api.execute(pod, line, seconds=_SILENCE_SECONDS)
    sys.stdout.write(said.decode(errors="replace"))
    sys.stderr.write(errors)
    return status


def _list(api: cluster.Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    rows, _, silent = look(api, settings.namespace, settings.driver)
    snapshots = [row for row in rows if row.state == SNAPSHOT]
    if settings.claim is not None:
        named = {settings.claim, "/".join(claims.names(settings))}
        snapshots = of_claim(named, snapshots, rows)
    if snapshots:
        print(aligned(_HEADINGS, [_cells(row) for row in sorted(snapshots, key=_order)]))
    else:
        print(_no_snapshots(settings))
    for (node, _driver), why in sorted(silent.items()):
        print(f"what node {node or '-'} has is not known: {why}", file=sys.stderr)
    return 1 if silent else 0


def _no_snapshots(settings: argparse.Namespace) -> str:
    if settings.claim is None:
        return "there are no snapshots"
    claim = "/".join(claims.names(settings))
    also = "" if "/" in settings.claim else f", nor of a volume {settings.claim}"
    return f"there are no snapshots of the claim {claim}{also}"


def of_claim(named: set[str], snapshots: list[Row], rows: list[Row]) -> list[Row]:
    """The snapshots of the claim's volume, whosever that was then, and those that were made for a
    claim of that name. named: what the word may mean: NAMESPACE/NAME, and the name of a PV."""
    volumes = {row.name for row in rows if row.claim in named and row.state != SNAPSHOT}
    return [
        row for row in snapshots if row.claim in named or row.entry.get("source") in volumes | named
    ]


def _order(row: Row) -> tuple[str, str, int, str, str]:
    """By source, and then as --keep deletes them."""
    number = row.entry.get("number")
    source, created = (str(row.entry.get(key, "")) for key in ("source", "created"))
    return row.node, source, number if isinstance(number, int) else 0, created, row.name


def _cells(row: Row) -> list[str]:
    entry = row.entry
    sizes = [entry.get(key) for key in ("sizeBytes", "usedBytes")]
    cells = [
        row.name,
        entry.get("source"),
        row.claim,
        row.node,
        *(human_bytes(size) if isinstance(size, int) else "?" for size in sizes),
        entry.get("created"),
        entry.get("taken"),
    ]
    return [printable(str(cell or "-")) for cell in cells]


def _delete(api: cluster.Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    """Asks only at a terminal, as `loop snapshot --delete` on a node does."""
    rows, listed, silent = look(api, settings.namespace, settings.driver)
    place = Place(settings.node, settings.pool)
    chosen = choose(settings.delete, place, rows, silent)
    if chosen.state != SNAPSHOT:
        raise protocol.InvalidArgument(
            f"{chosen.name} is no snapshot: it is {chosen.state}; see: kubectl flexvol snapshot "
            "--list"
        )
    served = by_provisioner({*drivers.values(), *(driver for _, driver in listed)})
    deletion = Deletion(api, settings.namespace, rows, served)
    deletion.check_all([chosen])
    if not settings.yes and sys.stdin is not None and sys.stdin.isatty():
        print(aligned(_HEADINGS, [_cells(chosen)]))
        if not is_deletion_confirmed():
            return 1
    return deletion.delete_all([chosen])
