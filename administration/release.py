"""Gives up a PV whose node is gone, or whose pool was replaced: deletes its claim and the PV."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from controller import lost
from controller.cluster import VOLUMES, Cluster, Refused

_RELEASE_SECONDS, _AGAIN_SECONDS = 60.0, 1.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("volume", metavar="PV")


def run(api: Cluster, drivers: dict[str, str], settings: argparse.Namespace) -> int:
    return 0 if _release(api, settings.volume, drivers, print) else 1


def _release(api: Cluster, name: str, drivers: dict[str, str], say: Callable[[str], None]) -> bool:
    """As lost.release, until it is done or a minute is over."""
    volume = api.get(f"{VOLUMES}/{name}")
    if volume is None:
        raise lost.NotLost(f"there is no PV {name}")
    lost.check_lost(api, volume, drivers)
    claim, deadline, said = lost.claim_of(api, volume), time.monotonic() + _RELEASE_SECONDS, ""
    say(
        (
            f"deletes the claim {lost.full_name(volume)}, then {name}; what the claim is of makes "
            "it anew, or you do"
        )
        if claim
        else f"deletes {name}; it has no claim any more"
    )
    while True:
        try:
            waits = lost.release(api, name, drivers)
        except Refused as error:
            if error.status != 409:
                raise
            waits = "somebody else changes it too"
        if not waits:
            say("done; if the node or its disk comes back, the volume's data is still there")
            return True
        if waits != said:
            say("waits: " + waits)
        if time.monotonic() > deadline:
            say("not done yet; run this again")
            return False
        said = waits
        time.sleep(_AGAIN_SECONDS)
