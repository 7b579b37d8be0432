"""Two answers over HTTP, each with what is wrong in words."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest

from controller import health


def test_each_check_is_asked_anew() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wrong = {"healthy": "", "ready": "not listed yet: claims"}
    health.serve(port, lambda: wrong["healthy"], lambda: wrong["ready"])

    def ask(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    assert ask("/healthz") == (200, "ok\n")
    assert ask("/readyz") == (503, "not listed yet: claims\n")
    wrong.update(healthy="ended: worker-1", ready="")
    assert ask("/healthz") == (503, "ended: worker-1\n")
    assert ask("/readyz") == (200, "ok\n")
    assert ask("/else") == (404, "not found\n")


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy the machine has is not for loopback."""
    monkeypatch.setenv("no_proxy", "*")
