"""Makes a volume that is no claim's yet, with its PV, on a node of your choice.

Without --apply nothing is made: what is printed is the PV as --apply would create it.

The first claim that is bound to the PV owns the volume: one whose selector names its labels. The
PV's policy is Retain.

Any claim of the PV's class may take it, so give it a class that is for such claims alone, of the
provisioner kubernetes.io/no-provisioner: then the scheduler looks for a node that has such a
volume. Where the class makes volumes itself, the scheduler may as well choose another node. Running
the command again finds the same volume."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from cluster.controller import decide, pool_rooms, quantities, volume_manifest
from cluster.controller.cluster import CLASSES, VOLUMES, Cluster, path_to
from cluster.controller.storage import Listed
from cluster.kubectl import nodes
from shared import options, protocol

Object = dict[str, Any]
_MIB = 1 << 20
_NO_PROVISIONER = "kubernetes.io/no-provisioner"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the volume and of its PV")
    parser.add_argument("--node", required=True, metavar="NAME", help="where it is made")
    parser.add_argument(
        "--size", required=True, type=_size_bytes, metavar="QUANTITY", help="such as 10Gi"
    )
    parser.add_argument(
        "--class", required=True, metavar="NAME", dest="class_name",
        help="the StorageClass whose parameters it is made with, and which its claims name",
    )  # fmt: skip
    parser.add_argument("--fs-type", metavar="TYPE", help="instead of the class's")
    parser.add_argument(
        "--label", action="append", type=_label, default=[], metavar="KEY=VALUE", help="repeatable"
    )
    parser.add_argument(
        "--apply",
        action="store_true",
        help="make the volume and create its PV, instead of only printing the PV",
    )


def _size_bytes(text: str) -> int:
    try:
        size = quantities.size_bytes(text)
    except ValueError:
        size = 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a quantity, as 10Gi")
    return size


def _label(text: str) -> tuple[str, str]:
    key, is_one, value = text.partition("=")
    if not key or not is_one:
        raise argparse.ArgumentTypeError(f"{text}: expected KEY=VALUE")
    return key, value


def only_reads(settings: argparse.Namespace) -> bool:
    return not settings.apply


def run(api: Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    name, node = protocol.check_name("volume name", settings.name), settings.node
    storage = nodes.NodeStorage(api, nodes.get(api, settings.namespace, node))
    there = api.get(path_to(VOLUMES, name))
    if there is not None:
        if decide.node_of(there, drivers) != node:
            raise protocol.InvalidArgument(
                f"there is a PV {name} already, and not of node {node}; choose another name"
            )
        print(f"the PV {name} is there already", file=sys.stderr)
        return 0
    storage_class = class_of(
        settings.class_name, api.get(path_to(CLASSES, settings.class_name)), drivers
    )
    if settings.fs_type:
        others = {
            k: v
            for k, v in storage_class["parameters"].items()
            if k not in decide.FS_TYPE_PARAMETERS
        }
        storage_class["parameters"] = {**others, decide.FS_TYPE_PARAMETERS[0]: settings.fs_type}
    driver = drivers[storage_class["provisioner"]]
    us, hostname = decide.Identity(drivers, node, node), nodes.hostname(api, node)
    if settings.apply:
        request = volume_manifest.provision_request(
            any_claim(node), storage_class, settings.size, nodes.cluster_uid(api), name=name
        )
        made = storage.provision(driver, request)
    else:
        made = planned(name, settings.size, storage_class, storage.list(driver))
    claim = {"metadata": {}, "spec": any_claim(node)["spec"]}
    volume = volume_manifest.volume_that_exists(name, claim, storage_class, made, us, hostname)
    volume["metadata"]["labels"] = dict(settings.label)
    if not settings.apply:
        print(json.dumps(volume, indent=1))
    else:
        api.create(VOLUMES, volume)
        print(f"made the volume {name} on node {node}, and its PV")
    return 0


def planned(name: str, size_bytes: int, storage_class: Object, listed: Listed) -> Object:
    """What the driver would answer to provision, as far as what it lists tells: the volume if it is
    there already, else the pool of the class, which every PV of the volume has to name.

    :raises InvalidArgument: if the volume is somebody's.
    :raises Unavailable: if the node lacks the pool, or the pool is away."""
    parameters = storage_class.get("parameters") or {}
    for entry in listed.volumes:
        if entry.get("name") != name:
            continue
        if (entry.get("owner") or {}).get("uid") != options.AWAITED:
            raise protocol.InvalidArgument(
                f"the volume {name} is on that node already and not free; choose another name"
            )
        if entry.get("error"):
            raise protocol.Unavailable(f"volume {name}: {entry['error']}")
        return {
            "options": entry["options"],
            "capacityBytes": entry["sizeBytes"],
            "fsType": entry["fsType"],
        }
    fs_type = decide.fs_type_of(parameters)
    if not listed.pools:
        return {"options": {}, "capacityBytes": size_bytes, "fsType": fs_type}
    pool = _pool(parameters, listed.pools)
    size_bytes = max(size_bytes, pool_rooms.smallest_volume(fs_type, pool))
    fs_type = fs_type or str(pool.get("defaultFsType") or "")
    return {
        "options": {"pool": pool["name"], "poolId": pool["id"]},
        "capacityBytes": -(-size_bytes // _MIB) * _MIB,
        "fsType": fs_type,
    }


def _pool(parameters: dict[str, str], pools: list[Object]) -> Object:
    name = pool_rooms.pool_name(parameters, pools)
    for pool in pools:
        if pool.get("name") == name:
            if pool.get("error"):
                raise protocol.Unavailable(str(pool["error"]))
            return pool
    known = ", ".join(str(pool.get("name")) for pool in pools)
    raise protocol.Unavailable(
        f"the node has no pool {protocol.shown(name)}, which the class asks for; it has: {known}"
    )


def class_of(name: str, storage_class: Object | None, drivers: dict[str, str]) -> Object:
    """The class as it is to be used: of the first driver, if it is of none. Raises InvalidArgument
    if it cannot be."""
    known = [_NO_PROVISIONER, *drivers]
    if storage_class is None or storage_class["provisioner"] not in known:
        of = (
            f"is of provisioner {storage_class['provisioner']}"
            if storage_class
            else "does not exist"
        )
        raise protocol.InvalidArgument(
            f"the storage class {name} {of}; name one of {' or '.join(known)}"
        )
    parameters = storage_class.get("parameters") or {}
    problem = decide.class_problem(storage_class)
    if problem:
        raise protocol.InvalidArgument(problem)
    secret = [key for key in decide.SECRET_PARAMETERS if key in parameters]
    if secret:
        raise protocol.InvalidArgument(
            f"the storage class {name} has {secret[0]}, which needs a claim; name another"
        )
    provisioner = known[max(1, known.index(storage_class["provisioner"]))]
    return {
        **storage_class,
        "provisioner": provisioner,
        "parameters": dict(parameters),
        "reclaimPolicy": "Retain",
    }


def any_claim(node: str) -> Object:
    """In the place of the claim that a volume is else made for."""
    return {
        "metadata": {
            "namespace": options.ANY, "name": options.ANY, "uid": options.AWAITED,
            "annotations": {decide.SELECTED_NODE: node},
        },
        "spec": {"accessModes": ["ReadWriteOnce"]},
    }  # fmt: skip
