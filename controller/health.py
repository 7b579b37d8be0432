"""Three answers over HTTP: /healthz, whether a restart would help, /readyz, whether the work can be
done now, and /metrics, for Prometheus."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from typing import Any

from controller import metrics

Check = Callable[[], str]
_REQUEST_SECONDS = 10


def serve(port: int, healthy: Check, ready: Check) -> None:
    """Serves in a thread of its own. Each check returns what is wrong, in words, or an empty
    string."""
    checks = {"/healthz": healthy, "/readyz": ready}

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = _REQUEST_SECONDS

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self.send_response(200)
                self.send_header("Content-Type", metrics.CONTENT_TYPE)
                self.end_headers()
                self.wfile.write(metrics.text())
                return
            check = checks.get(path)
            wrong = "not found" if check is None else check()
            self.send_response(404 if check is None else 503 if wrong else 200)
            self.end_headers()
            self.wfile.write((wrong or "ok").encode() + b"\n")

        def log_message(self, *_: Any) -> None:
            """Probes come every few seconds; they are not logged."""

    server = http.server.ThreadingHTTPServer(("", port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
