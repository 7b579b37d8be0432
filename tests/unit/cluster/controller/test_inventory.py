"""What may be collected of the volumes that have neither PV nor claim, one row for each way not to
be it; and the state of a volume, from what its driver lists and what the API server has."""

from __future__ import annotations

import argparse
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller import inventory
from cluster.controller.storage import Listed
from cluster.kubectl import inventory as command
from cluster.kubectl.inventory import sentences, tables
from cluster.kubectl.inventory.sentences import Seen

OURS = "b9f1"
OWNER = {"namespace": "shop", "name": "data", "uid": "u1"}
LISTED: dict[str, Any] = {
    "name": "pvc-u1",
    "owner": OWNER,
    "clusterUid": OURS,
    "reclaimPolicy": "Delete",
    "blank": True,
    "options": {"pool": "default", "poolId": "5f"},
}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in LISTED.items() if name != key}


COPY = {**LISTED, "blank": False, "neverMounted": True, "source": "pvc-u0"}


def test_what_was_never_mounted_is_collected() -> None:
    assert inventory.judge(LISTED, OURS)[0] == inventory.BLANK
    assert inventory.judge(COPY, OURS)[0] == inventory.BLANK
    assert "a copy of pvc-u0 that was never mounted" in inventory.judge(COPY, OURS)[1]


@pytest.mark.parametrize(
    ("entry", "reason", "words"),
    [
        ({**LISTED, "blank": False}, inventory.USED, "may hold data"),
        ({**COPY, "neverMounted": False}, inventory.USED, "may hold data"),
        ({**COPY, "neverMounted": "true"}, inventory.USED, "may hold data"),
        ({**COPY, "neverMounted": 1}, inventory.USED, "may hold data"),
        ({**COPY, "reclaimPolicy": "Retain"}, inventory.RETAINED, "its class said Retain"),
        ({**COPY, "clusterUid": "a7"}, inventory.FOREIGN, "made for the cluster a7"),
        ({**LISTED, "reclaimPolicy": "Retain"}, inventory.RETAINED, "its class said Retain"),
        (
            {**LISTED, "clusterUid": "a7"},
            inventory.FOREIGN,
            f"made for the cluster a7, and this one is {OURS}",
        ),
        # Other drivers, older ones, damaged records: what is not said is never taken for
        # permission.
        *[(without(key), inventory.UNKNOWN, "does not say") for key in LISTED if key != "name"],
        (
            {"name": "pvc-u1", "error": "volume.json is missing"},
            inventory.UNKNOWN,
            "volume.json is missing",
        ),
        ({**LISTED, "blank": "true"}, inventory.UNKNOWN, "does not say"),
        ({**LISTED, "blank": 1}, inventory.UNKNOWN, "does not say"),
        ({**LISTED, "owner": {**OWNER, "uid": ""}}, inventory.UNKNOWN, "does not say"),
        ({**LISTED, "owner": {"uid": "u1"}}, inventory.UNKNOWN, "does not say"),
        ({**LISTED, "owner": "u1"}, inventory.UNKNOWN, "does not say"),
        ({**LISTED, "options": {"pool": 1}}, inventory.UNKNOWN, "does not say"),
        ({**LISTED, "options": []}, inventory.UNKNOWN, "does not say"),
        ({**LISTED, "reclaimPolicy": None}, inventory.UNKNOWN, "does not say"),
    ],
)
def test_all_else_is_only_reported(entry: dict[str, Any], reason: str, words: str) -> None:
    found, sentence = inventory.judge(entry, OURS)

    assert found == reason
    assert words in sentence


@pytest.mark.parametrize("recorded", ["", OURS])
def test_without_a_cluster_nothing_is_ours(recorded: str) -> None:
    """An API server that has no kube-system yet."""
    assert inventory.judge({**LISTED, "clusterUid": recorded}, "")[0] != inventory.BLANK


# What the API server has, and what the drivers list.

DRIVER = "flexvol/loop"


