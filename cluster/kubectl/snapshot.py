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
from cluster.controller.objects import Volume
from cluster.controller.storage import PLUGIN_DIRECTORY, executable
from cluster.kubectl import by_provisioner, claims, nodes
from cluster.kubectl.delete.choosing import Place, choose, place_arguments
from cluster.kubectl.delete.deletion import Deletion
from cluster.kubectl.inventory.look import look
from shared import protocol
from shared.table import aligned, human_bytes, is_deletion_confirmed, printable

# How long the command on the node may print nothing: while it copies many blocks.
_SILENCE_SECONDS = 3600.0
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


def run(
    api: cluster.Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    if not _is_clear(settings):
        print("give a CLAIM, --list, or --delete NAME", file=sys.stderr)
        return 2
    if settings.list:
        return _list(api, settings)
    if settings.delete is not None:
        return _delete(api, drivers, settings)
    return _make(api, drivers, settings)


def _is_clear(settings: argparse.Namespace) -> bool:
    """Whether the words say one thing to do."""
    if settings.delete is not None:
        return settings.claim is None and not settings.list
    return bool(settings.list) or settings.claim is not None


def _make(
    api: cluster.Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    claim = claims.get(api, settings)
    volume, driver = claims.volume_of(api, claim, drivers)
    node = nodes.get(api, settings.namespace, node_of(volume, drivers))
    line = [executable(PLUGIN_DIRECTORY, driver), *_words(volume, settings)]
    pod = node.pod_of(driver).name
    status, printed, errors = api.execute(pod, line, seconds=_SILENCE_SECONDS)
    sys.stdout.write(printed.decode(errors="replace"))
    sys.stderr.write(errors)
    return status


def _words(volume: Volume, settings: argparse.Namespace) -> list[str]:
    """The command on the node."""
    words = ["snapshot"]
    if settings.keep is not None:
        words.append(f"--keep={settings.keep}")
    if volume.pool_name:
        words.append(f"--pool={volume.pool_name}")
    words += ["--", volume.name]
    if settings.name:
        words.append(settings.name)
    return words


def _list(api: cluster.Cluster, settings: argparse.Namespace) -> int:
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


def of_claim(
    named: set[str],
    snapshots: list[Row],
    rows: list[Row],
) -> list[Row]:
    """The snapshots of the claim's volume, whichever claim that was of then, and those that were
    made for a claim of that name. named: what the word may mean: NAMESPACE/NAME, and the name of a
    PV."""
    volumes = {row.name for row in rows if row.claim in named and row.state != SNAPSHOT}
    sources = volumes | named
    return [row for row in snapshots if row.claim in named or row.entry.get("source") in sources]


def _order(row: Row) -> tuple[str, str, int, str, str]:
    """By source, and then as --keep deletes them."""
    number = row.entry.get("number")
    return (
        row.node,
        str(row.entry.get("source", "")),
        number if isinstance(number, int) else 0,
        str(row.entry.get("created", "")),
        row.name,
    )


def _cells(row: Row) -> list[str]:
    entry = row.entry
    cells = [
        row.name,
        entry.get("source"),
        row.claim,
        row.node,
        _size(entry.get("sizeBytes")),
        _size(entry.get("usedBytes")),
        entry.get("created"),
        entry.get("taken"),
    ]
    return [printable(str(cell or "-")) for cell in cells]


def _size(number: object) -> str:
    return human_bytes(number) if isinstance(number, int) else "?"


def _delete(
    api: cluster.Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    """Asks only at a terminal, as `loop snapshot --delete` on a node does."""
    rows, listed, silent = look(api, settings.namespace, settings.driver)
    chosen = choose(settings.delete, Place(settings.node, settings.pool), rows, silent)
    if chosen.state != SNAPSHOT:
        raise protocol.InvalidArgument(
            f"{chosen.name} is no snapshot: it is {chosen.state}; see: kubectl "
            "flexvol snapshot --list"
        )
    answered = {driver for _, driver in listed}
    served = by_provisioner(sorted({*drivers.values(), *answered}))
    deletion = Deletion(api, settings.namespace, rows, served)
    deletion.check_all([chosen])
    if not settings.yes and sys.stdin is not None and sys.stdin.isatty():
        print(aligned(_HEADINGS, [_cells(chosen)]))
        if not is_deletion_confirmed():
            return 1
    return deletion.delete_all([chosen])
