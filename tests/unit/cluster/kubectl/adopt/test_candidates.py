"""Which volume a person means, and which claim it was of."""

from __future__ import annotations

import pytest

from cluster.kubectl.adopt.candidates import (
    Candidate,
    choose,
    is_left,
    meant,
    recorded_claim,
)
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