def entry(name: str, **more: Any) -> dict[str, Any]:
    owner = {"namespace": "shop", "name": name, "uid": f"uid-{name}"}
    place = {"pool": "default", "poolId": "5f"}
    return {**LISTED, "name": name, "owner": owner, **place, "options": place, **more}


def volume(name: str, node: str = "node1", policy: str = "Delete", **more: Any) -> dict[str, Any]:
    notes = {"pv.kubernetes.io/provisioned-by": "loop.flexvol", "flexvol/identity": node}
    source = {"driver": DRIVER, "options": {"pool": "default", "poolId": "5f"}}
    whose = {"namespace": "shop", "name": name, "uid": f"uid-{name}"}
    spec = {
        "flexVolume": source,
        "claimRef": whose,
        "nodeAffinity": {},
        "persistentVolumeReclaimPolicy": policy,
    }
    return {
        "metadata": {"name": name, "annotations": notes},
        "spec": {**spec, "nodeAffinity": {"x": 1}, **more},
    }


def claim(name: str, uid: str = "", bound_to: str = "") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": uid or f"uid-{name}"},
        "spec": {"volumeName": bound_to} if bound_to else {},
    }


def joined(
    listed: list[dict[str, Any]],
    volumes: list[dict[str, Any]],
    claims: list[dict[str, Any]],
    pods: list[dict[str, Any]] | None = None,
    pools: list[dict[str, Any]] | None = None,
    silent: str = "",
) -> inventory.Row:
    """The one row, of a cluster with node1 and node2, of which node1 is asked."""
    there = inventory.Objects(
        {"loop.flexvol": DRIVER}, volumes, claims, pods or [], {"node1", "node2"}, OURS
    )
    answers = {} if silent else {("node1", DRIVER): Listed(listed, pools or [])}
    (row,) = inventory.join(answers, {("node1", DRIVER): silent} if silent else {}, there)
    return row


Case = tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]], str, str]
CASES: list[Case] = [
    ([entry("a")], [volume("a")], [claim("a")], "bound", ""),
    ([entry("a")], [volume("a")], [], "released", "being deleted"),
    ([entry("a")], [volume("a", policy="Retain")], [], "released", "policy keeps it"),
    (
        [entry("a")],
        [volume("a", policy="Retain")],
        [claim("a", "another")],
        "released",
        "policy keeps it",
    ),
    (
        [entry("a")],
        [volume("a", claimRef={"namespace": "shop", "name": "a"})],
        [],
        "available",
        "waits for its claim",
    ),
    ([entry("a")], [volume("a", claimRef=None)], [], "available", "waits for a claim"),
    ([entry("a")], [], [claim("a")], "pending", "not written yet"),
    ([entry("a")], [], [], "orphan", "never mounted"),
    ([entry("a")], [], [claim("a", bound_to="a")], "pending", "was deleted while its claim"),
    ([entry("a")], [], [claim("a", bound_to="b")], "orphan", "never mounted"),
    ([entry("a", blank=False)], [], [claim("a", "another")], "orphan", "may hold data"),
    ([entry("a", owner="?")], [], [], "orphan", "does not say"),
    ([entry("a", clusterUid="old")], [], [], "foreign", "made for the cluster old"),
    (
        [entry("a", state="archived", archiveOf="pvc-1", keptUntil="2031")],
        [],
        [],
        "archived",
        "pvc-1, which is kept",
    ),
    (
        [entry("a", kind="snapshot", source="pvc-1")],
        [],
        [claim("a")],
        "snapshot",
        "a snapshot of pvc-1",
    ),
    ([entry("a")], [volume("a", "node2")], [claim("a")], "orphan", "another volume, on node node2"),
]


@pytest.mark.parametrize(("listed", "volumes", "claims", "state", "words"), CASES)
def test_a_volume_is_in_the_state_that_its_pv_and_claim_make(
    listed: list[dict[str, Any]],
    volumes: list[dict[str, Any]],
    claims: list[dict[str, Any]],
    state: str,
    words: str,
) -> None:
    there = inventory.Objects(
        {"loop.flexvol": DRIVER}, volumes, claims, [], {"node1", "node2"}, OURS
    )
    row = inventory.join({("node1", DRIVER): Listed(listed, [])}, {}, there)[0]

    assert (row.name, row.node, row.state) == ("a", "node1", state)
    assert words in row.why
    assert row.is_wrong == (state == "orphan")


