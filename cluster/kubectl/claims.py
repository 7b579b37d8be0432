"""The claim that a person means by a command's words."""

from __future__ import annotations

import argparse
from typing import Any

from cluster.controller import cluster, decide, lost
from shared import protocol

Object = dict[str, Any]


def arguments(parser: argparse.ArgumentParser, is_needed: bool = True) -> None:
    parser.add_argument(
        "claim",
        nargs=None if is_needed else "?",
        metavar="CLAIM",
        help="its name, its namespace/name, or the name of its PV",
    )
    parser.add_argument(
        "-n",
        "--namespace",
        dest="claim_namespace",
        metavar="NAMESPACE",
        help="the claim's (default: that of the kubeconfig's context)",
    )


def named(words: str, namespace: str) -> tuple[str, str]:
    """Namespace and name of the claim or pod that a person means. namespace: where the words name
    none. Raises NotFound if nothing can have such a name."""
    given, _, name = words.rpartition("/")
    namespace = given or namespace
    if not protocol.is_object_name(namespace) or not protocol.is_object_name(name):
        raise nowhere(namespace, name)
    return namespace, name


def nowhere(namespace: str, name: str, is_a_pv: bool = False) -> protocol.NotFound:
    """The failure that tells of a claim that is not there. is_a_pv: whether a PV of that name was
    looked for too."""
    also = ", and no PV of that name" if is_a_pv else ""
    name = name if protocol.is_object_name(name) else protocol.shown(name)
    return protocol.NotFound(
        f"there is no claim {name} in namespace {namespace}{also}; -n names another namespace"
    )


def get(api: cluster.Cluster, settings: argparse.Namespace) -> Object:
    """The claim of that name; else the claim of the PV of that name.

    :raises NotFound: if there is neither."""
    namespace, name = names(settings)
    claim = api.get(cluster.claim_path(namespace, name))
    if claim is not None:
        return claim
    is_a_pv = "/" not in settings.claim
    volume = api.get(cluster.path_to(cluster.VOLUMES, name)) if is_a_pv else None
    if volume is None:
        raise nowhere(namespace, name, is_a_pv)
    claim = lost.claim_of(api, volume)
    if claim is None:
        raise protocol.NotFound(
            f"the PV {name} is bound to no claim; see: kubectl flexvol inventory"
        )
    return claim


def names(settings: argparse.Namespace) -> tuple[str, str]:
    """The namespace and the name that the words say. Raises NotFound as `named`."""
    return named(settings.claim, settings.claim_namespace)


def volume_name(api: cluster.Cluster, words: str) -> str:
    """The name of the PV that a person means: PV, or NAMESPACE/NAME of its claim. A claim's own
    words do not count, as any of its namespace's users could name another's PV in it: the PV has to
    name the claim.

    :raises NotFound: if no PV names that claim.
    :raises InvalidArgument: if several do."""
    if "/" not in words:
        return words
    names = tuple(words.split("/", 1))
    volumes = [volume for volume in api.items(cluster.VOLUMES) if names_of(volume) == names]
    bound = [volume for volume in volumes if lost.claim_of(api, volume) is not None]
    found = [str(volume["metadata"]["name"]) for volume in bound or volumes]
    if not found:
        raise protocol.NotFound(f"no PV is of the claim {words}; see: kubectl flexvol inventory")
    if len(found) > 1:
        raise protocol.InvalidArgument(
            f"several PVs name the claim {words}; name one of them: {', '.join(found)}"
        )
    return found[0]


def names_of(volume: Object) -> tuple[str, str]:
    """Namespace and name of the claim that the PV names."""
    reference = volume["spec"].get("claimRef") or {}
    return str(reference.get("namespace", "")), str(reference.get("name", ""))


def volume_of(api: cluster.Cluster, claim: Object, drivers: dict[str, str]) -> tuple[Object, str]:
    """The PV that the claim is bound to, and its driver.

    :raises NotFound: if the claim is not bound.
    :raises InvalidArgument: if the PV is of none of the drivers.
    """
    name = claim["spec"].get("volumeName")
    volume = api.get(cluster.path_to(cluster.VOLUMES, name)) if name else None
    if volume is None or not _is_of(volume, claim):
        raise protocol.NotFound(
            f"the claim {lost.full_name(claim)} is not bound, so it has no volume"
        )
    driver = drivers.get(decide.annotations_of(volume).get(decide.PROVISIONED_BY, ""))
    if driver is None or (volume["spec"].get("flexVolume") or {}).get("driver") != driver:
        raise protocol.InvalidArgument(
            f"the PV {name} of the claim {lost.full_name(claim)} is of no driver of flexvol here "
            f"({', '.join(drivers.values())}); --driver names another"
        )
    return volume, driver


def _is_of(volume: Object, claim: Object) -> bool:
    owner = volume["spec"].get("claimRef") or {}
    return bool(owner.get("uid") == claim["metadata"]["uid"])
