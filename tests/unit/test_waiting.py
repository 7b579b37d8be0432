"""wait_until, by which the tests of the cluster wait for a state."""

from __future__ import annotations

import pytest

from tests.waiting import wait_until


def test_a_condition_that_lacks_a_field_is_not_true_yet() -> None:
    pods: list[dict[str, str]] = [{}, {"node": "node1"}]

    assert wait_until("the pod has a node", lambda: pods.pop(0)["node"]) == "node1"


def test_the_last_error_is_told_when_the_time_is_over() -> None:
    pod: dict[str, str] = {}
    with pytest.raises(
        AssertionError, match=r"after 0 s still not: x; last seen: KeyError\('node'\)"
    ):
        wait_until("x", lambda: pod["node"], seconds=0)


def test_an_assertion_in_a_condition_ends_the_wait() -> None:
    def condition() -> bool:
        raise AssertionError("the pod has failed")

    with pytest.raises(AssertionError, match="the pod has failed"):
        wait_until("the pod runs", condition)
