"""API weather: an HTTP proxy between one provisioner and the API server, which fails as a test
says.

Its sockets are those of the control plane's network namespace, so that a node reaches it; its rule
is a function of the test. The client speaks plain HTTP to it, the proxy TLS with a bearer token to
the API server."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import http.server
import json
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.cluster.kube.machine import PREFIX
from tests.cluster.kube.node import NET

NAMESPACE = Path(f"/run/netns/{PREFIX}cp")
Made = TypeVar("Made")
CUT = "cut"
CUT_AFTER = "cut-after"
Rule = Callable[[str, str, int], "str | int | float | bytes | None"]
_CLONE_NEWNET = 0x40000000
_UPSTREAM_SECONDS = 300
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "host",
    "authorization",
}


def kubeconfig(server: str) -> str:
    """For a client of the proxy at that URL, which has the token."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        }
    )


class Proxy:
    """Serves from `with` to its end. `url` is what a kubeconfig names as its server; it stays the
    same after stop() and start(), between which nobody listens, as when the API server is away.

    rule: called with (method, path with its query, number of the request, from 1) before each
    request; it may be changed at any time. It answers None (pass), "cut" (close without
    forwarding), "cut-after" (forward, wait for the answer, close instead of giving it), a status
    (give a Status object of it; 410 to a watch is an ERROR event, 429 has
    Retry-After: 1), seconds as a float (wait, then pass), or bytes (give them as a good answer).
    requests: the (method, path) of each, in order. answers: the (method, path, bytes) of each that
    is whole; the events of a watch are not counted.
    """

    def __init__(self, upstream_url: str, token: str, ca_file: Path | str) -> None:
        upstream = urlsplit(upstream_url)
        self.upstream = (str(upstream.hostname), upstream.port or 443)
        self.token = token
        self.tls = ssl.create_default_context(cafile=str(ca_file))
        self.rule: Rule = lambda method, path, number: None
        self.requests: list[tuple[str, str]] = []
        self.answers: list[tuple[str, str, int]] = []
        self.url = ""
        self._lock = threading.Lock()
        self._port = 0
        self._open: set[socket.socket] = set()
        self._server: _Server | None = None

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listens, at the same address as before."""
        self._server = server = in_namespace(lambda: _Server(self, self._port))
        self._port = server.server_address[1]
        self.url = f"http://{NET}1:{self._port}"
        threading.Thread(
            target=server.serve_forever, args=(0.05,), name="proxy", daemon=True
        ).start()

    def stop(self) -> None:
        """Listens no more, and cuts what is open."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self.cut_all()

    def cut_all(self) -> None:
        """Cuts every connection, watches included."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):  # the other side was faster
                    # SSLSocket's own shutdown would disturb the thread that reads from the socket.
                    socket.socket.shutdown(one, socket.SHUT_RDWR)

    def seen(self, method: str, words: str) -> int:
        """How many requests of that method had `words` in their path."""
        with self._lock:
            return sum(one == method and words in path for one, path in self.requests)

    def bytes_read(self, words: str = "", begin: int = 0) -> int:
        """What the answers to GETs have had that had `words` in their path, from that number of
        `answers` on."""
        with self._lock:
            answers = self.answers[begin:]
        return sum(size for method, path, size in answers if method == "GET" and words in path)

    def answered(self, method: str, path: str, size: int) -> None:
        with self._lock:
            self.answers.append((method, path, size))

    def count(self, method: str, path: str) -> int:
        """Notes a request, and returns its number."""
        with self._lock:
            self.requests.append((method, path))
            return len(self.requests)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, proxy: Proxy, port: int) -> None:
        self.proxy = proxy
        super().__init__(("", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went, or that we cut, is the weather and not worth a line; a bug in a rule
        is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection of the client, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        _enter_namespace()
        super().setup()
        self.server.proxy.opened(self.connection)

    def finish(self) -> None:
        self.server.proxy.closed(self.connection)
        # The client may be gone before all is written to it.
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 (its name there)
        return

    def _handle(self) -> None:
        proxy = self.server.proxy
        method = self.command
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = proxy.rule(method, self.path, proxy.count(method, self.path))
        if answer == CUT:
            self.close_connection = True
        elif isinstance(answer, bytes):
            self._give(200, answer)
        elif isinstance(answer, int):
            self._refuse(answer)
        else:
            if isinstance(answer, float):
                time.sleep(answer)
            self._forward(body, answer == CUT_AFTER)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 (the names http.server looks for)

    def _forward(self, body: bytes, cut_after: bool) -> None:
        proxy = self.server.proxy
        upstream = http.client.HTTPSConnection(
            *proxy.upstream, timeout=_UPSTREAM_SECONDS, context=proxy.tls
        )
        try:
            upstream.connect()
        except OSError:  # the API server itself is away
            self.close_connection = True
            return
        connection = upstream.sock
        proxy.opened(connection)
        try:
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in _HOP_BY_HOP
            }
            headers["Authorization"] = f"Bearer {proxy.token}"
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
            if cut_after:
                if answer.length is not None:
                    answer.read()
                self.close_connection = True
            else:
                self._pass_on(answer)
        except (OSError, http.client.HTTPException):  # either side went in the middle
            self.close_connection = True
        finally:
            proxy.closed(connection)
            upstream.close()

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        """What has no length is a stream: each piece is passed on as it comes."""
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if answer.length is not None:
            content = answer.read()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.server.proxy.answered(self.command, self.path, len(content))
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        size = 0
        while piece := answer.read1(1 << 16):
            size += len(piece)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if "watch=true" not in self.path.lower():
            self.server.proxy.answered(self.command, self.path, size)
        self.wfile.write(b"0\r\n\r\n")  # not reached if the stream broke off: that raises

    def _refuse(self, status: int) -> None:
        words = f"{status} made by the proxy of the tests"
        reason = _REASONS.get(status, "Unknown")
        document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": words,
            "reason": reason,
            "code": status,
        }
        if status == 410 and "watch=true" in self.path.lower():
            event = json.dumps({"type": "ERROR", "object": document}) + "\n"
            self._give(200, event.encode())
        else:
            self._give(
                status,
                json.dumps(document).encode(),
                retry_after="1" if status == 429 else "",
            )

    def _give(self, status: int, content: bytes, retry_after: str = "") -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(content)


def in_namespace(make: Callable[[], Made]) -> Made:
    """What `make` returns, made by a thread in the control plane's network namespace: a socket
    stays where it began."""
    made: list[Made] = []

    def work() -> None:
        _enter_namespace()
        made.append(make())

    thread = threading.Thread(target=work, name="proxy-socket")
    thread.start()
    thread.join()
    return made[0]


def _enter_namespace() -> None:
    """Moves this thread alone."""
    descriptor = os.open(NAMESPACE, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(NAMESPACE))
    finally:
        os.close(descriptor)
