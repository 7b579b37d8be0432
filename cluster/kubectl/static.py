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
from collections.abc import Mapping

from cluster.controller import pool_rooms, quantities, volume_manifest
from cluster.controller.class_parameters import (
    FS_TYPE_PARAMETERS,
    SECRET_PARAMETERS,
    class_problem,
    fs_type_of,
)
from cluster.controller.cluster import CLASSES, VOLUMES, Cluster, path_to
from cluster.controller.identity import Identity, node_of
from cluster.controller.objects import (
    SELECTED_NODE,
    Claim,
    Object,
    StorageClass,
    Volume,
    table,
)
from cluster.controller.storage import Listed
from cluster.kubectl import nodes
from shared import options, protocol

_MIB = 1 << 20
_NO_PROVISIONER = "kubernetes.io/no-provisioner"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the volume and of its PV")
    parser.add_argument("--node", required=True, metavar="NAME", help="where it is made")
    parser.add_argument(
        "--size", required=True, type=_size_bytes, metavar="QUANTITY", help="such as 10Gi"
    )
    parser.add_argument(
        "--class",
        required=True,
        metavar="NAME",
        dest="class_name",
        help="the StorageClass whose parameters it is made with, and which its claims name",
    )
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
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"{text}: expected KEY=VALUE")
    return key, value


def only_reads(settings: argparse.Namespace) -> bool:
    return not settings.apply


def run(
    api: Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    name = protocol.check_name("volume name", settings.name)
    storage = nodes.NodeStorage(api, nodes.get(api, settings.namespace, settings.node))
    if _exists(api, name, settings.node, drivers):
        print(f"the PV {name} is there already", file=sys.stderr)
        return 0
    known = StorageClass.of(api.get(path_to(CLASSES, settings.class_name)))
    storage_class = class_of(settings.class_name, known, drivers)
    if settings.fs_type:
        storage_class = _with_fs_type(storage_class, settings.fs_type)
    hostname = nodes.hostname(api, settings.node)
    if settings.apply:
        made = _provision(api, storage, storage_class, drivers, settings)
    else:
        listed = storage.list(drivers[storage_class.provisioner])
        made = planned(name, settings.size, storage_class, listed)
    volume = volume_manifest.persistent_volume(
        Claim({"spec": any_claim(settings.node)["spec"]}),
        storage_class,
        made,
        Identity(drivers, settings.node, settings.node),
        hostname,
    )
    volume = volume_manifest.volume_that_exists(name, volume)
    volume["metadata"]["labels"] = dict(settings.label)
    if not settings.apply:
        print(json.dumps(volume, indent=1))
        return 0
    api.create(VOLUMES, volume)
    print(f"made the volume {name} on node {settings.node}, and its PV")
    return 0


def _exists(
    api: Cluster,
    name: str,
    node: str,
    drivers: Mapping[str, str],
) -> bool:
    """Whether the PV is there.

    :raises InvalidArgument: if a PV of that name is not of that node."""
    volume = Volume.of(api.get(path_to(VOLUMES, name)))
    if volume is None:
        return False
    if node_of(volume, drivers) != node:
        raise protocol.InvalidArgument(
            f"there is a PV {name} already, and not of node {node}; choose another name"
        )
    return True


def _provision(
    api: Cluster,
    storage: nodes.NodeStorage,
    storage_class: StorageClass,
    drivers: Mapping[str, str],
    settings: argparse.Namespace,
) -> Object:
    request = volume_manifest.provision_request(
        Claim(any_claim(settings.node)),
        storage_class,
        settings.size,
        nodes.cluster_uid(api),
        volume_manifest.Variant(name=settings.name),
    )
    return storage.provision(drivers[storage_class.provisioner], request)


def planned(
    name: str,
    size_bytes: int,
    storage_class: StorageClass,
    listed: Listed,
) -> Object:
    """What the driver would answer to provision, as far as what it lists tells: the volume if it is
    there already, else the pool of the class, which every PV of the volume has to name.

    :raises InvalidArgument: if the volume is somebody's.
    :raises Unavailable: if the node lacks the pool, or the pool is away."""
    for entry in listed.volumes:
        if entry.get("name") == name:
            return _as_it_is(entry)
    fs_type = fs_type_of(storage_class.parameters)
    if not listed.pools:
        return {"options": {}, "capacityBytes": size_bytes, "fsType": fs_type}
    pool = _pool(storage_class, listed.pools)
    size_bytes = max(size_bytes, pool_rooms.smallest_volume(fs_type, pool))
    return {
        "options": {"pool": pool["name"], "poolId": pool["id"]},
        "capacityBytes": -(-size_bytes // _MIB) * _MIB,
        "fsType": fs_type or str(pool.get("defaultFsType") or ""),
    }


def _as_it_is(entry: Object) -> Object:
    """Of a volume that is on the node already."""
    name = entry["name"]
    if table(entry.get("owner")).get("uid") != options.AWAITED:
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


def _pool(storage_class: StorageClass, pools: list[Object]) -> Object:
    name = pool_rooms.pool_name(storage_class.parameters, pools)
    for pool in pools:
        if pool.get("name") != name:
            continue
        if pool.get("error"):
            raise protocol.Unavailable(str(pool["error"]))
        return pool
    known = ", ".join(str(pool.get("name")) for pool in pools)
    raise protocol.Unavailable(
        f"the node has no pool {protocol.shown(name)}, which the class asks for; it has: {known}"
    )


def class_of(
    name: str,
    storage_class: StorageClass | None,
    drivers: Mapping[str, str],
) -> StorageClass:
    """The class as it is to be used: a class of no provisioner counts as one of the first driver.

    :raises InvalidArgument: if the class cannot be used."""
    known = [_NO_PROVISIONER, *drivers]
    advice = f"name one of {' or '.join(known)}"
    if storage_class is None:
        raise protocol.InvalidArgument(f"the storage class {name} does not exist; {advice}")
    provisioner = storage_class.provisioner
    if provisioner not in known:
        raise protocol.InvalidArgument(
            f"the storage class {name} is of provisioner {provisioner}; {advice}"
        )
    problem = class_problem(storage_class)
    if problem:
        raise protocol.InvalidArgument(problem)
    for key in SECRET_PARAMETERS:
        if key in storage_class.parameters:
            raise protocol.InvalidArgument(
                f"the storage class {name} has {key}, which needs a claim; name another"
            )
    if provisioner == _NO_PROVISIONER:
        provisioner = next(iter(drivers))
    changes = {"provisioner": provisioner, "reclaimPolicy": "Retain"}
    return StorageClass({**storage_class.json, **changes})


def _with_fs_type(storage_class: StorageClass, fs_type: str) -> StorageClass:
    parameters = dict(storage_class.parameters)
    for key in FS_TYPE_PARAMETERS:
        parameters.pop(key, None)
    parameters[FS_TYPE_PARAMETERS[0]] = fs_type
    return StorageClass({**storage_class.json, "parameters": parameters})


def any_claim(node: str) -> Object:
    """In the place of the claim that a volume is else made for."""
    return {
        "metadata": {
            "namespace": options.ANY,
            "name": options.ANY,
            "uid": options.AWAITED,
            "annotations": {SELECTED_NODE: node},
        },
        "spec": {"accessModes": ["ReadWriteOnce"]},
    }
