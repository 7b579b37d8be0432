"""An API server whose certificate is not verified, because the kubeconfig says so."""

from __future__ import annotations

import http.server
import json
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import ROOT

CERTIFICATE = (
    *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
    *("-subj", "/CN=nobody", "-keyout", "key.pem", "-out", "certificate.pem"),
)


class Empty(http.server.BaseHTTPRequestHandler):
    """Has no object at all."""

    def do_GET(self) -> None:
        body = json.dumps({"kind": "Status", "code": 404, "message": "not found"}).encode()
        self.send_response(404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """An API server whose certificate nobody has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: install the package openssl")
    subprocess.run(CERTIFICATE, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def explain(port: int, directory: Path, **cluster: object) -> subprocess.CompletedProcess[str]:
    """Asks the API server for flexvol's pods.

    cluster: what the kubeconfig says of the cluster besides its address"""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{port}", **cluster}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "me"}}],
        "current-context": "c",
    }
    file = directory / "kubeconfig"
    file.write_text(json.dumps(config))
    return subprocess.run(
        [sys.executable, "provisioner.py", "explain", "data", "--kubeconfig", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_no_request_prints_a_warning_where_the_kubeconfig_skips_the_certificate(
    port: int, tmp_path: Path
) -> None:
    done = explain(port, tmp_path, **{"insecure-skip-tls-verify": True})

    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("no pod of flexvol is in namespace flexvol; name the namespace")


def test_a_certificate_that_nobody_signed_is_refused_otherwise(port: int, tmp_path: Path) -> None:
    done = explain(port, tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert "certificate verify failed" in done.stderr
    assert "Traceback" not in done.stderr
