"""Cancels an expansion that does not fit: PV and claim say again what the volume really has.

For a claim whose request was raised beyond what its volume's pool can hold. The data, the claim and
its pods are left as they are; afterwards the claim may be raised to a size that fits. Refused while
the growth can still succeed. What was killed goes on when the same command is run again.
Needs Kubernetes 1.32, and the right to patch persistentvolumeclaims, persistentvolumeclaims/status
and persistentvolumes."""

from __future__ import annotations

import argparse
import functools

from cluster.controller import cluster
from cluster.kubectl import claims
from cluster.kubectl.cancel_expansion.cancellation import Cancellation
from shared import protocol

_FIRST_MINOR = 32  # RecoverVolumeExpansionFailure is on by default from Kubernetes 1.32


def arguments(parser: argparse.ArgumentParser) -> None:
    claims.arguments(parser)
    parser.add_argument(
        "--even-if-it-fits",
        action="store_true",
        help="although the pool has room: for a growth that fails for another reason. The volume "
        "keeps the room that it has taken of the pool, and claim and PV then say so",
    )


def run(
    api: cluster.Cluster,
    drivers: dict[str, str],
    settings: argparse.Namespace,
) -> int:
    _check_version(api)
    say = functools.partial(print, flush=True)
    return Cancellation(api, drivers, settings, say).run()


def _check_version(api: cluster.Cluster) -> None:
    """Raises Unavailable where the API server never lets a claim's request be lowered."""
    version = api.get("/version") or {}
    digits = "".join(letter for letter in str(version.get("minor", "")) if letter.isdigit())
    if version.get("major") == "1" and digits and int(digits) < _FIRST_MINOR:
        raise protocol.Unavailable(
            f"the API server is Kubernetes 1.{digits}, and lets no claim's "
            f"request be lowered before 1.{_FIRST_MINOR}; make room in the "
            "volume's pool instead"
        )
