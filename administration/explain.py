"""Says what will happen with a claim, or why it waits.

Of a bound one: where its volume is, and what deleting the claim would do. What is wrong is said in
the words of the claim's events and of the provisioner's log. The exit status is 1 if something is
wrong."""

from __future__ import annotations

import argparse
from typing import Any

from administration import by_provisioner, cancel_expansion, claims, nodes
from administration.nodes import Node
from controller import capacity, cluster, decide, gone_nodes, inventory, lost
from table import human_bytes, printable

Object = dict[str, Any]
_ANY_NODE = "any"
# No file system fills its image to the last byte.
_ROUNDED_BYTES = 16 << 20


arguments = claims.arguments


def run(api: cluster.Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    claim = claims.get(api, settings)
    namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
    found = nodes.find(api, settings.namespace)
    if not found:
        raise nodes.nowhere(settings.namespace)
    drivers = by_provisioner(driver for node in found.values() for driver in node.drivers)
    pods = [
        pod
        for pod in api.items(f"/api/v1/namespaces/{namespace}/pods")
        if name in lost.claims_of_pod(pod)
        and pod["status"].get("phase") not in ("Succeeded", "Failed")
    ]
    size = human_bytes(_size_bytes(claim))
    print(f"{lost.full_name(claim)}: {size}, storage class {decide.class_name_of(claim) or 'none'}")
    if claim["spec"].get("volumeName"):
        said, wrong = _with_volume(api, claim, found, drivers, pods)
    else:
        said, wrong = _without_volume(api, claim, found, drivers, pods, settings.namespace)
    said += [
        f"{one['type']}: {one['message']}"
        for one in claim["status"].get("conditions") or []
        if _is_news(one)
    ]
    for sentence in said:
        print("- " + printable(sentence))
    return int(wrong)


def _with_volume(
    api: cluster.Cluster,
    claim: Object,
    found: dict[str, Node],
    drivers: dict[str, str],
    pods: list[Object],
) -> tuple[list[str], bool]:
    name = claim["spec"]["volumeName"]
    volume = api.get(f"{cluster.VOLUMES}/{name}")
    if volume is None:
        return [
            f"its PV {name} does not exist; if its volume does (see: kubectl flexvol inventory), "
            f"bring the PV back: kubectl flexvol adopt {name}"
        ], True
    owner = volume["spec"].get("claimRef") or {}
    if owner.get("uid", claim["metadata"]["uid"]) != claim["metadata"]["uid"]:
        whose = f"{lost.full_name(volume)} with the uid {owner['uid']}"
        return [f"its PV {name} belongs to the claim {whose}"], True
    driver = str((volume["spec"].get("flexVolume") or {}).get("driver", ""))
    if driver not in drivers.values():
        ours = ", ".join(drivers.values())
        return [f"its PV {name} is not of a driver of flexvol here ({ours})"], False
    node = decide.node_of(volume, drivers)
    listed, silent = nodes.list_all(
        api, [one for one in found.values() if node in ("", one.name)], [driver]
    )
    there = {node} if node and lost.node_exists(api.get, node) else set()
    rows = inventory.join(
        listed, silent, inventory.Objects(drivers, [volume], [claim], pods, there, "")
    )
    row = next(row for row in rows if row.name == name and row.state not in inventory.NO_PV)
    used = row.entry.get("usedBytes")
    where = [
        f"on node {node}" if node else "",
        f"in pool {row.entry['pool']}" if row.entry.get("pool") else "",
    ]
    words = [f"it is {row.state}: PV {name}", volume["spec"]["capacity"]["storage"], *where]
    words.append(f"{human_bytes(used)} used" if isinstance(used, int) else "")
    users = f"used by pod {', '.join(row.pods)}" if row.pods else "no pod uses it"
    said = [", ".join(filter(None, words)), users, *([row.why] if row.why else [])]
    pools = listed[row.node, driver].pools if (row.node, driver) in listed else []
    expansion = cancel_expansion.advice(claim, volume, row.entry, pools)
    if expansion:
        said.append(expansion)
    said += _on_size(row.entry, bool(row.pods))
    if claim["metadata"].get("deletionTimestamp"):
        when = ", when no pod uses it any more" if pods else ""
        said.append("the claim is being deleted" + when)
    said.append(_on_deletion(volume, drivers, node, pods))
    return said, row.is_wrong or bool(expansion)


def _on_size(entry: Object, in_use: bool) -> list[str]:
    """Of a volume whose file system is smaller than the volume, because its growth did not come to
    an end. A mounted xfs writes its new size to the disk a minute later."""
    has, asked = entry.get("fileSystemBytes"), entry.get("sizeBytes")
    if not isinstance(has, int) or not isinstance(asked, int) or not has:
        return []
    if has >= asked - _ROUNDED_BYTES or (in_use and entry.get("fsType") == "xfs"):
        return []
    return [
        f"its file system has {human_bytes(has)}, {human_bytes(asked)} asked; it grows when its "
        "next pod starts, and the pod's events say why it did not"
    ]


def _on_deletion(volume: Object, drivers: dict[str, str], node: str, pods: list[Object]) -> str:
    """What becomes of the volume and its data when the claim is deleted."""
    identity = decide.annotations_of(volume).get(decide.IDENTITY, "")
    released = {**volume, "status": {"phase": "Released"}}
    decision = decide.on_volume(released, decide.Identity(drivers, identity, node))
    if decision.action == decide.DELETE:
        when = ", when no pod uses it" if pods else ""
        return "deleting the claim deletes the volume and its data" + when
    policy = volume["spec"].get("persistentVolumeReclaimPolicy")
    why = f" ({decision.sentence})" if decision.sentence else ""
    return f"deleting the claim leaves the volume and its PV, whose reclaim policy is {policy}{why}"


def _without_volume(
    api: cluster.Cluster,
    claim: Object,
    found: dict[str, Node],
    drivers: dict[str, str],
    pods: list[Object],
    namespace: str,
) -> tuple[list[str], bool]:
    name, notes = decide.class_name_of(claim), decide.annotations_of(claim)
    if claim["spec"].get("storageClassName") == "" and not name:
        return [
            'this claim asks for no storage class (storageClassName: ""), so nothing is '
            "provisioned for it; it waits for an existing PV without a class"
        ], False
    storage_class = api.get(cluster.path_to(cluster.CLASSES, name)) if name else None
    if storage_class is not None and not decide.provisioner_of(claim):
        # kube-controller-manager writes it when a node is chosen; what will be decided then is told
        # now.
        notes = {**notes, decide.PROVISIONER[0]: storage_class["provisioner"]}
        claim = {**claim, "metadata": {**claim["metadata"], "annotations": notes}}
    provisioner, node = decide.provisioner_of(claim), notes.get(decide.SELECTED_NODE, "")
    if storage_class is not None and provisioner not in drivers:
        ours = ", ".join(drivers)
        return [
            f"this claim is for the provisioner {provisioner}; flexvol's nodes here serve {ours}"
        ], True
    of_one_node = "" not in found or drivers.get(provisioner) not in found[""].drivers
    problem = decide.problem(claim, storage_class, of_one_node)
    if problem or storage_class is None:
        return [problem], True
    identity = decide.Identity(drivers, "", (node or _ANY_NODE) if of_one_node else "")
    decision = decide.on_claim(claim, storage_class, identity)
    said = [decision.sentence] if decision.sentence else []
    wrong = False
    if decision.action == decide.PROVISION:
        sentence, wrong = _on_making(node if of_one_node else "", found)
        said.append(sentence)
    elif decision.action == decide.TAKE:
        said.append("its volume is made on the node with the most room, before there is a pod")
    elif decide.is_late(storage_class):
        said += [_on_pod(pod) for pod in pods] or ["no pod uses the claim yet"]
    if of_one_node and not node:
        sentences, no_node_takes_it = _on_nodes(api, claim, storage_class, namespace)
        said += sentences
        wrong = wrong or no_node_takes_it
    warning = _last_warning(api, claim)
    if warning:
        said.append(f"last warning: {warning}")
        wrong = True
    return said, wrong


def _is_news(condition: Object) -> bool:
    """Such as that it is being grown; whether pods use it is said already."""
    return (
        condition["status"] == "True"
        and condition["type"] != "Unused"
        and bool(condition.get("message"))
    )


def _on_pod(pod: Object) -> str:
    for one in pod["status"].get("conditions") or []:
        if one["type"] == "PodScheduled" and one["status"] != "True" and one.get("message"):
            return (
                f"pod {pod['metadata']['name']} uses the claim, and the scheduler says: "
                f"{one['message']}"
            )
    return f"pod {pod['metadata']['name']} uses the claim"


def _on_making(node: str, found: dict[str, Node]) -> tuple[str, bool]:
    """Where the volume of a claim is being made, and whether somebody must act. node: the one that
    was chosen; "" if the storage is of no single node."""
    if not node:
        return "its volume is being made", False
    if node in found:
        return f"its volume is being made on node {node}", False
    return (
        f"node {node} was chosen for the claim, and no pod of flexvol is on that node; see: "
        "kubectl -n flexvol get pods -o wide"
    ), True


def _on_nodes(
    api: cluster.Cluster, claim: Object, storage_class: Object, namespace: str
) -> tuple[list[str], bool]:
    """What the nodes have for a claim for which none was chosen, and whether none takes it."""
    rooms = capacity.rooms(api.get, namespace).get(decide.class_name_of(claim), {})
    labels = [one["metadata"].get("labels") or {} for one in api.items(cluster.NODES)]
    size = _size_bytes(claim)
    kind, sentence = gone_nodes.why_not_taken(claim, storage_class, size, rooms, labels)
    nobody = kind == "nobody" and not decide.is_late(storage_class)
    refused = kind in ("labels", "room") or nobody
    said = [sentence] if refused else []
    room_of = [f"{hostname} {human_bytes(room)}" for hostname, room in sorted(rooms.items())]
    if room_of:
        said.append("room for its class: " + ", ".join(room_of))
    return said, refused


def _last_warning(api: cluster.Cluster, claim: Object) -> str:
    """On it, in the last hour: that is how long events are kept."""
    metadata = claim["metadata"]
    selector = f"involvedObject.uid%3D{metadata['uid']}"
    path = f"/api/v1/namespaces/{metadata['namespace']}/events?fieldSelector={selector}"
    events = [
        one for one in (api.get(path) or {"items": []})["items"] if one.get("type") == "Warning"
    ]
    last = max(
        events,
        key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""),
        default=None,
    )
    return f"{last.get('reason')}: {last.get('message')}" if last else ""


def _size_bytes(claim: Object) -> int:
    return cluster.size_bytes(claim["spec"]["resources"]["requests"]["storage"])
