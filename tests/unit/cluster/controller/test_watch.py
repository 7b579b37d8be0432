"""A watch goes on from where it was where it can, lists anew where it cannot, and never ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import kubernetes.client
import pytest

from cluster.controller import watch
from cluster.controller.watch import Watch

PATH = "/api/v1/persistentvolumes"
Event = dict[str, Any]


class End(BaseException):
    """Ends a watch that would never end."""


def thing(name: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": version}}


def event(kind: str, name: str, version: str) -> Event:
    return {"type": kind, "object": thing(name, version)}


class Server:
    """The API server: two pages of a list, and what each watch reports, one after the other."""

    def __init__(self, *watches: Callable[[], Iterator[Event]]) -> None:
        self.calls: list[str] = []
        self._watches = list(watches)

    def page(self, path: str, following: str) -> dict[str, Any]:
        self.calls.append(f"list {following}".strip())
        if not following:
            return {
                "items": [thing("a", "1")],
                "metadata": {"resourceVersion": "5", "continue": "second"},
            }
        return {"items": [thing("b", "2")], "metadata": {"resourceVersion": "5"}}

    def watch(self, path: str, version: str) -> Iterator[Event]:
        self.calls.append(f"watch {version}")
        if not self._watches:
            raise End
        return self._watches.pop(0)()


class Follower:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def changed(self, thing: dict[str, Any]) -> None:
        self.told.append(f"changed {thing['metadata']['name']}")

    def listed(self, uids: set[str]) -> None:
        self.told.append(f"listed {' '.join(sorted(uids))}")

    def gone(self, thing: dict[str, Any]) -> None:
        self.told.append(f"gone {thing['metadata']['name']}")


def reports(*events: Event) -> Callable[[], Iterator[Event]]:
    """A watch that reports these, and ends."""
    return lambda: iter(events)


def fails(error: Exception) -> Callable[[], Iterator[Event]]:
    """A watch that cannot be opened."""

    def open_it() -> Iterator[Event]:
        raise error

    return open_it


def followed(
    monkeypatch: pytest.MonkeyPatch, *watches: Callable[[], Iterator[Event]]
) -> tuple[Server, Follower, list[str]]:
    """What is asked and told, and the times when the server was back, until there is no further
    watch."""
    monkeypatch.setattr(watch, "pause_seconds", lambda *_, **__: 0.0)
    server = Server(*watches)
    follower = Follower()
    back: list[str] = []
    api: Any = server
    with pytest.raises(End):
        Watch(api, PATH, follower, lambda: back.append("back")).run()
    return server, follower, back


LIST = ["list", "list second"]


def test_a_list_has_pages_and_then_a_watch_reports_what_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = [
        event("ADDED", "c", "6"),
        event("MODIFIED", "a", "7"),
        event("BOOKMARK", "", "8"),
        event("DELETED", "b", "9"),
    ]
    server, follower, _ = followed(monkeypatch, reports(*events))

    listed = ["changed a", "changed b", "listed a b"]
    assert follower.told == [*listed, "changed c", "changed a", "gone b"]
    assert server.calls == [*LIST, "watch 5", "watch 9"]


@pytest.mark.parametrize(
    ("error", "lists_anew"),
    [
        pytest.param(
            ConnectionResetError(),
            False,
            id="a connection that was cut goes on",
        ),
        pytest.param(
            kubernetes.client.ApiException(429), False, id="a server that is busy goes on"
        ),
        pytest.param(
            kubernetes.client.ApiException(410), True, id="a version that is gone is listed anew"
        ),
        pytest.param(
            kubernetes.client.ApiException(403), True, id="after a refusal all is listed anew"
        ),
        pytest.param(
            ValueError("<html>"),
            True,
            id="after something odd all is listed anew",
        ),
    ],
)
def test_after_an_error_a_watch_goes_on_where_it_can(
    error: Exception, lists_anew: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _, _ = followed(monkeypatch, fails(error))

    again = LIST if lists_anew else []
    assert server.calls == [*LIST, "watch 5", *again, "watch 5"]


def test_a_follower_with_a_bug_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {"type": "ADDED", "object": {"metadata": {"resourceVersion": "6"}}}
    server, _, _ = followed(monkeypatch, reports(odd))

    assert server.calls == [*LIST, "watch 5", *LIST, "watch 5"]


def test_the_server_is_back_after_two_failures_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = fails(ConnectionResetError())
    one = followed(monkeypatch, cut, reports(event("ADDED", "c", "6")))
    two = followed(monkeypatch, cut, cut, reports(event("ADDED", "c", "6")))

    assert one[2] == []
    assert two[2] == ["back"]


def test_a_watch_that_ends_at_once_without_a_word_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, back = followed(monkeypatch, reports(), reports(), reports())

    assert back == ["back"]


def test_a_watch_that_lasted_in_silence_ends_the_failures_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Storage classes change seldom: no event may come for days."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None)
    monkeypatch.setattr(watch, "time", clock)

    def lasts() -> Iterator[Event]:
        now[0] += 300.0
        yield from ()

    cut = fails(ConnectionResetError())

    _, _, back = followed(monkeypatch, cut, cut, lasts, lasts, lasts)

    assert back == ["back"]
