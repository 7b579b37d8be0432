"""Deletes volumes that no claim has any more, archives and snapshots, for good.

What is lost is shown first, and the command asks. Refused is the deletion of a volume that a claim
has or waits for, that a PV keeps ready for a claim, or that cannot be seen. Where the policy Retain
has kept a volume and its PV, the PV gets the policy Delete, and the provisioner deletes both.
Anything else is deleted by the callout of the driver that the provisioner makes, which looks again
whose it is and whether it is in use. A volume whose class archives becomes an archive, which is
deleted by its own name then."""

from __future__ import annotations

import argparse

from cluster.controller.cluster import Cluster
from cluster.controller.inventory import (
    ARCHIVED,
    OF_OTHERS,
    RELEASED,
    SNAPSHOT,
    Row,
)
from cluster.kubectl import by_provisioner
from cluster.kubectl.delete.choosing import Place, choose, place_arguments
from cluster.kubectl.delete.deletion import Deletion
from cluster.kubectl.inventory.look import look
from shared.table import aligned, human_bytes, is_deletion_confirmed, printable

_HEADINGS = ("VOLUME", "NODE", "POOL", "SIZE", "USED", "CLAIM", "WHAT IT IS")
_KINDS = {
    RELEASED: "volume that its PV's policy has kept; its claim is gone",
    OF_OTHERS: "volume of another cluster, whose claims cannot be seen from here",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "volume",
        nargs="+",
        metavar="VOLUME",
        help="a volume, archive or snapshot as inventory shows it; or NAMESPACE/CLAIM: the volume "
        "that this claim has left behind",
    )
    place_arguments(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(
    api: Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    rows, listed, silent = look(api, settings.namespace, settings.driver)
    place = Place(settings.node, settings.pool)
    chosen = [choose(word, place, rows, silent) for word in settings.volume]
    answered = {driver for _, driver in listed}
    served = by_provisioner(sorted({*drivers.values(), *answered}))
    deletion = Deletion(api, settings.namespace, rows, served)
    deletion.check_all(chosen)
    print(aligned(_HEADINGS, [_cells(row) for row in chosen]))
    if not settings.yes and not is_deletion_confirmed():
        return 1
    return deletion.delete_all(chosen)


def _cells(row: Row) -> list[str]:
    sizes = [row.entry.get(key) for key in ("sizeBytes", "usedBytes")]
    cells = [
        row.name,
        row.node or "-",
        str(row.entry.get("pool") or "-"),
        *(human_bytes(size) if isinstance(size, int) else "?" for size in sizes),
        row.claim or "-",
        _about(row),
    ]
    return [printable(cell) for cell in cells]


def _about(row: Row) -> str:
    """What the volume is, for a person who is to decide about it."""
    entry = row.entry
    about = _kind(row)
    if entry.get("created"):
        about += f", made {entry['created']}"
    if entry.get("blank") is True:
        about += ", never mounted"
    if entry.get("error"):
        about += f"; {entry['error']}"
    return about


def _kind(row: Row) -> str:
    if row.state == SNAPSHOT:
        return f"snapshot of {row.entry.get('source')}"
    if row.state == ARCHIVED:
        return f"archive of {row.entry.get('archiveOf')}"
    return _KINDS.get(row.state, "volume without a claim")
