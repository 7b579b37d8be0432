"""Which snapshot a claim may begin with: only one that its driver lists for the claim's own
namespace, with storage of one node and with storage that every node reaches."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller import objects, sources
from cluster.controller.identity import Identity
from cluster.controller.instance import Instance
from cluster.controller.provision import Provision
from cluster.controller.room_news import RoomNews
from cluster.controller.secrets import Secrets
from cluster.controller.storage import Storage
from cluster.controller.storage_classes import StorageClasses
from cluster.controller.waiting_claims import WaitingClaims
from cluster.controller.workqueue import Key, WorkQueue
from shared import protocol
from tests.unit.cluster.controller.objects import NODE, SHARED, claim, of_snapshot, storage_class
from tests.unit.cluster.controller.one_node import Api, driver

MODES = [pytest.param(NODE, id="node mode"), pytest.param(SHARED, id="shared mode")]


def entry(name: str = "before", kind: str = "snapshot", namespace: str = "shop") -> dict[str, Any]:
    owner = {"namespace": namespace, "name": "data", "uid": "u0"}
    return {"name": name, "kind": kind, "owner": owner}


def is_allowed(listed: list[dict[str, Any]], us: Identity) -> bool:
    provisioner = next(iter(us.drivers))
    try:
        sources.check_snapshot(objects.Claim(of_snapshot(claim(provisioner))), listed, us)
    except protocol.Failure:
        return False
    return True


@pytest.mark.parametrize("us", MODES)
@pytest.mark.parametrize(
    ("listed", "allowed"),
    [
        pytest.param([entry()], True, id="a snapshot of the claim's namespace is used"),
        pytest.param([], False, id="a driver that lists nothing has no snapshot"),
        pytest.param([entry("after")], False, id="another snapshot has another name"),
        pytest.param(
            [entry(namespace="bank")],
            False,
            id="another namespace's is refused",
        ),
        pytest.param([entry(kind="volume")], False, id="a volume is no snapshot"),
        pytest.param(
            [{"name": "before", "kind": "snapshot"}],
            False,
            id="without owner: nobody's",
        ),
        pytest.param(
            [{"name": "before", "kind": "snapshot", "owner": None}],
            False,
            id="owner null: nobody's",
        ),
        pytest.param(
            [{"name": "before", "error": "x"}],
            False,
            id="a damaged entry is refused",
        ),
        pytest.param(
            [
                entry(),
                entry(namespace="bank"),
            ],
            False,
            id="two of the name, one is another's",
        ),
        pytest.param([entry("x"), entry()], True, id="the other entries do not matter"),
    ],
)
def test_only_a_snapshot_of_the_claims_own_namespace_is_used(
    listed: list[dict[str, Any]], allowed: bool, us: Identity
) -> None:
    assert is_allowed(listed, us) == allowed


NAMES = st.sampled_from(["before", "after", ""])
ENTRIES = st.lists(
    st.builds(
        entry,
        NAMES,
        st.sampled_from(
            [
                "snapshot",
                "volume",
                "",
            ]
        ),
        st.sampled_from(["shop", "bank"]),
    )
)


@given(ENTRIES, st.sampled_from([NODE, SHARED]))
def test_whatever_is_listed_no_other_namespaces_entry_is_ever_used(
    listed: list[dict[str, Any]], us: Identity
) -> None:
    of_the_name = [one for one in listed if one["name"] == "before"]
    foreign = [one for one in of_the_name if one != entry()]

    assert is_allowed(listed, us) == (bool(of_the_name) and not foreign)


NOTES = """
case "$1" in
  list) echo '{"status": "Success", "volumes": LISTED, "pools": []}' ;;
  provision) echo "$2" >>NOTED; echo '{"status": "Failure", "reason": "Busy", "message": "x"}' ;;
esac
"""


@pytest.mark.parametrize(
    ("namespace", "source"),
    [
        pytest.param("shop", "before", id="its own snapshot is passed to the driver"),
        pytest.param("bank", None, id="another namespace's never reaches the driver"),
    ],
)
def test_in_shared_mode_the_driver_is_given_only_a_source_that_was_checked(
    namespace: str, source: str | None, tmp_path: Path
) -> None:
    us = Identity({"loop.flexvol": "flexvol/loop"}, "shared", "")
    noted = tmp_path / "noted"
    listed = json.dumps([entry(namespace=namespace)])
    driver(tmp_path, NOTES.replace("LISTED", listed).replace("NOTED", str(noted)))
    said: list[str] = []
    api: Any = Api()
    events: Any = SimpleNamespace(
        normal=lambda *_: None, warning=lambda about, reason, message: said.append(message)
    )
    work = WorkQueue[Key]()
    storage = Storage(str(tmp_path))
    instance = Instance(api, us, storage, events, work, Secrets(api, us, "flexvol"))
    claims = WaitingClaims(work, us)
    classes = StorageClasses(claims, RoomNews())
    provision = Provision(instance, claims, classes, RoomNews(), None)
    its_class = storage_class(late=False)
    its_class["metadata"].update(uid="class", resourceVersion="1")
    classes.changed(its_class)
    waiting = of_snapshot(claim(node="", resources={"requests": {"storage": "1Mi"}}))
    waiting["metadata"]["resourceVersion"] = "7"
    claims.changed(waiting)

    key: Any = work.get()
    provision.sync(key)

    if source:
        assert json.loads(noted.read_text())["sourceVolume"] == source
    else:
        assert not noted.exists()
        assert "has no snapshot 'before' of namespace shop" in said[0]