def test_a_copy_in_another_pool_of_the_node_is_not_what_the_pv_means() -> None:
    there = inventory.Objects(
        {"loop.flexvol": DRIVER}, [volume("a")], [claim("a")], [], {"node1"}, OURS
    )
    listed = Listed([entry("a", poolId="other"), entry("a")], [])

    copy, real = inventory.join({("node1", DRIVER): listed}, {}, there)

    assert (copy.state, real.state) == ("orphan", "bound")


def test_a_pv_that_no_driver_lists_is_missing_only_if_its_node_has_answered() -> None:
    gone = joined([], [volume("a")], [claim("a")])
    assert (gone.state, gone.is_wrong, gone.claim) == ("missing", True, "shop/a")
    away = joined(
        [], [volume("a")], [], pools=[{"name": "default", "error": "pool default is not mounted"}]
    )
    assert (away.state, away.why) == ("missing", "pool default is not mounted")
    unheard = joined([], [volume("a")], [claim("a")], silent="exec: 500 no route")
    assert (unheard.state, unheard.why, unheard.is_wrong) == ("unseen", "exec: 500 no route", True)
    elsewhere = joined([], [volume("a", "node2")], [claim("a")])
    assert (elsewhere.state, elsewhere.node) == ("unseen", "node2")
    lost = joined([], [volume("a", "node9")], [claim("a")])
    assert lost.state == "missing"
    assert "its node node9 is gone" in lost.why


