"""A name that anyone may have written leads to the object of that name or to none, whatever is in
it: path_to, the door's own check, and what a person's command really sends."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from cluster import kubectl
from cluster.controller import cluster

HOSTILE = [
    "../persistentvolumeclaims?watch=true",
    "..",
    ".",
    "",
    "pvc-1/status",
    "pvc-1%2Fstatus",
    "pvc-1?watch=true",
    "pvc-1#x",
    "pvc-1\n",
    "PVC-1",
    "-pvc",
    "pvc-",
    "a" * 254,
    "\udcff",
    "ü",
]


@given(st.text() | st.from_regex(r"[a-z0-9./%?-]{0,12}", fullmatch=True))
@example("pvc-1/status")
@example("..")
def test_a_name_is_one_segment_of_the_path_or_the_name_of_no_object(name: str) -> None:
    before, _, segment = cluster.path_to(cluster.VOLUMES, name).rpartition("/")

    assert before == cluster.VOLUMES
    assert segment == "-" or segment == name
    assert re.fullmatch(r"[-.a-z0-9]+", segment) and segment.strip(".")


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]{1,60}){0,3}", fullmatch=True))
def test_every_name_that_an_object_can_have_leads_to_that_object(name: str) -> None:
    assert cluster.path_to(cluster.VOLUMES, name) == f"{cluster.VOLUMES}/{name}"


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_no_other_name_leads_to_an_object(name: str) -> None:
    assert cluster.path_to(cluster.VOLUMES, name) == f"{cluster.VOLUMES}/-"
    namespaced = cluster.claim_path(name, name)
    assert namespaced == "/api/v1/namespaces/-/persistentvolumeclaims/-"


class Server(ThreadingHTTPServer):
    """An API server that has one claim, and notes what it is asked for."""

    def __init__(self, claim: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.claim = claim
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        there = self.path == "/api/v1/namespaces/shop/persistentvolumeclaims/data"
        body = json.dumps(self.server.claim if there else {"message": "not there"}).encode()
        self.send_response(200 if there else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PATCH = do_DELETE = do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing is logged; the test looks at `asked`."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"namespace": "shop", "name": "data", "uid": "u1", "resourceVersion": "1"},
        "spec": {
            "storageClassName": "c",
            "volumeName": request.param,
            "resources": {"requests": {"storage": "1Mi"}},
        },
    }
    made = Server(claim)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def kubeconfig(server: Server, path: Path) -> str:
    address = f"http://127.0.0.1:{server.server_port}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


@pytest.mark.parametrize("server", HOSTILE[:1] + HOSTILE[4:6], indirect=True, ids=ascii)
def test_a_claims_volume_name_never_leads_a_persons_command_elsewhere(
    server: Server, tmp_path: Path
) -> None:
    config = kubeconfig(server, tmp_path / "kubeconfig")

    kubectl.main(["cancel-expansion", "shop/data", "--kubeconfig", config], (), "x")

    assert f"{cluster.VOLUMES}/-" in server.asked
    assert not [path for path in server.asked if "status" in path or ".." in path]
    assert not [path for path in server.asked if "watch" in path]


@pytest.mark.parametrize("server", ["pvc-1"], indirect=True)
def test_what_was_put_together_in_another_way_is_not_sent(server: Server, tmp_path: Path) -> None:
    api = cluster.Cluster(kubeconfig(server, tmp_path / "kubeconfig"))

    for name in ("../x", "a/../b", "..", "a%2Fb", "a?b?c", "a b", "", "a//b"):
        with pytest.raises(cluster.Refused, match="this is the path of no object"):
            api.delete(f"{cluster.VOLUMES}/{name}", "u1")
    assert server.asked == []

    assert api.get(cluster.selected(cluster.PODS, fieldSelector="a.b=c/d e")) is None
    assert server.asked == ["/api/v1/pods?fieldSelector=a.b%3Dc%2Fd+e"]
