"""The state of a volume, from what its driver lists and what the API server has."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controller import inventory
from cluster.controller.inventory import ClusterObjects
from cluster.controller.objects import Claim, Pod, Volume
from cluster.controller.storage import Listed
from cluster.kubectl import inventory as command
from cluster.kubectl.inventory import sentences
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


def known(
    volumes: list[dict[str, Any]],
    claims: list[dict[str, Any]],
    pods: Iterable[dict[str, Any]] = (),
) -> ClusterObjects:
    """A cluster with node1 and node2."""
    return ClusterObjects(
        drivers={"loop.flexvol": DRIVER, "fast.flexvol": "flexvol/fast"},
        volumes=[Volume(one) for one in volumes],
        claims=[Claim(one) for one in claims],
        pods=[Pod(one) for one in pods],
        nodes={"node1", "node2"},
        cluster_uid=OURS,
    )


def joined(
    listed: list[dict[str, Any]],
    volumes: list[dict[str, Any]],
    claims: list[dict[str, Any]],
    pods: list[dict[str, Any]] | None = None,
    pools: list[dict[str, Any]] | None = None,
    silent: str = "",
) -> inventory.Row:
    """The one row, of a cluster with node1 and node2, of which node1 is asked."""
    there = known(volumes, claims, pods or [])
    answers = {} if silent else {("node1", DRIVER): Listed(listed, pools or [])}
    (row,) = inventory.join(answers, {("node1", DRIVER): silent} if silent else {}, there)
    return row


CASES = [
    pytest.param([entry("a")], [volume("a")], [claim("a")], "bound", "", id="a PV and its claim"),
    pytest.param(
        [entry("a")], [volume("a")], [], "released", "being deleted", id="a PV whose claim is gone"
    ),
    pytest.param(
        [entry("a")],
        [volume("a")],
        [claim("a", bound_to="b")],
        "released",
        "its claim is bound to the PV b",
        id="a PV whose claim has another one",
    ),
    pytest.param(
        [entry("a")],
        [volume("a", policy="Retain")],
        [],
        "released",
        "policy keeps it",
        id="a retained PV whose claim is gone",
    ),
    pytest.param(
        [entry("a")],
        [volume("a", policy="Retain")],
        [claim("a", "another")],
        "released",
        "policy keeps it",
        id="a retained PV whose claim was made anew under its name",
    ),
    pytest.param(
        [entry("a")],
        [volume("a", claimRef={"namespace": "shop", "name": "a"})],
        [],
        "available",
        "waits for its claim",
        id="a PV that waits for a claim of a name",
    ),
    pytest.param(
        [entry("a")],
        [volume("a", claimRef=None)],
        [],
        "available",
        "waits for a claim",
        id="a PV that waits for any claim",
    ),
    pytest.param(
        [entry("a")],
        [],
        [claim("a")],
        "pending",
        "not written yet",
        id="a claim whose PV is not written yet",
    ),
    pytest.param([entry("a")], [], [], "orphan", "never mounted", id="neither a PV nor a claim"),
    pytest.param(
        [entry("a")],
        [],
        [claim("a", bound_to="a")],
        "pending",
        "was deleted while its claim",
        id="a claim that names a PV that was deleted",
    ),
    pytest.param(
        [entry("a")],
        [],
        [claim("a", bound_to="b")],
        "orphan",
        "never mounted",
        id="a claim that is bound to another PV",
    ),
    pytest.param(
        [entry("a", blank=False)],
        [],
        [claim("a", "another")],
        "orphan",
        "may hold data",
        id="a claim that was made anew under its name",
    ),
    pytest.param(
        [entry("a", owner="?")], [], [], "orphan", "does not say", id="an owner that is no object"
    ),
    pytest.param(
        [entry("a", clusterUid="old")],
        [],
        [],
        "foreign",
        "made for the cluster old",
        id="a volume of another cluster",
    ),
    pytest.param(
        [entry("a", state="archived", archiveOf="pvc-1", keptUntil="2031")],
        [],
        [],
        "archived",
        "pvc-1, which is kept",
        id="an archive",
    ),
    pytest.param(
        [entry("a", kind="snapshot", source="pvc-1")],
        [],
        [claim("a")],
        "snapshot",
        "a snapshot of pvc-1",
        id="a snapshot",
    ),
    pytest.param(
        [entry("a")],
        [volume("a", "node2")],
        [claim("a")],
        "orphan",
        "another volume, on node node2",
        id="a PV of its name on another node",
    ),
]


@pytest.mark.parametrize(("listed", "volumes", "claims", "state", "words"), CASES)
def test_a_volume_is_in_the_state_that_its_pv_and_claim_make(
    listed: list[dict[str, Any]],
    volumes: list[dict[str, Any]],
    claims: list[dict[str, Any]],
    state: str,
    words: str,
) -> None:
    there = known(volumes, claims)
    row = inventory.join({("node1", DRIVER): Listed(listed, [])}, {}, there)[0]

    assert (row.name, row.node, row.state) == ("a", "node1", state)
    assert words in row.why
    assert row.is_wrong == (state == "orphan")


FOR_ANY = {"namespace": "*", "name": "*", "uid": "awaited"}


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"reclaimPolicy": "Retain"}, id="it was retained"),
        pytest.param({"blank": False}, id="it was mounted"),
    ],
)
def test_a_static_volume_without_its_pv_says_that_it_is_for_any_claim(more: dict[str, Any]) -> None:
    row = joined([entry("films", owner=FOR_ANY, **more)], [], [])

    assert (row.state, row.claim) == ("orphan", "any claim")
    assert "it was made for any claim, and gets its PV again by kubectl flexvol static" in row.why
    assert "adopt" not in row.why


def test_without_an_api_server_a_static_volume_is_for_any_claim_too() -> None:
    listed = {("", DRIVER): Listed([entry("films", owner=FOR_ANY)], [])}

    (row,) = inventory.join(listed, {}, None)

    assert row.claim == "any claim"


def test_a_copy_in_another_pool_of_the_node_is_not_what_the_pv_means() -> None:
    there = known([volume("a")], [claim("a")])
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


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"damaged": True}, id="its file system has errors"),
        pytest.param({"error": "its record cannot be read"}, id="its record cannot be read"),
    ],
)
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


def test_a_volume_whose_pool_came_with_its_disk_from_another_node_is_told_apart() -> None:
    """Also a machine that was installed anew under another name, with its old disk."""
    there = known([volume("a", "node2")], [claim("a")])
    moved, other = (
        inventory.join({("node1", DRIVER): Listed([one], [])}, {}, there)[0]
        for one in (entry("a"), entry("a", poolId="60"))
    )

    assert "its disk was moved or copied to this node" in moved.why
    assert "moved or copied" not in other.why


def web(claim_name: str = "a") -> dict[str, Any]:
    source = {"persistentVolumeClaim": {"claimName": claim_name}}
    metadata = {"name": "web", "namespace": "shop"}
    return {"metadata": metadata, "spec": {"volumes": [{"name": "data", **source}]}}


def test_the_pod_of_a_new_claim_is_not_shown_at_the_volume_of_its_predecessor() -> None:
    """A StatefulSet makes its claims anew under the same names."""
    released = volume("a", policy="Retain")
    successor = volume("b", claimRef={"namespace": "shop", "name": "a", "uid": "new"})
    there = known([released, successor], [claim("a", "new")], [web()])

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
    there = known([volume("a"), volume("b")], [claim("a"), claim("b")])
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
    settings = argparse.Namespace(output=None, dry_run=False, pools=pools)
    monkeypatch.setattr(command, "_read", lambda *_: seen)
    return command.run(cast(Any, object()), {}, settings)


def seen_with(*rows: inventory.Row, silent: list[dict[str, str]]) -> Seen:
    return Seen(rows=list(rows), pools=[], away=[], silent=silent, twice=[])


def test_a_node_that_did_not_answer_is_one_line_below_the_pools_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "node node1 did not answer: its kubelet cannot be reached"
    there = known([volume("a")], [])
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
    ("pools", "why"),
    [
        pytest.param([{"name": "default", "error": "not mounted"}], "not mounted", id="it is away"),
        pytest.param(
            [{"name": "fast", "error": "not mounted"}, {"name": "default"}],
            "look for its directory",
            id="another pool is away",
        ),
        pytest.param([], "look for its directory", id="no pool is listed"),
    ],
)
def test_a_pv_whose_volume_is_not_listed_tells_of_its_own_pool(
    pools: list[dict[str, Any]], why: str
) -> None:
    row = joined([], [volume("a")], [claim("a")], pools=pools)

    assert row.state == "missing"
    assert why in row.why


def test_a_driver_that_does_not_say_in_which_pool_a_volume_is_lists_the_one_that_the_pv_means() -> (
    None
):
    listed = {key: value for key, value in entry("a").items() if key != "poolId"}

    assert joined([listed], [volume("a")], [claim("a")]).state == "bound"


@pytest.mark.parametrize(
    ("node", "more", "why"),
    [
        pytest.param("node2", {}, "node2", id="a node that was not asked"),
        pytest.param("shared", {"nodeAffinity": None}, "names no node", id="no node at all"),
    ],
)
def test_a_pv_whose_node_was_not_asked_is_unseen(node: str, more: dict[str, Any], why: str) -> None:
    row = joined([], [volume("a", node, **more)], [claim("a")])

    assert row.state == "unseen"
    assert why in row.why


@pytest.mark.parametrize(
    ("more", "is_told"),
    [
        pytest.param({"state": "moving", "movingTo": "node2"}, True, id="it moves to a node"),
        pytest.param({"state": "moving"}, False, id="it moves, and its driver does not say where"),
        pytest.param({"movingTo": "node2"}, False, id="it does not move any more"),
    ],
)
def test_a_move_is_told_with_the_node_that_it_goes_to(more: dict[str, Any], is_told: bool) -> None:
    row = joined([entry("a", **more)], [volume("a")], [claim("a")])

    assert ("being moved to node node2" in row.why) == is_told
