"""A newcomer describes the first claim and the first pod: nothing there is a warning, also where
the class is new."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import yaml

from tests.cluster.namespaces import Kubernetes, pod, published, storage_class
from tests.waiting import wait_until

# From a class to its room on each node, where nothing else is at work. It was up to a second, and
# the time in which the driver lists, while the drivers were asked first.
ROOM_SECONDS = 1.0

# What the scheduler of a busy machine says of a claim of which only the API server knows yet.
UNSEEN = 'persistentvolumeclaim "data" not found'

CLAIM = {
    "accessModes": ["ReadWriteOnce"],
    "resources": {"requests": {"storage": "64Mi"}},
}


@contextlib.contextmanager
def deleted_later(k8s: Kubernetes, name: str) -> Iterator[None]:
    """Deletes the class of that name in the end."""
    try:
        yield
    finally:
        k8s.cluster.kubectl("delete", "storageclass", name, capture_output=True)


def warnings(k8s: Kubernetes) -> list[str]:
    """The warnings about everything in the namespace of the test, without that of a scheduler that
    sees the pod before its claim."""
    return [
        f"{event['involvedObject']['kind']} {event['reason']}: {event['message']}"
        for event in k8s.all("events")
        if event["type"] == "Warning" and UNSEEN not in event["message"]
    ]


def test_the_first_claim_and_pod_of_a_class_have_no_warning(k8s: Kubernetes) -> None:
    k8s.claim("data")
    k8s.pod("web", claim="data")

    assert warnings(k8s) == []


def test_a_class_with_its_claim_and_pod_in_one_manifest(k8s: Kubernetes) -> None:
    """The scheduler may look at the pod before any node has seen the class. It then says that once,
    and takes the pod when the room is published."""
    name = f"one-{k8s.namespace}"
    template = {"metadata": {"name": "data"}, "spec": CLAIM | {"storageClassName": name}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **template}
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    manifest = [storage_class(name), claim, pod("web", [volume])]

    with deleted_later(k8s, name):
        k8s.run("apply", "-f", "-", input=yaml.safe_dump_all(manifest))
        k8s.running("web")

    found = warnings(k8s)
    print(f"warnings of a pod that comes with its class: {len(found)}")
    assert all("did not have enough free storage" in warning for warning in found)
    assert len(found) <= 1


def test_the_room_of_a_new_class_is_there_before_its_first_pod_can_be(k8s: Kubernetes) -> None:
    name = f"first-{k8s.namespace}"
    with deleted_later(k8s, name):
        k8s.apply(storage_class(name))
        began = time.monotonic()
        wait_until("its room is published", lambda: len(published(k8s, name)) == 2, 10)
        seconds = time.monotonic() - began
        print(f"from the class to the room of both nodes: at most {seconds:.2f} s")

        k8s.claim("data", storage_class=name)
        k8s.pod("web", claim="data")

    assert warnings(k8s) == []
    assert seconds < ROOM_SECONDS
