"""The API server as its administrator, for all that looks often: a kubectl for each look takes a
tenth of a second of a processor. One `kubectl proxy` on a Unix socket has the certificates, and is
in the control plane's network."""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.cluster.kube import machine

Object = dict[str, Any]
NAME = "kubectl-proxy"
_CLIENTS = 8
_START_SECONDS = 30
_ANSWER_SECONDS = 60
_GROUPS = {
    "lease": "apis/coordination.k8s.io/v1",
    "storageclass": "apis/storage.k8s.io/v1",
    "csistoragecapacity": "apis/storage.k8s.io/v1",
    "volumeattachment": "apis/storage.k8s.io/v1",
    "statefulset": "apis/apps/v1",
    "deployment": "apis/apps/v1",
}
_PLURALS = {
    "pvc": "persistentvolumeclaims",
    "pv": "persistentvolumes",
    "pod": "pods",
    "event": "events",
    "secret": "secrets",
    "serviceaccount": "serviceaccounts",
    "lease": "leases",
    "storageclass": "storageclasses",
    "csistoragecapacity": "csistoragecapacities",
    "volumeattachment": "volumeattachments",
    "node": "nodes",
    "namespace": "namespaces",
    "configmap": "configmaps",
    "statefulset": "statefulsets",
    "deployment": "deployments",
}
_OF_NO_NAMESPACE = ("pv", "storageclass", "volumeattachment", "node", "namespace")


class Api:
    """Serves from its first call until close() or the cluster's end. Threads have connections of
    their own."""

    def __init__(self, state: Path, kubectl: list[object]) -> None:
        """kubectl: the command that is the administrator's."""
        self._state = state
        self._kubectl = kubectl
        self._socket = state / "api.sock"
        self._lock = threading.Lock()
        self._local = threading.local()

    def close(self) -> None:
        connection = getattr(self._local, "connection", None)
        # A connection that a failed test has kept would be an error of the whole run.
        if connection is not None:
            connection.close()
            self._local.connection = None
        machine.stop(self._state, NAME)
        self._socket.unlink(missing_ok=True)

    def status(self, path: str) -> int:
        """The HTTP status of a GET; 502 or so if the API server is away."""
        return self._answer("GET", path, None)[0]

    def call(self, method: str, path: str, body: Object | None = None) -> Object:
        status, text = self._answer(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {text.decode(errors='replace')[:500]}")
        answer: Object = json.loads(text)
        return answer

    def create(self, path: str, body: Object) -> bool:
        """Whether it was made. It was not if it is there already, is refused, or the API server is
        away."""
        try:
            return self._answer("POST", f"{path}?fieldValidation=Strict", body)[0] == 201
        except (http.client.HTTPException, OSError):
            return False

    def get(self, path: str) -> Object | None:
        """None if it is not there. Raises AssertionError if the API server refuses or is away."""
        status, text = self._answer("GET", path, None)
        assert status in (200, 404), f"GET {path}: {status} {text.decode(errors='replace')[:500]}"
        found: Object | None = json.loads(text) if status == 200 else None
        return found

    def text(self, path: str) -> str:
        """What is there, if it is no object; empty if there is nothing, or the API server is
        away."""
        status, text = self._answer("GET", path, None)
        return text.decode(errors="replace") if status == 200 else ""

    def all(self, method: str, requests: list[tuple[str, Object]]) -> dict[str, float]:
        """Many requests, several at a time; when each was sent, by its object's name."""
        sent = {}

        def one(request: tuple[str, Object]) -> None:
            path, body = request
            sent[body["metadata"]["name"]] = time.monotonic()
            self.call(method, path, body)

        with concurrent.futures.ThreadPoolExecutor(_CLIENTS) as clients:
            list(clients.map(one, requests))
        return sent

    def watch(self, path: str, version: str) -> Iterator[Object]:
        """Until the proxy ends."""
        self._serve()
        connection = _Connection(self._socket, None)
        connection.request("GET", f"{path}?watch=1&resourceVersion={version}")
        answer = connection.getresponse()
        try:
            while line := answer.readline():
                yield json.loads(line)
        except (http.client.HTTPException, OSError):
            return

    def _answer(self, method: str, path: str, body: Object | None) -> tuple[int, bytes]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        text = None if body is None else json.dumps(body)
        # A connection that has lain idle may be closed.
        for again in (method == "GET", False):
            if getattr(self._local, "connection", None) is None:
                self._serve()
                self._local.connection = _Connection(self._socket, _ANSWER_SECONDS)
            try:
                self._local.connection.request(method, path, text, {"Content-Type": kind})
                answer = self._local.connection.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, OSError):
                self._local.connection = None
                if not again:
                    raise
        raise AssertionError("not reached")

    def _serve(self) -> None:
        with self._lock:
            if machine.running(self._state, NAME) is None:
                self._socket.unlink(missing_ok=True)
                machine.spawn(
                    self._state,
                    NAME,
                    [*self._kubectl, "proxy", f"--unix-socket={self._socket}"],
                )
            deadline = time.monotonic() + _START_SECONDS
            while not self._accepts():
                assert time.monotonic() < deadline, "kubectl proxy does not serve"
                time.sleep(0.02)

    def _accepts(self) -> bool:
        """Whether the proxy takes connections. Its socket has a name before the proxy listens."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self._socket))
            except OSError:
                return False
        return True


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float | None) -> None:
        super().__init__("localhost")
        self._path = str(path)
        self._seconds = seconds

    def __del__(self) -> None:
        self.close()  # its thread has ended

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)


def path_of(kind: str, namespace: str, name: str = "", **selectors: str) -> str | None:
    """Where it is, for a kind in one of kubectl's spellings; None for one that is not known here.
    selectors: labelSelector, fieldSelector."""
    singular = next(
        (one for one, plural in _PLURALS.items() if kind in (one, one + "s", plural)), ""
    )
    if not singular:
        return None
    place = "" if singular in _OF_NO_NAMESPACE else f"namespaces/{namespace}/"
    path = f"/{_GROUPS.get(singular, 'api/v1')}/{place}{_PLURALS[singular]}" + (
        f"/{name}" if name else ""
    )
    return path + ("?" + urlencode(selectors) if selectors else "")
