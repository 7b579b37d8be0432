"""How the API server's errors are read, and how long is waited after them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import kubernetes.client
import pytest
import urllib3.exceptions

from cluster.controller import cluster


class Answer:
    """What the client makes an ApiException of."""

    def __init__(self, status: int, data: str, **headers: str) -> None:
        self.status, self.reason, self.data = status, "its reason", data
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def getheaders(self) -> dict[str, str]:
        return self._headers


def refused(status: int, data: str = "", **headers: str) -> cluster.Refused:
    error = kubernetes.client.ApiException(http_resp=Answer(status, data, **headers))
    said = cluster._translated(error, "GET /x")
    assert isinstance(said, cluster.Refused)
    return said


def test_an_answer_is_refused_in_the_servers_words_and_silence_is_unreachable() -> None:
    assert str(refused(409, '{"message": "it exists"}')) == "GET /x: 409 it exists"
    assert str(refused(502, "<html>")) == "GET /x: 502 its reason"
    silence = cluster._translated(urllib3.exceptions.ProtocolError("cut"), "GET /x")
    assert isinstance(silence, cluster.Unreachable)


def test_a_stream_that_is_refused_says_so_like_any_other_request() -> None:
    body = '{"kind":"Status","message":"pods \\"p\\" is forbidden"}'
    reason = f"Handshake status 403 Forbidden -+-+- {{'date': 'now', 'x': 'y'}} -+-+- {body}"
    said = cluster._translated(
        kubernetes.client.ApiException(status=0, reason=reason), "exec list in a/b"
    )

    assert isinstance(said, cluster.Refused)
    assert (said.status, str(said)) == (403, 'exec list in a/b: 403 pods "p" is forbidden')


ENDINGS: list[tuple[Any, int]] = [
    ({"status": "Success"}, 0),
    ({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}, 3),
]


@pytest.mark.parametrize(("ending", "status"), ENDINGS)
def test_a_program_in_a_pod_ends_with_its_own_status(ending: Any, status: int) -> None:
    assert cluster._exit_status(json.dumps(ending).encode(), "x") == status


def test_a_program_that_was_never_started_or_not_seen_to_end_is_an_error() -> None:
    with pytest.raises(cluster.Refused, match="x: no such file"):
        cluster._exit_status(b'{"status": "Failure", "message": "no such file", "code": 500}', "x")
    for cut in (b"", b'{"status": "Fai', b"[]", b"null", b'{"status": "Failure"}'):
        with pytest.raises(
            cluster.Unreachable, match="x: the connection ended before the program did"
        ):
            cluster._exit_status(cut, "x")


@pytest.mark.parametrize(
    ("status", "passes"), [(403, False), (409, False), (410, False), (429, True), (500, True)]
)
def test_what_passes_by_itself_is_the_servers_trouble(status: int, passes: bool) -> None:
    assert refused(status).passes == passes


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("99999", 60.0), ("soon", 0.0), ("-1", 0.0)]
)
def test_retry_after_is_honoured_within_reason(header: str, seconds: float) -> None:
    error = refused(429, Retry_After=header)

    assert error.retry_after_seconds == seconds
    assert cluster.pause_seconds(1, error) >= seconds


def test_a_lacking_right_is_named_without_the_object() -> None:
    message = (
        'pvc "a" is forbidden: User "u" cannot create resource "events" in API group "" '
        'in the namespace "n"'
    )
    assert (
        refused(403, json.dumps({"message": message})).lacking == 'cannot create resource "events"'
    )
    assert refused(403, "<html>").lacking == ""
    assert cluster.Refused(409, message).lacking == ""


def test_pauses_grow_to_their_limit_and_are_never_the_same() -> None:
    pauses: list[list[float]] = [
        [cluster.pause_seconds(n, OSError()) for _ in range(20)] for n in range(1, 12)
    ]

    for number, tries in enumerate(pauses, 1):
        expected = min(10.0, 0.5 * 2.0**number)
        assert all(0.74 * expected < one < 1.26 * expected for one in tries)
        assert len(set(tries)) > 10


def test_those_who_list_anew_at_once_are_spread_in_time() -> None:
    pauses = sorted(cluster.pause_seconds(1, OSError(), lists_anew=True) for _ in range(200))

    assert pauses[0] >= 0.75
    assert pauses[-1] - pauses[0] > 2
    assert max(later - sooner for sooner, later in itertools.pairwise(pauses)) < 0.5


class Stream:
    """The lines of a watch, in whatever pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces, self.closed = pieces, False

    def stream(self, **_: Any) -> Any:
        yield from self._pieces

    def close(self) -> None:
        self.closed = True

    def release_conn(self) -> None:
        assert self.closed


def test_events_are_read_in_whatever_pieces_they_come() -> None:
    stream = Stream(
        b'{"type": "ADDED", "obj', b'ect": {}}\n{"type": "BOOK', b'MARK", "object": {}}\n{"half'
    )

    assert [event["type"] for event in cluster._events(stream)] == ["ADDED", "BOOKMARK"]
    assert stream.closed


def test_a_line_that_cannot_be_read_ends_the_watch_and_is_not_passed_over() -> None:
    with pytest.raises(ValueError):
        list(cluster._events(Stream(b"<html>\n")))


def test_an_error_in_a_watch_is_the_servers_answer() -> None:
    stream = Stream(b'{"type": "ERROR", "object": {"code": 410, "message": "too old"}}\n')
    with pytest.raises(kubernetes.client.ApiException) as raised:
        list(cluster._events(stream))

    assert str(cluster._translated(raised.value, "WATCH /x")) == "WATCH /x: 410 too old"