def test_pods_are_those_that_name_the_claim_or_that_it_was_made_for() -> None:
    def pod(name: str, namespace: str, **source: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": namespace}
        return {"metadata": metadata, "spec": {"volumes": [{"name": "data", **source}]}}

    by_name = {"persistentVolumeClaim": {"claimName": "web-data"}}
    pods = [
        pod("two", "shop", **by_name),
        pod("one", "shop", **by_name),
        pod("other", "elsewhere", **by_name),
        pod("web", "shop", ephemeral={}),
        pod("none", "shop", emptyDir={}),
    ]

    assert joined([entry("web-data")], [volume("web-data")], [claim("web-data")], pods).pods == [
        "one",
        "two",
        "web",
    ]


@pytest.mark.parametrize("damage", [{"damaged": True}, {"error": "its record cannot be read"}])
def test_a_damaged_volume_is_wrong_in_every_state(damage: dict[str, Any]) -> None:
    row = joined([entry("a", **damage)], [volume("a")], [claim("a")])

    assert (row.state, row.is_wrong) == ("bound", True)
    assert row.why


def test_what_a_driver_lists_is_never_trusted_to_have_a_form() -> None:
    hostile: list[dict[str, Any]] = [
        {},
        {"name": 1},
        {"name": "../x"},
        {
            "name": "a",
            "owner": {"namespace": [], "name": {}, "uid": None},
            "pool": 7,
            "sizeBytes": "many",
        },
    ]
    row = joined(hostile, [], [claim("a")])

    assert (row.name, row.state) == ("a", "orphan")


def test_without_an_api_server_a_volume_is_listed_with_its_owner_and_no_more() -> None:
    (row,) = inventory.join({("", DRIVER): Listed([entry("a")], [])}, {}, None)

    assert (row.state, row.claim, row.is_wrong) == ("listed", "shop/a", False)


def sized(quantity: str, claimed: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """A PV of that capacity, and its claim with the capacity that it has got so far."""
    whose = claim("a")
    whose["status"] = {"capacity": {"storage": claimed}} if claimed else {}
    return volume("a", capacity={"storage": quantity}), whose


@pytest.mark.parametrize(
    ("has_mib", "quantity", "claimed", "words"),
    [
        pytest.param(64, "128Mi", "128Mi", "128 MiB and the volume has 64 MiB", id="older copy"),
        pytest.param(128, "128Mi", "128Mi", "", id="as promised"),
        pytest.param(130, "128Mi", "128Mi", "", id="rounded up"),
        pytest.param(64, "128Mi", "64Mi", "", id="an expansion goes on"),
        pytest.param(32, "128Mi", "64Mi", "64 MiB and the volume has 32 MiB", id="both at once"),
        pytest.param(64, "128Mi", None, "", id="a claim that has nothing yet"),
    ],
)
def test_a_volume_with_less_than_the_cluster_says_is_wrong(
    has_mib: int, quantity: str, claimed: str | None, words: str
) -> None:
    pv, whose = sized(quantity, claimed)

    row = joined([entry("a", sizeBytes=has_mib << 20)], [pv], [whose])

    assert row.state == "bound"
    assert row.is_wrong == bool(words)
    assert words in row.why if words else row.why == ""


def test_a_volume_that_waits_for_a_claim_is_compared_with_its_pv() -> None:
    pv = volume("a", capacity={"storage": "128Mi"}, claimRef=None)

    row = joined([entry("a", sizeBytes=64 << 20)], [pv], [])

    assert (row.state, row.is_wrong) == ("available", True)
    assert "128 MiB and the volume has 64 MiB" in row.why


def test_a_volume_that_is_being_moved_is_told_with_how_a_cut_move_goes_on() -> None:
    row = joined([entry("a", state="moving", movingTo="node2")], [volume("a")], [claim("a")])

    assert (row.state, row.is_wrong) == ("bound", False)
    assert row.why.startswith("it is being moved to node node2, and mounts for no pod until")
    assert row.why.endswith("kubectl flexvol move a --to node2")
    assert sentences.on_volumes([row]) == [f"a on node node1 is bound: {row.why}"]


def pool(name: str, pool_id: str, **more: Any) -> Listed:
    return Listed([], [{"name": name, "id": pool_id, **more}])


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        pytest.param(
            pool("default", "5f"),
            pool("default", "5f"),
            "pool default of node node1 and pool default of node node2 have the same id 5f",
            id="a cloned machine",
        ),
        pytest.param(
            pool("fast", "5f", error="away"),
            pool("disk", "5f"),
            "pool fast of node node1 is away, and pool disk of node node2 has its id 5f",
            id="a disk that was moved",
        ),
        pytest.param(pool("default", "5f"), pool("default", "60"), "", id="two pools"),
        pytest.param(
            pool("default", "5f", mayBeShared=True),
            pool("default", "5f", mayBeShared=True),
            "",
            id="one network file system that both have mounted",
        ),
        pytest.param(
            pool("default", "5f", mayBeShared=True),
            pool("default", "5f"),
            "pool default of node node1 and pool default of node node2 have the same id 5f",
            id="a network file system and its copy on a disk",
        ),
        pytest.param(
            pool("default", "5f", mayBeShared=True),
            pool("default", "5f", error="away"),
            "",
            id="a network file system that one of two nodes has not mounted",
        ),
        pytest.param(
            pool("default", "5f", mayBeShared=True),
            pool("default", "5f", mayBeShared=True, error="it is read-only"),
            "",
            id="a network file system that is read-only on one of two nodes",
        ),
        pytest.param(
            pool("default", "5f", error="x"), pool("default", "5f", error="x"), "", id="both away"
        ),
        pytest.param(pool("default", "5f"), Listed([], [{"name": "default"}]), "", id="no ids"),
    ],
)
def test_one_pool_id_in_two_places_is_said(first: Listed, second: Listed, words: str) -> None:
    sentences = inventory.same_pools({("node1", DRIVER): first, ("node2", DRIVER): second})

    assert len(sentences) == bool(words)
    assert words in "".join(sentences)


@pytest.mark.parametrize("shared", [False, True], ids=["on disks", "on a network file system"])
def test_two_pools_of_one_node_with_one_id_are_said_too(shared: bool) -> None:
    pools = [{"name": name, "id": "5f", "mayBeShared": shared} for name in ("old", "new")]
    copied = Listed([], pools)

    (sentence,) = inventory.same_pools({("node1", DRIVER): copied})

    assert "pool old of node node1 and pool new of node node1 have the same id 5f" in sentence


