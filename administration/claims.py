"""The claim that a person means by a command's words."""

from __future__ import annotations

import argparse
from typing import Any

import protocol
from controller import cluster


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
