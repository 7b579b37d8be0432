"""Who looks for orphans, and who stands by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cluster.controller.identity import Identity
from cluster.controller.instance import Instance
from cluster.controller.listing import Listing
from cluster.controller.orphans import Known, Orphans
from cluster.controller.room_news import RoomNews
from shared import protocol

US = Identity({"loop.flexvol": "flexvol/loop"}, "shared", "")


def refuses(driver: str) -> Any:
    raise protocol.Unavailable("its disk is gone")


def test_who_has_lost_the_lease_tells_no_age_of_a_list_though_no_list_ever_came() -> None:
    """The alert about old lists would be for an instance that asks no driver."""
    leads = [True]
    nothing: Any = SimpleNamespace()
    storage: Any = SimpleNamespace(list=refuses)
    instance = Instance(nothing, US, storage, nothing, nothing, nothing)
    listing = Listing(storage.list, US.drivers.values())
    known = Known(dict, lambda uid: False, lambda: leads[0])
    orphans = Orphans(instance, listing, RoomNews(), known, 3600)
    orphans._round()
    assert list(listing.ages_seconds()) == ["flexvol/loop"]

    leads[0] = False
    orphans._round()

    assert listing.ages_seconds() == {}