def test_a_volume_whose_pool_came_with_its_disk_from_another_node_is_told_apart() -> None:
    """Also a machine that was installed anew under another name, with its old disk."""
    there = inventory.Objects(
        {"loop.flexvol": DRIVER}, [volume("a", "node2")], [claim("a")], [], {"node1", "node2"}, OURS
    )
    moved, other = (
        inventory.join({("node1", DRIVER): Listed([one], [])}, {}, there)[0]
        for one in (entry("a"), entry("a", poolId="60"))
    )

    assert "its disk was moved or copied to this node" in moved.why
    assert "moved or copied" not in other.why


def test_pools_that_cannot_be_used_are_named_with_their_nodes() -> None:
    pools = [{"name": "default", "id": "5f"}, {"name": "fast", "id": "60", "error": "away"}]

    assert inventory.pools_away({("node1", DRIVER): Listed([], pools)}) == [
        ("node1", "fast", "away")
    ]


def web(claim_name: str = "a") -> dict[str, Any]:
    source = {"persistentVolumeClaim": {"claimName": claim_name}}
    metadata = {"name": "web", "namespace": "shop"}
    return {"metadata": metadata, "spec": {"volumes": [{"name": "data", **source}]}}


def test_the_pod_of_a_new_claim_is_not_shown_at_the_volume_of_its_predecessor() -> None:
    """A StatefulSet makes its claims anew under the same names."""
    released = volume("a", policy="Retain")
    successor = volume("b", claimRef={"namespace": "shop", "name": "a", "uid": "new"})
    there = inventory.Objects(
        {"loop.flexvol": DRIVER},
        [released, successor],
        [claim("a", "new")],
        [web()],
        {"node1"},
        OURS,
    )

    old, new = inventory.join({("node1", DRIVER): Listed([entry("a"), entry("b")], [])}, {}, there)

    assert (old.state, old.pods) == ("released", [])
    assert (new.state, new.pods) == ("bound", ["web"])


UIDS = st.sampled_from(["u1", "u2", "u3"])


@given(
    live=st.none() | UIDS,
    named=st.none() | UIDS,
    bound_to=st.sampled_from(["", "a", "b"]),
    is_listed=st.booleans(),
)
def test_a_pod_is_shown_only_at_the_volume_of_the_very_claim_it_uses(
    live: str | None, named: str | None, bound_to: str, is_listed: bool
) -> None:
    """live: the uid of the claim of that name, if there is one. named: that in the PV."""
    claims = [claim("a", live)] if live else []
    for one in claims:
        one["spec"] = {"volumeName": bound_to} if bound_to else {}
    reference = {"namespace": "shop", "name": "a", **({"uid": named} if named else {})}
    pv = volume("a", policy="Retain", claimRef=reference)

    row = joined([entry("a")] if is_listed else [], [pv], claims, [web()])

    is_its_claim = live is not None and live == named and bound_to in ("", "a")
    assert row.pods == (["web"] if is_its_claim else [])


def test_what_is_merely_kept_is_one_line_and_what_is_wrong_one_each() -> None:
    rows = [
        joined([entry("a", kind="snapshot", source="pvc-1")], [], []),
        joined([entry("a", kind="snapshot", source="pvc-2")], [], []),
        joined([entry("a", state="archived", archiveOf="pvc-1")], [], []),
        joined([entry("a")], [volume("a", policy="Retain")], []),
        joined([entry("a", clusterUid="old")], [], []),
        joined([entry("a")], [volume("a")], [claim("a")]),
        joined([entry("a", blank=False)], [], []),
        joined([entry("a")], [volume("a")], []),
    ]

    orphan, deleted, kept = sorted(sentences.on_volumes(rows), key=len, reverse=True)

    assert kept == (
        "merely kept, with nothing to do: archived 1, foreign 1, released 1, snapshot 2; --json "
        "says of each why"
    )
    assert "is orphan: it was mounted" in orphan
    assert "is released: its claim is gone, and it is being deleted" in deleted


