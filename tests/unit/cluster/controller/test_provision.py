"""What a claim in hand costs, and how it comes again; what becomes of claims is tested on a
cluster."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cluster.controller import retry
from cluster.controller.objects import Claim
from shared import options, protocol
from tests.unit.cluster.controller.one_node import Parts, driver, our_class, waiting


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    made = Parts(tmp_path)
    made.classes.changed(our_class("1"))
    return made


def test_what_waits_for_others_or_is_bound_is_not_held(parts: Parts) -> None:
    for number in range(10_000):
        parts.claims.changed(waiting(f"foreign-{number}", provisioner="another"))
    parts.claims.changed(waiting("mine"))

    assert parts.work.waiting() == 1
    assert parts.claims.in_hand("mine")
    assert not any(parts.claims.in_hand(f"foreign-{number}") for number in range(10_000))

    parts.claims.changed(waiting("mine", volumeName="pvc-mine"))

    assert parts.work.waiting_keys() == []
    assert not parts.claims.in_hand("mine")


def test_what_only_a_change_can_help_is_tried_again_slowly(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    briefly = retry.Retry(retry.Pause(0.4, 0.4))
    monkeypatch.setitem(retry.AFTER, protocol.InvalidArgument, briefly)
    driver(
        tmp_path,
        'echo \'{"status": "Failure", "reason": "InvalidArgument", "message": "no such thing"}\'\n',
    )
    parts.claims.changed(waiting("mine"))

    for attempt in (1, 2):
        key: Any = parts.work.get()
        parts.provision.sync(key)
        ended = time.monotonic()
        assert len(parts.said) == attempt and "no such thing" in parts.said[-1]

        assert parts.work.get() == ("claim", "mine")
        assert 0.35 < time.monotonic() - ended < 5
        parts.work.again(key, 0)


def test_the_nodes_hostname_label_is_read_for_each_volume(parts: Parts) -> None:
    assert parts.node.recent_hostname() == "node1"
    parts.news.take_change()

    parts.api.node["metadata"]["labels"] = {"kubernetes.io/hostname": "renamed"}

    assert parts.node.recent_hostname() == "node1"  # it is not asked for so often
    assert not parts.news.take_change()
    assert parts.node.hostname() == "renamed"
    assert parts.node.recent_hostname() == "renamed"
    assert parts.news.take_change()
    parts.api.node["metadata"]["labels"] = {}
    with pytest.raises(protocol.Unavailable, match="has no label"):
        parts.node.hostname()


def test_a_node_is_set_only_on_the_claim_as_it_was_seen(parts: Parts) -> None:
    parts.classes.changed(our_class("2", late=False))
    parts.claims.changed(waiting("mine", node=""))

    while not parts.api.patched:
        key: Any = parts.work.get()
        parts.provision.sync(key)

    (change,) = parts.api.patched
    note = {"volume.kubernetes.io/selected-node": "node1"}
    assert change == (
        "/api/v1/namespaces/shop/persistentvolumeclaims/mine",
        {"metadata": {"annotations": note, "resourceVersion": "7"}},
    )


@pytest.mark.parametrize(
    ("node", "is_anyones"),
    [
        pytest.param("", True, id="a claim without a node is anyone's"),
        pytest.param("node1", False, id="a claim whose node is ours is ours"),
    ],
)
def test_a_claim_that_any_node_may_take_is_no_work_of_this_one(
    parts: Parts, node: str, is_anyones: bool
) -> None:
    parts.classes.changed(our_class("2", late=False))
    parts.claims.changed(waiting("mine", node=node))

    assert parts.work.waiting_keys() == [("claim", "mine")]
    assert parts.claims.is_anyones("mine") == is_anyones
    assert not parts.claims.is_anyones("another")


PENDING = '{"status": "Failure", "reason": "Pending", "message": "half done"}'
NOT_FOUND = '{"status": "Failure", "reason": "NotFound", "message": "nothing is there"}'
FOUND = (
    '{"status": "Success", "volume": {"options": {"pool": "a", "poolId": "1"}, '
    '"capacityBytes": 1048576, "fsType": "ext4"}}'
)


def undoing(plugins: Path, found: str) -> Path:
    """A driver that begins to make a volume, and answers `found` when it is only to find it.
    Returns the file of its calls: the callout and its options."""
    calls = plugins / "calls"
    calls.touch()
    driver(
        plugins,
        f"""
