"""The claim that a person means by a command's words."""

from __future__ import annotations

import argparse
from typing import Any

import protocol
from controller import cluster, decide, lost


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("claim", metavar="CLAIM", help="its name, or its namespace/name")
    parser.add_argument(
        "-n",
        dest="claim_namespace",
        metavar="NAMESPACE",
        default="default",
        help="the claim's (default: %(default)s)",
    )


def get(api: cluster.Cluster, settings: argparse.Namespace) -> dict[str, Any]:
    """Raises NotFound if there is none."""
    namespace, _, name = settings.claim.rpartition("/")
    namespace = namespace or settings.claim_namespace
    known = protocol.is_name(namespace) and protocol.is_name(name)
    claim = api.get(cluster.claim_path(namespace, name)) if known else None
    if claim is None:
        raise protocol.NotFound(
            f"there is no claim {name} in namespace {namespace}; -n names another namespace"
        )
    return claim


def volume_of(
    api: cluster.Cluster, claim: dict[str, Any], drivers: dict[str, str]
) -> tuple[dict[str, Any], str]:
    """The PV that the claim is bound to, and its driver.

    :raises NotFound: if the claim is not bound.
    :raises InvalidArgument: if the PV is of none of the drivers.
    """
    name = claim["spec"].get("volumeName")
    volume = api.get(f"{cluster.VOLUMES}/{name}") if name else None
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


def _is_of(volume: dict[str, Any], claim: dict[str, Any]) -> bool:
    owner = volume["spec"].get("claimRef") or {}
    return bool(owner.get("uid") == claim["metadata"]["uid"])
