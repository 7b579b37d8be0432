"""Which drivers the nodes serve, as their DaemonSets say, and what comes of that for the duties."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller import served
from cluster.controller.cluster import Refused, Unreachable
from cluster.controller.cluster_duties import ClusterDuties, Settings
from tests.unit.cluster.controller.objects import DRIVERS, claim, storage_class

LOOP = {"loop.flexvol": "flexvol/loop"}
DIRECTORY = {"directory.flexvol": "flexvol/directory"}
CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
CLAIM = "/api/v1/namespaces/shop/persistentvolumeclaims/data"
SETS = "/apis/apps/v1/namespaces/flexvol/daemonsets"


def daemon_set(*words: str, **container: Any) -> dict[str, Any]:
    containers = [{"args": list(words), **container}]
    return {"spec": {"template": {"spec": {"containers": containers}}}}


@pytest.mark.parametrize(
    ("sets", "drivers"),
    [
        pytest.param(
            [daemon_set("--node=$(NODE_NAME)")], LOOP, id="the driver that is the default"
        ),
        pytest.param(
            [daemon_set("--node=n", "--driver=flexvol/directory")], DIRECTORY, id="another one"
        ),
        pytest.param(
            [
                daemon_set(
                    "--node", "n", "--driver", "flexvol/directory", "--driver", "flexvol/loop"
                )
            ],
            {**LOOP, **DIRECTORY},
            id="two, as words of their own",
        ),
        pytest.param(
            [daemon_set("--node=n"), daemon_set("--node=n", "--driver=flexvol/directory")],
            {**LOOP, **DIRECTORY},
            id="two DaemonSets",
        ),
        pytest.param(
            [daemon_set(command=["provisioner", "--node=n"])], LOOP, id="words of the command"
        ),
        pytest.param([daemon_set("--identity=shared")], {}, id="shared mode is no node's"),
        pytest.param([daemon_set(), daemon_set("--verbose")], {}, id="somebody else's DaemonSet"),
        pytest.param(
            [daemon_set("--node=n", "--driver=$(DRIVER)", "--driver")], {}, id="no driver's name"
        ),
        pytest.param([], {}, id="no DaemonSet"),
    ],
)
def test_what_the_nodes_serve(sets: list[dict[str, Any]], drivers: dict[str, str]) -> None:
    assert served.drivers_of(sets) == drivers


class Api:
    """Lists and objects by path. failures: of the next reads of the claims, one each."""

    def __init__(self, *sets: dict[str, Any]) -> None:
        self.lists: dict[str, list[Any]] = {SETS: list(sets), CLAIMS: [], VOLUMES: []}
        self.objects: dict[str, Any] = {}
        self.patched: list[str] = []
        self.failures: list[Exception] = []

    def items(self, path: str) -> list[Any]:
        if path == CLAIMS and self.failures:
            raise self.failures.pop()
        return self.lists[path]

    def get(self, path: str) -> Any:
        return self.objects.get(path)

    def patch(self, path: str, change: Any) -> None:
        self.patched.append(path)


def duties(api: Any, learns: bool, said: list[str]) -> ClusterDuties:
    events: Any = SimpleNamespace(
        warning=lambda about, reason, message: said.append(message), normal=lambda *_: None
    )
    return ClusterDuties(
        api, events, dict(DRIVERS), Settings("flexvol", 60.0, learns), lambda: True
    )


def waiting(**changes: Any) -> dict[str, Any]:
    found = claim(**changes)
    found["metadata"].update(uid="u", resourceVersion="1", namespace="shop", name="data")
    return found


@pytest.mark.parametrize(
    ("learns", "lives", "patched"),
    [
        pytest.param(True, True, [CLAIM], id="a claim of the new driver gets another node"),
        pytest.param(True, False, [], id="one that is gone by now is forgotten"),
        pytest.param(False, True, [], id="who was told what to serve serves that"),
    ],
)
def test_a_driver_that_only_the_nodes_were_told_of_is_looked_after(
    learns: bool, lives: bool, patched: list[str]
) -> None:
    api = Api(daemon_set("--node=n", "--driver=flexvol/directory"))
    waits = waiting(node="gone", provisioner="directory.flexvol")
    api.lists[CLAIMS] = [waits]
    if lives:
        api.objects[CLAIM] = waits
    found = duties(api, learns, [])
    found.claims.changed(waits)  # the watch tells it before anybody has learned of the driver

    found._round()

    assert api.patched == patched


@pytest.mark.parametrize(
    "failing",
    [
        pytest.param(Unreachable("nobody answers"), id="the API server does not answer"),
        pytest.param(Refused(500, "a moment"), id="the API server has trouble of its own"),
    ],
)
def test_what_could_not_be_read_of_a_new_driver_is_read_later(failing: Exception) -> None:
    """The watches have told of it before, and do not again."""
    api = Api(daemon_set("--node=n", "--driver=flexvol/directory"))
    waits = waiting(node="gone", provisioner="directory.flexvol")
    api.lists[CLAIMS] = [waits]
    api.objects[CLAIM] = waits
    found = duties(api, True, [])
    api.failures = [failing]

    with pytest.raises(type(failing)):
        found._round()
    found._round()

    assert api.failures == []
    assert api.patched == [CLAIM]


def test_a_claim_that_is_bound_while_it_is_read_does_not_wait() -> None:
    """The watch tells that before the list, which is older, is worked on."""
    api = Api(daemon_set("--node=n", "--driver=flexvol/directory"))
    waits = waiting(node="gone", provisioner="directory.flexvol")
    is_bound = waiting(node="gone", provisioner="directory.flexvol", volumeName="pvc-u")
    is_bound["metadata"]["resourceVersion"] = "2"
    found = duties(api, True, [])

    def items(path: str) -> list[Any]:
        if path != CLAIMS:
            return [*api.lists[path]]
        api.objects[CLAIM] = is_bound
        found.claims.changed(is_bound)
        return [waits]

    api.items = items  # type: ignore[method-assign]
    found._round()

    assert found.claims.all() == []
    assert api.patched == []


def test_of_a_shared_driver_nothing_is_said() -> None:
    """A claim for ReadWriteMany waits a moment for the shared provisioner."""
    said: list[str] = []
    api = Api(daemon_set("--node=n", "--driver=flexvol/directory"))
    found = duties(api, True, said)
    shared = waiting(node="", accessModes=["ReadWriteMany"])
    of_node = waiting(node="", provisioner="directory.flexvol", accessModes=["ReadWriteMany"])
    of_node["metadata"]["uid"] = "v"
    class_path = "/apis/storage.k8s.io/v1/storageclasses/c"

    api.objects[class_path] = storage_class(late=False)
    found.claims.changed(shared)
    found._round()
    assert said == []

    api.objects[class_path] = storage_class(late=False, provisioner="directory.flexvol")
    found.claims.changed(of_node)
    found._round()
    (sentence,) = said
    assert "ReadWriteMany is not possible with storage of one node" in sentence


def test_without_the_right_to_see_them_what_was_told_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(path: str) -> list[Any]:
        raise Refused(403, "GET daemonsets: 403 forbidden")

    api: Any = SimpleNamespace(items=refuse)
    found = served.Served(api, "flexvol", LOOP)
    for _ in range(2):
        found._read_at = float("-inf")
        found.read()

    assert found.drivers == LOOP
    assert len(caplog.records) == 1
