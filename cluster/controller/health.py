"""Three pages over HTTP: /healthz says whether a restart would help, /readyz whether the work can
be done now, and /metrics is for Prometheus."""

from __future__ import annotations

import errno
import http.server
import socket
import threading
from collections.abc import Callable
from typing import Any

from cluster.controller import metrics

Check = Callable[[], str]
_REQUEST_SECONDS = 10  # how long a client may take to send its request
_OK = 200
_NOT_FOUND = 404
_UNAVAILABLE = 503


class _DualStack(http.server.ThreadingHTTPServer):
    """Listens on :: for both families: kubelet and Prometheus come by the pod's address, which is
    IPv4, IPv6 or both."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _server(
    port: int,
    handler: type[http.server.BaseHTTPRequestHandler],
) -> http.server.ThreadingHTTPServer:
    """Listens on all addresses of the machine; on those of IPv4 alone where its kernel has no
    IPv6."""
    try:
        return _DualStack(("::", port), handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise
    return http.server.ThreadingHTTPServer(("", port), handler)


def serve(port: int, healthy: Check, ready: Check) -> None:
    """Serves in a thread of its own.

    healthy, ready: each returns what is wrong, in words; "" if nothing is."""
    checks = {"/healthz": healthy, "/readyz": ready}

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = _REQUEST_SECONDS

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(_OK, metrics.text(), metrics.CONTENT_TYPE)
                return
            check = checks.get(path)
            if check is None:
                self._answer(_NOT_FOUND, b"not found\n")
                return
            trouble = check()
            if trouble:
                self._answer(_UNAVAILABLE, trouble.encode() + b"\n")
                return
            self._answer(_OK, b"ok\n")

        def _answer(
            self,
            status: int,
            body: bytes,
            content_type: str = "",
        ) -> None:
            self.send_response(status)
            if content_type:
                self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Probes come every few seconds; they are not logged."""

    server = _server(port, Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
