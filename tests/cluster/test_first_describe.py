"""A newcomer describes the first claim and the first pod: nothing there is a warning, also where
the class is new."""

from __future__ import annotations

import time

from tests.cluster.kubernetes import Kubernetes, published, storage_class
from tests.waiting import wait_until

# From a class to its room on each node, where nothing else is at work. It was up to a second, and
# the time in which the driver lists, while the drivers were asked first.
ROOM_SECONDS = 1.0


def warnings(k8s: Kubernetes) -> list[str]:
    """The warnings about everything in the namespace of the test."""
    return [
        f"{event['involvedObject']['kind']} {event['reason']}: {event['message']}"
        for event in k8s.all("events")
        if event["type"] == "Warning"
    ]


def test_the_first_claim_and_pod_of_a_class_have_no_warning(k8s: Kubernetes) -> None:
    k8s.claim("data")
    k8s.pod("web", claim="data")

    assert warnings(k8s) == []


def test_the_room_of_a_new_class_is_there_before_its_first_pod_can_be(k8s: Kubernetes) -> None:
    name = f"first-{k8s.namespace}"
    k8s.apply(storage_class(name))
    began = time.monotonic()
    wait_until("its room is published", lambda: len(published(k8s, name)) == 2, 10)
    seconds = time.monotonic() - began
    print(f"from the class to the room of both nodes: at most {seconds:.2f} s")

    k8s.claim("data", storage_class=name)
    k8s.pod("web", claim="data")

    assert warnings(k8s) == []
    assert seconds < ROOM_SECONDS
