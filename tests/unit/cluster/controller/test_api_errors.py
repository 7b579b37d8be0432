"""How the API server's errors are read, and how long is waited after them."""

from __future__ import annotations

import itertools
import json

import kubernetes.client
import pytest
import urllib3.exceptions

from cluster.controller import api_errors


class Answer:
    """What the client makes an ApiException of."""

    def __init__(self, status: int, data: str, **headers: str) -> None:
        self.status, self.reason, self.data = status, "its reason", data
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def getheaders(self) -> dict[str, str]:
        return self._headers


def refused(status: int, data: str = "", **headers: str) -> api_errors.Refused:
    error = kubernetes.client.ApiException(http_resp=Answer(status, data, **headers))
    said = api_errors.translated(error, "GET /x")
    assert isinstance(said, api_errors.Refused)
    return said


def test_an_answer_is_refused_in_the_servers_words_and_silence_is_unreachable() -> None:
    assert str(refused(409, '{"message": "it exists"}')) == "GET /x: 409 it exists"
    assert str(refused(502, "<html>")) == "GET /x: 502 its reason"
    silence = api_errors.translated(urllib3.exceptions.ProtocolError("cut"), "GET /x")
    assert isinstance(silence, api_errors.Unreachable)


def test_a_stream_that_is_refused_says_so_like_any_other_request() -> None:
    body = '{"kind":"Status","message":"pods \\"p\\" is forbidden"}'
    reason = f"Handshake status 403 Forbidden -+-+- {{'date': 'now', 'x': 'y'}} -+-+- {body}"
    said = api_errors.translated(
        kubernetes.client.ApiException(status=0, reason=reason), "exec list in a/b"
    )

    assert isinstance(said, api_errors.Refused)
    assert (said.status, str(said)) == (403, 'exec list in a/b: 403 pods "p" is forbidden')


@pytest.mark.parametrize(
    ("status", "passes"),
    [
        pytest.param(403, False, id="a missing right does not pass"),
        pytest.param(409, False, id="a conflict does not pass"),
        pytest.param(410, False, id="a version that is too old does not pass"),
        pytest.param(429, True, id="a server with too many requests recovers"),
        pytest.param(500, True, id="a server's own error passes"),
    ],
)
def test_what_passes_by_itself_is_the_servers_trouble(status: int, passes: bool) -> None:
    assert refused(status).passes == passes


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("7", 7.0, id="seconds are waited for"),
        pytest.param("99999", 60.0, id="more than a minute is cut to a minute"),
        pytest.param("soon", 0.0, id="a word is no time"),
        pytest.param("-1", 0.0, id="a negative time is none"),
    ],
)
def test_retry_after_is_honoured_within_reason(header: str, seconds: float) -> None:
    error = refused(429, Retry_After=header)

    assert error.retry_after_seconds == seconds
    assert api_errors.pause_seconds(1, error) >= seconds


def test_a_lacking_right_is_named_without_the_object() -> None:
    message = (
        'pvc "a" is forbidden: User "u" cannot create resource "events" in API group "" '
        'in the namespace "n"'
    )
    assert (
        refused(
            403,
            json.dumps({"message": message}),
        ).lacking
        == 'cannot create resource "events"'
    )
    assert refused(403, "<html>").lacking == ""
    assert api_errors.Refused(409, message).lacking == ""


def test_pauses_grow_to_their_limit_and_are_never_the_same() -> None:
    pauses: list[list[float]] = [
        [api_errors.pause_seconds(n, OSError()) for _ in range(20)] for n in range(1, 12)
    ]

    for number, tries in enumerate(pauses, 1):
        expected = min(10.0, 0.5 * 2.0**number)
        assert all(0.74 * expected < one < 1.26 * expected for one in tries)
        assert len(set(tries)) > 10


def test_those_who_list_anew_at_once_are_spread_in_time() -> None:
    pauses = sorted(
        api_errors.pause_seconds(
            1,
            OSError(),
            lists_anew=True,
        )
        for _ in range(200)
    )

    assert pauses[0] >= 0.75
    assert pauses[-1] - pauses[0] > 2
    assert max(later - sooner for sooner, later in itertools.pairwise(pauses)) < 0.5
