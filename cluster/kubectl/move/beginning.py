"""The beginning: checks that the volume can move, and writes the plan. Nothing else is changed."""

from __future__ import annotations

import uuid

from cluster.controller import cluster
from cluster.controller.objects import Object, Volume
from cluster.kubectl import nodes
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.carried import OUT_OF_SERVICE, has_pool, has_volume
from cluster.kubectl.move.plans import Plan
from cluster.kubectl.move.replacing import manifest
from shared import protocol
from shared.options import AWAITED
from shared.table import human_bytes


def begin(access: Access, volume: Volume, to: str) -> Plan:
    """Returns the plan as it is written.

    :raises NotMoved: if the volume cannot move, or another move of it was begun just now."""
    name = volume.name
    source = access.node_of(volume)
    if not source:
        known = ", ".join(access.drivers.values())
        raise NotMoved(f"{name} is on no node: no node's provisioner of {known} made it")
    check_unused(access, volume, source)
    if not volume.pool_name:
        raise NotMoved(f"{name} is in no pool; its driver must move it")
    is_carried = has_volume(volume, access.listed(to, volume.driver))
    if is_carried:
        entry = check_carried(access, volume, source, to)
        pool = {"id": entry["poolId"], "name": entry["pool"]}
    else:
        entry = _check_whole(access, volume, source)
        pool = pool_with_room(access, to, volume, int(entry["sizeBytes"]))
    hostname = nodes.hostname(access.api, to)
    plan = Plan(
        id=uuid.uuid4().hex,
        source=source,
        to=to,
        volume=manifest(volume, to, hostname, pool["id"], pool["name"]),
        policy=volume.reclaim_policy,
        hostname=hostname,
        pool_id=pool["id"],
        is_carried=is_carried,
    )
    access.plans.create(plan)
    how = ", whose disk is there already" if is_carried else ""
    size = human_bytes(entry["sizeBytes"])
    access.say(f"moves {name}, {size}, from node {source} to node {to}{how}")
    written = access.plans.find(name)
    if written is None or written.id != plan.id:
        raise NotMoved(f"another move of {name} was begun just now")
    return written


def check_unused(access: Access, volume: Volume, source: str) -> None:
    """Checks that the volume stays, and that no pod uses it. A pod on the node `source` uses
    nothing any more if that node is gone or off.

    :raises NotMoved: if the volume is being deleted, or a pod uses it."""
    is_off = access.is_off(source)
    claim = access.claim_of(volume)
    # A node that is gone deletes nothing: its released volumes would wait for it for ever.
    is_released = claim is None and volume.reclaim_policy == "Delete" and not is_off
    if volume.is_being_deleted or is_released:
        raise NotMoved(
            f"{volume.name} is being deleted, or its claim {volume.full_name} is not bound to it"
        )
    for pod in access.pods_of(claim):
        is_on_dead_node = is_off and pod.node_name == source
        if pod.node_name and not is_on_dead_node and not pod.has_ended:
            raise NotMoved(
                f"{volume.name} is in use by pod {pod.name}; stop it first, or drain the node"
            )


def _check_whole(access: Access, volume: Volume, source: str) -> Object:
    """The volume as its node lists it.

    :raises NotMoved: unless it can be copied."""
    name = volume.name
    entry = access.entry(volume, source)
    if entry is None:
        entry = {"error": "the volume is not in its list"}
    if entry.get("error") or not entry.get("owner") or entry.get("state"):
        why = entry.get("error") or entry.get("state")
        raise NotMoved(f"node {source} does not list {name} as whole: {why}")
    if entry["owner"].get("uid") == AWAITED:
        raise NotMoved(f"{name} awaits its claim; bind a claim to its PV first")
    return entry


def pool_with_room(
    access: Access,
    node: str,
    volume: Volume,
    size_bytes: int,
) -> Object:
    """The other node's pool of the same name.

    :raises NotMoved: unless the volume fits into it, and the node has no volume of that name."""
    name = volume.name
    pool_name = volume.pool_name
    listed = access.listed(node, volume.driver)
    same_name = [pool for pool in listed.pools if pool.get("name") == pool_name]
    if not same_name:
        others = ", ".join(sorted(str(pool.get("name")) for pool in listed.pools)) or "none"
        raise NotMoved(
            f"node {node} has no pool {pool_name} for {name} (its pools: {others}); mount "
            f"a disk for that pool there, and run on node {node}: loop pool init {pool_name}"
        )
    pool = same_name[0]
    if pool.get("error"):
        raise NotMoved(f"node {node} has no pool {pool_name} for {name}: {pool['error']}")
    if any(entry.get("name") == name for entry in listed.volumes):
        raise NotMoved(f"node {node} has a volume {name} already; nothing is overwritten")
    free_bytes = int(pool.get("freeBytes", 0))
    room = min(free_bytes, int(pool.get("maximumVolumeBytes", free_bytes)))
    if room < size_bytes:
        raise NotMoved(
            f"pool {pool_name} of node {node} has room for {human_bytes(room)}, "
            f"and {name} has {human_bytes(size_bytes)}"
        )
    return pool


def check_carried(
    access: Access,
    volume: Volume,
    source: str,
    to: str,
) -> Object:
    """The volume as the node that has its disk now lists it.

    :raises NotMoved: unless its disk is there, and is not on the node `source` too."""
    name = volume.name
    listed = access.listed(to, volume.driver)
    if not has_volume(volume, listed):
        raise NotMoved(f"node {to} does not list {name} in pool {volume.pool_name} any more")
    entry = next(entry for entry in listed.volumes if entry.get("name") == name)
    why = entry.get("error") or entry.get("state")
    if why:
        raise NotMoved(f"node {to} does not list {name} as whole: {why}")
    if access.is_off(source):
        return entry
    try:
        listed_by_source = access.listed(source, volume.driver)
    except (cluster.Refused, cluster.Unreachable, protocol.Failure) as error:
        raise NotMoved(
            f"node {to} has the disk with {name}, and node {source} does not "
            f"tell whether it still has it, too ({error}). If that node is off "
            "for good, or has another name now, say so, and run this again: "
            f"kubectl taint node {source} "
            f"{OUT_OF_SERVICE}=nodeshutdown:NoExecute"
        ) from None
    if has_pool(volume, listed_by_source):
        raise NotMoved(
            f"node {source} and node {to} both have a pool with the id "
            f"{volume.pool_id}: they share its disk, or one is a copy of the "
            "other; nothing is changed"
        )
    return entry
