"""Who looks for orphans, and who stands by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cluster.controller.decide import Identity
from cluster.controller.orphans import Orphans
from shared import protocol

US = Identity({"loop.flexvol": "flexvol/loop"}, "shared", "")


def refuses(driver: str) -> Any:
    raise protocol.Unavailable("its disk is gone")


def test_who_has_lost_the_lease_tells_no_age_of_a_list_though_no_list_ever_came() -> None:
    """The alert about old lists would be for an instance that asks no driver."""
    leads = [True]
    nothing: Any = SimpleNamespace()
    storage: Any = SimpleNamespace(list=refuses)
    orphans = Orphans(
        nothing,
        storage,
        nothing,
        US,
        None,
        dict,
        lambda uid: False,
        lambda: leads[0],
        nothing,
        3600,
    )
    orphans._round()
    assert list(orphans.listing.ages_seconds()) == ["flexvol/loop"]

    leads[0] = False
    orphans._round()

    assert orphans.listing.ages_seconds() == {}
