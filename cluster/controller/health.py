"""Three answers over HTTP: /healthz, whether a restart would help, /readyz, whether the work can be
done now, and /metrics, for Prometheus."""

from __future__ import annotations

import errno
import http.server
import socket
import threading
from collections.abc import Callable
from typing import Any

from cluster.controller import metrics

Check = Callable[[], str]
_REQUEST_SECONDS = 10


class _DualStack(http.server.ThreadingHTTPServer):
    """Listens on :: for both families: kubelet and Prometheus come by the pod's address, which is
    IPv4, IPv6 or both."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _server(port: int, handler: type[http.server.BaseHTTPRequestHandler]) -> Any:
    """On all addresses of the machine; of IPv4 alone where its kernel has no IPv6."""
    try:
        return _DualStack(("::", port), handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise
    return http.server.ThreadingHTTPServer(("", port), handler)


def serve(port: int, healthy: Check, ready: Check) -> None:
    """Serves in a thread of its own. Each check returns what is wrong, in words, or an empty
    string."""
    checks = {"/healthz": healthy, "/readyz": ready}

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = _REQUEST_SECONDS

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                text = metrics.text()
                self.send_response(200)
                self.send_header("Content-Type", metrics.CONTENT_TYPE)
                self.end_headers()
                self.wfile.write(text)
                return
            check = checks.get(path)
            wrong = "not found" if check is None else check()
            self.send_response(404 if check is None else 503 if wrong else 200)
            self.end_headers()
            self.wfile.write((wrong or "ok").encode() + b"\n")

        def log_message(self, *_: Any) -> None:
            """Probes come every few seconds; they are not logged."""

    server = _server(port, Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
