"""Moves a volume that no pod uses to another node, or all volumes of a node elsewhere: a drain.

Where the volume's disk is in the other node already, because it was carried there or because the
node has another name now, nothing is copied, and the claims are kept all the same.

What was killed goes on when the same command is run again. `--to` the node that the volume is on
cancels a move that is not done."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection

from cluster.controller import cluster, lost_storage
from cluster.controller.listed_pools import pools_away
from cluster.kubectl import by_provisioner, claims, nodes
from cluster.kubectl.inventory.look import look
from cluster.kubectl.move import draining
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.moving import move
from shared import protocol


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "volume", nargs="?", metavar="PV", help="the volume to move, or NAMESPACE/NAME of its claim"
    )
    which.add_argument(
        "--all",
        action="store_true",
        help="all PVs of the node given by --from; whatever else is on that node is named",
    )
    parser.add_argument("--from", dest="source", metavar="NODE", help="with --all: where they are")
    parser.add_argument(
        "--to",
        metavar="NODE",
        help="where to; with --all by default where the disk is now, else where most room is",
    )


def run(
    api: cluster.Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    is_complete = settings.all or settings.to
    if settings.all != bool(settings.source) or not is_complete:
        print("say either PV --to NODE, or --all --from NODE", file=sys.stderr)
        return 2
    served = nodes.served(api, settings.namespace)
    drivers = by_provisioner(sorted({*drivers.values(), *served}))
    access = Access(api, drivers, settings.namespace, _say)
    if settings.all:
        return _drain(access, settings.source, settings.to)
    move(access, _named(access, settings.volume), settings.to)
    return 0


def _named(access: Access, words: str) -> str:
    """The name of the PV that a person means, by its own name or by NAMESPACE/NAME of its claim. A
    move that was killed may have left only its plan, and no PV."""
    if "/" in words:
        for plan in access.plans.all():
            if plan.volume.claim.full_name == words:
                return plan.name
    return claims.volume_name(access.api, words)


def _drain(access: Access, source: str, to: str | None) -> int:
    """Moves all volumes of the node; returns the exit status."""
    names = draining.volumes_of(access, source)
    if not names and not lost_storage.node_exists(access.api.get, source):
        raise NotMoved(f"there is no node {source}, and no volume names it")
    failed = 0
    for name in names:
        try:
            move(access, name, to or draining.destination(access, name, source))
        except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
            failed += 1
            sentence = str(error)
            if name not in sentence:
                sentence = f"{name}: {sentence}"
            print(sentence, file=sys.stderr, flush=True)
    print(f"{len(names) - failed} of {len(names)} volumes of node {source} were moved")
    if access.is_off(source):  # no pod of that node can be asked
        return int(failed > 0)
    left = _what_stays(access, source, names)
    for sentence in left:
        print(sentence, file=sys.stderr)
    return int(failed > 0 or bool(left))


def _what_stays(
    access: Access,
    node: str,
    moved: Collection[str],
) -> list[str]:
    """A sentence for each thing that is still on the node, which may be wiped next: a drain moves
    no snapshots, no archives, and no volumes without a PV."""
    rows, listed, silent = look(access.api, access.namespace, None, node)
    sentences = []
    for row in rows:
        if row.name not in moved:
            sentences.append(f"{row.name} stays on node {node}: it is {row.state}")
    for (silent_node, driver), why in silent.items():
        sentences.append(f"what stays of {driver} on node {silent_node} is not known: {why}")
    for away_node, pool, why in pools_away(listed):
        sentences.append(f"what stays in pool {pool} of node {away_node} is not known: {why}")
    return sentences


def _say(sentence: str) -> None:
    """Prints the sentence. A reader who leaves, as head does, ends no move: half moved, the volume
    would mount for no pod."""
    try:
        print(sentence, flush=True)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
