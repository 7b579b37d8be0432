"""Two answers over HTTP, each with what is wrong in words."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest

from cluster.controller import health


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(host: str, port: int) -> bool:
    with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)


def test_it_is_served_by_ipv4_and_by_ipv6() -> None:
    port = free_port()
    health.serve(port, lambda: "", lambda: "")

    assert answers("127.0.0.1", port)
    assert answers("[::1]", port)


def test_a_kernel_without_ipv6_serves_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the family is refused, as a family is that no kernel has."""
    monkeypatch.setattr(health._DualStack, "address_family", 250)
    port = free_port()
    health.serve(port, lambda: "", lambda: "")

    assert answers("127.0.0.1", port)


def test_a_port_that_is_taken_is_an_error() -> None:
    taken = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with taken, pytest.raises(OSError, match="in use"):
        health.serve(taken.getsockname()[1], lambda: "", lambda: "")


def test_each_check_is_asked_anew() -> None:
    port = free_port()
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
