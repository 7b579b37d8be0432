"""What the door makes of what the client gives it: the events of a watch."""

from __future__ import annotations

from typing import Any

import kubernetes.client
import pytest

from cluster.controller import api_errors, cluster


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

    assert str(api_errors.translated(raised.value, "WATCH /x")) == "WATCH /x: 410 too old"
