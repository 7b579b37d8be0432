"""What a claim in hand costs, and how it comes again; what becomes of claims is tested on a
cluster."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controller import provision
from controller.provision import Provision
from controller.secrets import Secrets
from controller.storage import Storage
from controller.workqueue import WorkQueue
from tests.unit.test_decide import NODE as US
from tests.unit.test_decide import claim, storage_class

NODE = {"metadata": {"name": "node1", "labels": {"kubernetes.io/hostname": "node1"}}}


class Api:
    """Knows the node, and notes what it is asked to change."""

    def __init__(self) -> None:
        self.patched: list[tuple[str, Any]] = []

    def uid(self) -> str:
        return "cluster"

    def get(self, path: str) -> Any:
        return NODE if path == "/api/v1/nodes/node1" else None

    def patch(self, path: str, change: Any) -> None:
        self.patched.append((path, change))


class Parts:
    def __init__(self, plugins: Path) -> None:
        self.api, self.work, self.said = Api(), WorkQueue(), list[str]()
        events: Any = SimpleNamespace(
            normal=lambda *_: None, warning=lambda about, reason, message: self.said.append(message)
        )
        api: Any = self.api
        secrets = Secrets(api, US, "flexvol")
        self.provision = Provision(api, Storage(str(plugins)), events, self.work, US, secrets)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    made = Parts(tmp_path)
    made.provision.class_changed(our_class("1"))
    return made


def our_class(version: str, late: bool = True) -> dict[str, Any]:
    return {
        **storage_class(late=late),
        "metadata": {"name": "c", "uid": "class", "resourceVersion": version},
    }


def driver(plugins: Path, script: str) -> None:
    path = plugins / "flexvol~loop/loop"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)


def waiting(uid: str, **changes: Any) -> dict[str, Any]:
    made = claim(resources={"requests": {"storage": "1Mi"}}, **changes)
    made["metadata"].update(name=uid, uid=uid, resourceVersion="7")
    return made


def test_what_waits_for_others_or_is_bound_is_not_held(parts: Parts) -> None:
    for number in range(10_000):
        parts.provision.claim_changed(waiting(f"foreign-{number}", provisioner="another"))
    parts.provision.claim_changed(waiting("mine"))

    assert parts.work.waiting() == 1
    assert parts.provision.in_hand("mine")
    assert not any(parts.provision.in_hand(f"foreign-{number}") for number in range(10_000))

    parts.provision.claim_changed(waiting("mine", volumeName="pvc-mine"))

    assert parts.work.waiting() == 0
    assert not parts.provision.in_hand("mine")


def test_what_only_a_change_can_help_is_tried_again_slowly(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision, "SLOW_SECONDS", 0.4)
    driver(
        tmp_path,
        'echo \'{"status": "Failure", "reason": "InvalidArgument", "message": "no such thing"}\'\n',
    )
    parts.provision.claim_changed(waiting("mine"))

    for attempt in (1, 2):
        key: Any = parts.work.get()
        parts.provision.sync(key)
        ended = time.monotonic()
        assert len(parts.said) == attempt and "no such thing" in parts.said[-1]

        assert parts.work.get() == ("claim", "mine")
        assert 0.35 < time.monotonic() - ended < 5
        parts.work.done(key, 0)


def test_a_node_is_set_only_on_the_claim_as_it_was_seen(parts: Parts) -> None:
    parts.provision.class_changed(our_class("2", late=False))
    room: Any = SimpleNamespace(
        rooms=lambda name: {"node1": 1 << 30}, has_pools=lambda name: True, changed=lambda: None
    )
    parts.provision.capacity = room
    parts.provision.claim_changed(waiting("mine", node=""))

    while not parts.api.patched:
        key: Any = parts.work.get()
        parts.provision.sync(key)

    (change,) = parts.api.patched
    note = {"volume.kubernetes.io/selected-node": "node1"}
    assert change == (
        "/api/v1/namespaces/shop/persistentvolumeclaims/mine",
        {"metadata": {"annotations": note, "resourceVersion": "7"}},
    )
