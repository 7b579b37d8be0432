"""Events are written in order by a thread of their own, repeated ones are counted, and a full queue
holds nobody up. What stands for the API server is a server, and takes what is sent to it."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.controller import cluster, events

CLAIM = {
    "metadata": {
        "name": "data",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "7",
    }
}
VOLUME = {"metadata": {"name": "pvc-u1", "uid": "v1"}}


class Server:
    """requests: the (method, path, body) of each that was let through. open: as long as it is not
    set, all wait."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.url = ""
        self.open = threading.Event()
        self.open.set()
        self.status: Callable[[str, str], int] = lambda method, path: 200

    def sent(self, method: str = "POST") -> list[Any]:
        return [body for one, _, body in self.requests if one == method]

    def messages(self) -> list[str]:
        return [body["message"] for body in self.sent()]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 (its name there)
            return

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.open.wait(30)
            server.requests.append((self.command, self.path, json.loads(body)))
            status = server.status(self.command, self.path)
            answer = (
                body
                if status < 400
                else json.dumps(
                    {
                        "kind": "Status",
                        "message": "no",
                    }
                ).encode()
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_PATCH = do_POST  # noqa: N815 (the name http.server looks for)

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    yield server
    server.open.set()
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def api(server: Server, tmp_path: Path) -> cluster.Cluster:
    (tmp_path / "kubeconfig").write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "x",
                "clusters": [{"name": "c", "cluster": {"server": server.url}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    return cluster.Cluster(str(tmp_path / "kubeconfig"))


@pytest.fixture
def writer(api: cluster.Cluster) -> events.Events:
    return events.Events(api, "loop.flexvol node1")


def test_an_event_says_about_whom_by_whom_and_of_what_kind(
    server: Server, writer: events.Events
) -> None:
    writer.normal(CLAIM, "Provisioning", "it begins")
    writer.warning(VOLUME, "VolumeFailedDelete", "it is busy")
    writer.close(10)

    assert [path for _, path, _ in server.requests] == [
        "/api/v1/namespaces/shop/events",
        "/api/v1/namespaces/default/events",
    ]
    first, second = server.sent()
    assert first["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "name": "data",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "7",
    }
    assert second["involvedObject"]["kind"] == "PersistentVolume"
    assert [
        (one["type"], one["reason"], one["message"], one["count"]) for one in (first, second)
    ] == [
        ("Normal", "Provisioning", "it begins", 1),
        ("Warning", "VolumeFailedDelete", "it is busy", 1),
    ]
    assert first["source"] == second["source"] == {"component": "loop.flexvol node1"}


def test_they_are_written_in_order(server: Server, writer: events.Events) -> None:
    for number in range(50):
        writer.normal(CLAIM, "Provisioning", str(number))
    writer.close(10)

    assert server.messages() == [str(number) for number in range(50)]
    assert len({one["metadata"]["name"] for one in server.sent()}) == 50


def test_a_repeated_one_is_counted_and_another_is_not(
    server: Server, writer: events.Events
) -> None:
    for _ in range(3):
        writer.warning(CLAIM, "ProvisioningFailed", "no room")
    writer.warning(CLAIM, "ProvisioningFailed", "no pool")
    writer.warning(
        {"metadata": {**CLAIM["metadata"], "uid": "u2"}}, "ProvisioningFailed", "no room"
    )
    writer.close(10)

    assert server.messages() == ["no room", "no pool", "no room"]
    assert [body["count"] for body in server.sent("PATCH")] == [2, 3]
    name = server.sent()[0]["metadata"]["name"]
    assert {path for one, path, _ in server.requests if one == "PATCH"} == {
        f"/api/v1/namespaces/shop/events/{name}"
    }


def test_one_that_has_expired_meanwhile_is_written_anew(
    server: Server, writer: events.Events
) -> None:
    server.status = lambda method, path: 404 if method == "PATCH" else 200
    for _ in range(2):
        writer.warning(CLAIM, "ProvisioningFailed", "no room")
    writer.close(10)

    assert [(body["message"], body["count"]) for body in server.sent()] == [("no room", 1)] * 2


def test_one_that_is_refused_does_not_stop_the_next(server: Server, writer: events.Events) -> None:
    server.status = lambda method, path: 422 if not server.requests[1:] else 200
    writer.normal(CLAIM, "Provisioning", "refused")
    writer.normal(CLAIM, "Provisioning", "taken")
    writer.close(10)

    assert server.messages() == ["refused", "taken"]


def test_while_the_server_does_not_answer_nobody_waits_and_no_more_are_kept_than_fit(
    server: Server, api: cluster.Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_WAITING", 20)
    writer = events.Events(api, "loop.flexvol node1")
    server.open.clear()
    began = time.monotonic()
    for number in range(500):
        writer.normal(CLAIM, "Provisioning", str(number))
    assert time.monotonic() - began < 30
    assert server.requests == []

    server.open.set()
    writer.close(10)
    assert len(server.messages()) in (20, 21)  # those that wait, and the one that was being sent
    assert server.messages()[:20] == [str(number) for number in range(20)]


def test_a_long_name_and_a_long_message_are_cut_to_what_the_server_takes(
    server: Server, writer: events.Events
) -> None:
    writer.normal(
        {"metadata": {**CLAIM["metadata"], "name": "x" * 253}}, "Provisioning", "y" * 5000
    )
    writer.close(10)

    (event,) = server.sent()
    assert event["message"] == "y" * 1024
    assert len(event["metadata"]["name"]) <= 253
    assert event["involvedObject"]["name"] == "x" * 253