echo "$@" >>{calls}
case "$*" in
delete*) echo '{{"status": "Success"}}' ;;
*onlyFind*) echo '{found}' ;;
*) echo '{PENDING}' ;;
esac
""",
    )
    return calls


@pytest.mark.parametrize(
    ("found", "callouts"),
    [
        pytest.param(
            FOUND,
            ["provision", "provision", "delete"],
            id="what there is is deleted",
        ),
        pytest.param(
            NOT_FOUND,
            ["provision", "provision"],
            id="what is not there is not made",
        ),
    ],
)
def test_a_claim_that_goes_while_its_volume_is_made_makes_none_to_delete_it(
    parts: Parts, tmp_path: Path, found: str, callouts: list[str]
) -> None:
    calls = undoing(tmp_path, found)
    parts.claims.changed(waiting("mine"))
    key: Any = parts.work.get()
    parts.provision.sync(key)
    parts.claims.gone(waiting("mine"))

    key = parts.work.get()
    parts.provision.sync(key)

    lines = calls.read_text().splitlines()
    assert [line.split()[0] for line in lines] == callouts
    assert ["onlyFind" in line for line in lines[:2]] == [False, True]
    assert all("onlyIfBlank" in line for line in lines[2:])
    assert not parts.claims.in_hand("mine")


def test_a_pv_that_goes_wakes_the_claim_that_still_waits_for_it(parts: Parts) -> None:
    parts.claims.changed(waiting("mine"))
    key: Any = parts.work.get()
    parts.work.done(key)
    gone = {"metadata": {"name": "pvc-mine"}, "spec": {"claimRef": {"uid": "another"}}}

    parts.volumes.gone(gone)
    parts.volumes.gone({**gone, "spec": {}})
    assert parts.work.waiting_keys() == []

    parts.volumes.gone({**gone, "spec": {"claimRef": {"uid": "mine"}}})
    assert parts.work.get() == ("claim", "mine")


def test_a_claim_that_waits_for_calls_of_the_driver_to_end_costs_nothing(
    parts: Parts, tmp_path: Path
) -> None:
    """It comes again each second, and may be one of hundreds."""
    go = tmp_path / "go"
    driver(
        tmp_path, f'while [ ! -e {go} ]; do sleep 0.01; done\necho \'{{"status": "Success"}}\'\n'
    )
    request = options.Options({options.REQUEST_BYTES: "100", options.VOLUME: "pvc-1"})
    with ThreadPoolExecutor() as threads:
        running = [
            threads.submit(
                parts.storage.provision,
                "flexvol/loop",
                request,
            )
            for _ in range(4)
        ]
        while parts.storage.running("flexvol/loop") < 4:
            time.sleep(0.01)
        parts.claims.changed(waiting("mine"))
        key: Any = parts.work.get()
        parts.provision.sync(key)
        go.touch()
        for one in running:
            one.result(10)

    assert parts.api.read == []
    assert (parts.announced, parts.said) == ([], [])
    assert parts.work.waiting_keys() == [key]


def test_a_long_copy_has_one_event_however_often_the_driver_is_called(
    parts: Parts, tmp_path: Path
) -> None:
    undoing(tmp_path, NOT_FOUND)
    for uid in ("mine", "other"):
        parts.claims.changed(waiting(uid))
        key: Any = parts.work.get()
        for _ in range(5):
            parts.provision.sync(key)
        parts.work.forget(key)
    assert parts.announced == ["Provisioning", "Provisioning"]

    parts.claims.gone(waiting("mine"))
    parts.claims.changed(waiting("mine"))
    parts.provision.sync(("claim", "mine"))
    assert parts.announced == ["Provisioning"] * 3, "it came back to this node"


UNAVAILABLE = '{"status": "Failure", "reason": "Unavailable", "message": "its disk is away"}'


def test_a_claim_whose_node_cannot_make_it_is_given_back(parts: Parts, tmp_path: Path) -> None:
    driver(tmp_path, f"echo '{UNAVAILABLE}'\n")
    parts.claims.changed(waiting("mine"))
    key: Any = parts.work.get()

    parts.provision.sync(key)

    (change,) = parts.api.patched
    assert change[1]["metadata"]["annotations"] == {"volume.kubernetes.io/selected-node": None}
    assert parts.work.waiting_keys() == []


@pytest.mark.parametrize("failure", [protocol.Unavailable, protocol.ResourceExhausted])
def test_a_claim_without_a_node_has_none_to_give_back_and_is_tried_again(
    parts: Parts, failure: type[protocol.Failure]
) -> None:
    """So it is in shared mode."""
    parts.claims.changed(waiting("mine"))
    key: Any = parts.work.get()

    parts.provision._failed(key, Claim(waiting("mine", node="")), failure("full"), False)

    assert parts.api.patched == []
    assert parts.work.waiting_keys() == [key]
    assert 0.7 < parts.work._due[key] - time.monotonic() < 1.3
