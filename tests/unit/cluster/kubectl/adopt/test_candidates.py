"""Which volume a person means, and which claim it was of."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller.storage import Listed
from cluster.kubectl.adopt.candidates import (
    Candidate,
    candidates_of,
    check_brought_back,
    choose,
    is_left,
    meant,
    recorded_claim,
)
from cluster.kubectl.nodes import FlexvolNode, FlexvolPod
from shared import protocol
from tests.unit.cluster.kubectl.adopt.volumes import (
    ARCHIVE,
    CLAIM,
    archive,
    found,
)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        pytest.param([], "no node that answers", id="a volume that no node lists"),
        pytest.param(
            [found(), found(node="node2")],
            "is on node node1 and on node node2; name one with --node",
            id="one name on two nodes",
        ),
        pytest.param(
            [found(pool="fast"), found(pool="default")],
            "is in pool default and in pool fast of node node1, so neither was adopted",
            id="one name in two pools of a node",
        ),
        pytest.param(
            [found(error="its image is missing")], "its image is missing", id="a damaged volume"
        ),
        pytest.param(
            [found(kind="snapshot")], "cannot be adopted while it is 'snapshot'", id="a snapshot"
        ),
        pytest.param(
            [found(state="moving", movingTo="node2")],
            "cannot be adopted while it is being moved to node 'node2'",
            id="one on the move",
        ),
        pytest.param(
            [archive(), archive("archived-8899aabbccddeeff-pvc-1")],
            "name one of them: archived-0011223344556677-pvc-1, archived-8899aabbccddeeff-pvc-1",
            id="a volume with two archives",
        ),
        pytest.param(
            [found(), found("pvc-2", "node2")],
            "name one of them: pvc-1, pvc-2",
            id="a claim that two volumes were of",
        ),
    ],
)
def test_what_is_not_adopted(there: list[Candidate], said: str) -> None:
    with pytest.raises(protocol.Failure, match=said):
        choose("pvc-1", there)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        pytest.param(
            "shop/nothing",
            "no node that answers has a volume or an archive of the claim shop/nothing",
            id="a claim",
        ),
        pytest.param(
            "pvc-9", "no node that answers has a volume or an archive pvc-9", id="a volume"
        ),
    ],
)
def test_what_was_asked_for_and_is_nowhere_is_named(asked: str, sentence: str) -> None:
    with pytest.raises(protocol.NotFound) as error:
        choose(asked, [])

    assert str(error.value) == sentence


@pytest.mark.parametrize(
    "there",
    [
        pytest.param([found(), found(node="node2")], id="on two nodes"),
        pytest.param([found(pool="fast"), found(pool="default")], id="in two pools"),
        pytest.param([found(state="moving", movingTo="node2")], id="on the move"),
    ],
)
def test_of_a_claim_that_was_asked_for_the_sentences_name_the_volume(
    there: list[Candidate],
) -> None:
    """The commands in them take names of volumes."""
    with pytest.raises(protocol.Failure) as error:
        choose("shop/data", there)

    assert "the volume pvc-1 " in str(error.value)
    assert "shop/data" not in str(error.value)


OTHER = found("pvc-2", owner={"namespace": "shop", "name": "other", "uid": "u"})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("pvc-1", [found()], id="a volume comes before its archives"),
        pytest.param(ARCHIVE, [archive()], id="an archive has a name of its own"),
        pytest.param(
            "shop/data",
            [found(), archive()],
            id="a claim means all that it had",
        ),
        pytest.param("shop/other", [OTHER], id="another claim means its own"),
        pytest.param("pvc-9", [], id="a name that nothing has"),
        pytest.param("bank/data", [], id="a claim of another namespace"),
        pytest.param("shop/snap", [], id="a snapshot is no claim's volume"),
    ],
)
def test_what_a_person_means(words: str, expected: list[Candidate]) -> None:
    snapshot = found("kept", kind="snapshot", owner={"namespace": "shop", "name": "snap"})
    assert meant(words, [found(), archive(), OTHER, snapshot], set()) == expected


def test_a_volumes_name_means_its_archive_where_the_volume_is_gone() -> None:
    assert meant("pvc-1", [archive(), OTHER], set()) == [archive()]


def test_of_a_claims_volumes_those_without_a_pv_are_meant() -> None:
    both = [found(), found("pvc-2")]
    assert meant("shop/data", both, {"pvc-1"}) == [both[1]]
    assert meant("shop/data", both, {"pvc-1", "pvc-2"}) == both


def test_whose_it_was_comes_from_its_record() -> None:
    assert recorded_claim(found()) == CLAIM
    hostile = [
        None,
        {},
        {"namespace": "../x", "name": "data"},
        {"namespace": "shop", "name": ["a"]},
        "shop/data",
    ]
    for owner in hostile:
        with pytest.raises(protocol.InvalidArgument, match="names no claim"):
            recorded_claim(found(owner=owner))
    with pytest.raises(protocol.InvalidArgument, match="kubectl flexvol static"):
        recorded_claim(found(owner={"namespace": "*", "name": "*", "uid": "awaited"}))


def test_all_means_neither_archives_nor_what_is_about_to_get_its_pv_or_to_be_collected() -> None:
    assert [
        is_left(found(**changes).entry, "here")
        for changes in (
            {"state": "archived"},
            {"kind": "snapshot"},
            {"blank": True, "clusterUid": "here"},
            {"neverMounted": True, "clusterUid": "here"},
            {"blank": True},
            {"neverMounted": True},
            {"clusterUid": "here", "kind": "volume"},
        )
    ] == [True, True, True, True, False, False, False]


LOOP = "flexvol/loop"


def flexvol_node(name: str, identity: str) -> FlexvolNode:
    return FlexvolNode(name, (FlexvolPod(f"flexvol/{name}", (LOOP,), identity),))


def names_of(listed: dict[tuple[str, str], list[Any]]) -> list[tuple[str, str, str]]:
    nodes = {name: flexvol_node(name, f"of-{name}") for name in ("", "node1", "node2")}
    answers = {key: Listed(entries, []) for key, entries in listed.items()}
    return [(one.node, one.name, one.identity) for one in candidates_of(answers, nodes)]


def test_each_nodes_volumes_are_of_its_own_provisioner() -> None:
    listed = {("node2", LOOP): [{"name": "pvc-2"}], ("node1", LOOP): [{"name": "pvc-1"}]}

    assert names_of(listed) == [("node1", "pvc-1", "of-node1"), ("node2", "pvc-2", "of-node2")]


def test_storage_that_every_node_reaches_is_listed_once() -> None:
    listed = {
        ("", "flexvol/nfs"): [{"name": "pvc-1"}],
        ("node1", "flexvol/nfs"): [{"name": "pvc-1"}],
        ("node1", LOOP): [{"name": "pvc-2"}],
        ("node2", LOOP): [{"name": "pvc-3"}],
    }

    assert names_of(listed) == [
        ("", "pvc-1", "of-"),
        ("node1", "pvc-2", "of-node1"),
        ("node2", "pvc-3", "of-node2"),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({}, id="no name"),
        pytest.param({"name": 7}, id="a name that is a number"),
        pytest.param({"name": "../pvc-1"}, id="a name that is a path"),
        pytest.param({"name": ARCHIVE, "state": "archived"}, id="an archive of nothing"),
        pytest.param(
            {"name": ARCHIVE, "state": "archived", "archiveOf": "../pvc-1"},
            id="an archive of a path",
        ),
    ],
)
def test_what_has_no_usable_name_is_passed_over(entry: dict[str, Any]) -> None:
    whole = {"name": ARCHIVE, "state": "archived", "archiveOf": "pvc-1"}

    assert names_of({("node1", LOOP): [entry, whole]}) == [("node1", "pvc-1", "of-node1")]


def test_an_archive_that_came_back_before_the_command_was_killed_is_told() -> None:
    with pytest.raises(
        protocol.NotFound, match=r"its volume pvc-1 is on node node1; .* adopt pvc-1"
    ):
        check_brought_back(ARCHIVE, [found("pvc-9"), archive(), found()])


@pytest.mark.parametrize(
    ("name", "there"),
    [
        pytest.param("pvc-1", [found()], id="a volume"),
        pytest.param(ARCHIVE, [archive()], id="the archive itself"),
        pytest.param(ARCHIVE, [found("pvc-2")], id="another volume"),
        pytest.param(ARCHIVE, [], id="nothing at all"),
    ],
)
def test_what_did_not_come_back_is_no_matter_of_that_check(
    name: str, there: list[Candidate]
) -> None:
    check_brought_back(name, there)