def test_a_node_that_did_not_answer_is_one_line_whatever_it_has() -> None:
    why = "node node1 did not answer: its kubelet cannot be reached"
    there = inventory.Objects(
        {"loop.flexvol": DRIVER, "fast.flexvol": "flexvol/fast"},
        [volume("a"), volume("b")],
        [claim("a"), claim("b")],
        [],
        {"node1"},
        OURS,
    )
    silent = {("node1", DRIVER): why, ("node1", "flexvol/fast"): why}
    rows = inventory.join({}, silent, there)
    told = [
        {"node": node, "driver": driver, "error": text} for (node, driver), text in silent.items()
    ]
    seen = Seen(rows=rows, pools=[], away=[], silent=told, twice=[])

    assert sentences.on_volumes(rows) + sentences.on_troubles(seen) == [
        f"{why}. The state of its 2 volumes is not known"
    ]
    assert sentences.on_troubles(seen._replace(rows=[])) == [why]


def shown(monkeypatch: pytest.MonkeyPatch, seen: Seen, *, pools: bool) -> int:
    """The exit status of the command, for which that was found."""
    settings = argparse.Namespace(json=False, dry_run=False, pools=pools)
    monkeypatch.setattr(command, "_read", lambda *_: seen)
    return command.run(cast(Any, object()), {}, settings)


def seen_with(*rows: inventory.Row, silent: list[dict[str, str]]) -> Seen:
    return Seen(rows=list(rows), pools=[], away=[], silent=silent, twice=[])


def test_a_node_that_did_not_answer_is_one_line_below_the_pools_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "node node1 did not answer: its kubelet cannot be reached"
    there = inventory.Objects({"loop.flexvol": DRIVER}, [volume("a")], [], [], {"node1"}, OURS)
    (unseen,) = inventory.join({}, {("node1", DRIVER): why}, there)
    silent = [{"node": "node1", "driver": DRIVER, "error": why}]

    status = shown(monkeypatch, seen_with(unseen, silent=silent), pools=True)

    assert capsys.readouterr().out.count(why) == 1
    assert status == 1


def test_the_list_of_pools_does_not_fail_for_a_volume_that_it_does_not_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    orphan = joined([entry("a", blank=False)], [], [])

    assert shown(monkeypatch, seen_with(orphan, silent=[]), pools=True) == 0
    assert "orphan" not in capsys.readouterr().out
    assert shown(monkeypatch, seen_with(orphan, silent=[]), pools=False) == 1
    assert "is orphan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("listed", "state", "why"),
    [
        pytest.param({"freeBytes": 5}, "takes volumes", "", id="a pool with room"),
        pytest.param({"error": "x is away"}, "away", "x is away", id="a pool that is away"),
        pytest.param({"cordoned": True}, "cordoned", "takes no new volumes", id="a cordoned pool"),
        pytest.param(
            {"noRoom": "no inodes"}, "closed", "no inodes", id="a disk that is full of files"
        ),
        pytest.param({"freeBytes": "many"}, "takes volumes", "", id="a number that is none"),
    ],
)
def test_the_pools_of_each_node_are_shown_with_their_room(
    listed: dict[str, Any], state: str, why: str
) -> None:
    answers = {
        ("node2", DRIVER): Listed([], [{"name": "fast", "id": "60", "capacityBytes": 9, **listed}]),
        ("node1", DRIVER): Listed([], [{"name": "default"}]),
    }

    first, second = inventory.pools(answers)

    assert (first["node"], first["pool"], first["capacityBytes"]) == ("node1", "default", None)
    assert (second["node"], second["state"], second["capacityBytes"]) == ("node2", state, 9)
    assert why in second["why"]
    assert second["freeBytes"] in (5, None)
    cells = tables.pool_cells(second)
    assert len(cells) == len(tables.POOL_HEADINGS)
    assert cells[:3] == ["node2", "fast", state]
