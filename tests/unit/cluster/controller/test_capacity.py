"""When a node publishes its room: after each change of its own, and without waiting for a driver
that does not answer."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.controller import capacity, cluster
from cluster.controller.capacity import Capacity
from cluster.controller.identity import Identity
from cluster.controller.storage import Listed
from shared import protocol
from tests.unit.cluster.controller.publishing import Publishing, WithNode, publishing
from tests.waiting import wait_until

US = Identity({"loop.flexvol": "flexvol/loop"}, "node1", "node1")


def storage_class(name: str = "c", provisioner: str = "loop.flexvol") -> dict[str, Any]:
    return {"metadata": {"name": name}, "provisioner": provisioner}


class Published:
    """The API server's side, and the driver's: what is free."""

    def __init__(self) -> None:
        self.free, self.written = 1 << 30, list[str]()
        self.failure = ""

    def get(self, path: str) -> Any:
        return {"items": []}

    def create(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        self.written.append(wish["capacity"])
        return wish

    def patch(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        return self.create(path, wish)

    def list(self, driver: str) -> Listed:
        if self.failure:
            raise protocol.Unavailable(self.failure)
        return Listed([], [{"name": "only", "id": "5f", "freeBytes": self.free}])


def test_a_small_change_is_written_by_the_next_round_that_is_not_rough() -> None:
    both: Any = Published()
    node = publishing(WithNode(both), both.list, US, [storage_class()])
    node.capacity.publish()
    both.free -= 4096

    node.capacity.publish(roughly=True)
    assert both.written == [str(1 << 30)]
    node.news.changed()
    node.capacity.publish(roughly=True)  # what changed is ours

    assert both.written == [str(1 << 30), str((1 << 30) - 4096)]
    both.free -= 4096
    node.capacity.publish()
    assert both.written[2:] == [str((1 << 30) - 8192)]


def test_a_small_change_of_others_is_written_after_minutes_and_each_round_tells_if_it_wrote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(capacity, "time", SimpleNamespace(monotonic=lambda: now))
    both: Any = Published()
    parts = publishing(WithNode(both), both.list, US, [storage_class()])
    told: list[bool] = []
    room = Capacity(parts.node, US, parts.listing, None, after=[told.append])
    room._round()
    both.free -= 4096

    now += 200
    room._round()
    assert both.written == [str(1 << 30)]
    now += 200
    room._round()

    assert both.written == [str(1 << 30), str((1 << 30) - 4096)]
    assert told == [True, False, True]


def test_a_driver_that_does_not_list_twice_has_no_room_and_its_pools_are_not_well() -> None:
    both: Any = Published()
    node = publishing(WithNode(both), both.list, US, [storage_class()])
    node.capacity.publish()
    both.failure = "pools.json cannot be read"

    with pytest.raises(protocol.Unavailable, match="cannot be read"):
        node.capacity.publish()
    assert both.written == [str(1 << 30)]
    with pytest.raises(protocol.Unavailable, match="cannot be read"):
        node.capacity.publish()

    assert both.written == [str(1 << 30), "0"]
    (pool,) = node.listing.listed()["flexvol/loop"].pools
    assert pool == {"name": "only", "id": "5f", "error": "pools.json cannot be read"}
    assert node.listing.has_pools("flexvol/loop")
    both.failure = ""
    node.capacity.publish()
    assert both.written[2:] == [str(1 << 30)]


def test_a_driver_that_never_listed_has_nothing_published() -> None:
    both: Any = Published()
    both.failure = "the driver is not installed"
    node = publishing(WithNode(both), both.list, US, [storage_class()])

    with pytest.raises(protocol.Unavailable):
        node.capacity.publish()

    assert both.written == []


def test_a_kubernetes_that_is_too_old_is_named() -> None:
    both: Any = Published()
    both.get = lambda path: None
    node = publishing(WithNode(both), both.list, US, [storage_class()])

    with pytest.raises(protocol.Unavailable, match=r"older than 1\.24"):
        node.capacity.publish()


class OneIsSick(Published):
    """Of two drivers, each with a class, one fails."""

    drivers = Identity(
        {"a.flexvol": "flexvol/a", "b.flexvol": "flexvol/b"},
        "node1",
        "node1",
    )

    def __init__(self) -> None:
        super().__init__()
        self.sick = ""
        self.hangs = threading.Event()
        self.objects: dict[str, dict[str, Any]] = {}

    def get(self, path: str) -> Any:
        return {"items": list(self.objects.values())}

    def create(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        made = {**wish, "metadata": {**wish["metadata"], "uid": "u"}}
        self.objects[wish["metadata"]["name"]] = made
        return made

    def delete(self, path: str, uid: str) -> None:
        del self.objects[path.rpartition("/")[2]]

    def list(self, driver: str) -> Listed:
        if driver == self.sick == "flexvol/a":
            self.hangs.wait(20)
        if driver == self.sick:
            raise protocol.Internal("its disk is gone")
        return super().list(driver)

    def rooms(self) -> dict[str, str]:
        return {one["storageClassName"]: one["capacity"] for one in self.objects.values()}

    def node(self, patience_seconds: float = 10.0) -> Publishing:
        classes = [storage_class("a", "a.flexvol"), storage_class("b", "b.flexvol")]
        return publishing(
            WithNode(self),
            self.list,
            self.drivers,
            classes,
            patience_seconds,
        )


def test_a_driver_that_fails_keeps_nobody_from_publishing_the_others_room() -> None:
    both = OneIsSick()
    node = both.node()
    node.capacity.publish()
    both.sick = "flexvol/b"

    for free in (5 << 20, 6 << 20):
        both.free = free
        with pytest.raises(protocol.Internal):
            node.capacity.publish()

    assert both.rooms() == {"a": str(6 << 20), "b": "0"}


def test_a_driver_that_fails_from_the_beginning_has_nothing_published_and_the_others_have() -> None:
    both = OneIsSick()
    both.sick = "flexvol/b"
    node = both.node()

    with pytest.raises(protocol.Internal):
        node.capacity.publish()

    assert both.rooms() == {"a": str(1 << 30)}


def test_a_driver_that_hangs_keeps_nobody_and_its_list_is_taken_when_it_comes() -> None:
    both = OneIsSick()
    both.sick = "flexvol/a"
    node = both.node(patience_seconds=0.2)
    node.capacity.publish()
    assert both.rooms() == {"b": str(1 << 30)}

    both.sick = ""
    both.hangs.set()

    assert node.news._woken.wait(10)
    node.capacity.publish()
    assert both.rooms() == {"a": str(1 << 30), "b": str(1 << 30)}


def test_a_list_that_came_late_is_published_before_the_driver_is_asked_again() -> None:
    """A driver that is always late is asked no more often than any other slow one."""
    both: Any = Published()
    asked = []

    def ask(driver: str) -> Listed:
        asked.append(driver)
        time.sleep(0.3)
        return both.list(driver)  # type: ignore[no-any-return]

    node = publishing(WithNode(both), ask, US, [storage_class()], patience_seconds=0.05)
    node.capacity._round()
    assert node.news._woken.wait(10)
    node.capacity._round()

    assert both.written == [str(1 << 30)]
    assert asked == ["flexvol/loop"]
    assert node.capacity._pause_seconds == pytest.approx(15, abs=1)

    node.news.changed()
    node.capacity._round()
    assert asked == ["flexvol/loop"] * 2, "what changed is ours"


class Slow(Published):
    """A driver that takes long to list whenever it is asked again. wanted: ends the thread that
    publishes, if it is False."""

    def __init__(self) -> None:
        super().__init__()
        self.classes: dict[str, float] = {}
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.is_wanted = True

    def create(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        if not self.is_wanted:
            raise SystemExit
        self.classes[wish["storageClassName"]] = time.monotonic()
        return super().create(path, wish)

    def list(self, driver: str) -> Listed:
        self.asked.set()
        self.may_answer.wait(20)
        return super().list(driver)

    @contextlib.contextmanager
    def runs(self, node: Publishing) -> Iterator[None]:
        def run() -> None:
            with contextlib.suppress(SystemExit):
                node.capacity.run()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.is_wanted = False
            self.may_answer.set()
            node.classes.changed(storage_class("the last one"))
            thread.join(20)
            assert not thread.is_alive()


def test_the_room_of_a_new_class_is_published_at_once_and_no_driver_is_waited_for() -> None:
    """Also in the second after a round, in which no driver is asked. The scheduler takes a class
    without objects for one without room, and a pod may come with the class."""
    slow: Any = Slow()
    node = publishing(WithNode(slow), slow.list, US, [storage_class("old")])
    seconds = []
    with slow.runs(node):
        node.news.changed()
        wait_until("the first round has ended", lambda: not node.capacity.not_ready())
        for name in ("one", "two", "three", "four", "five"):
            slow.may_answer.clear()
            slow.asked.clear()
            began = time.monotonic()
            node.classes.changed(storage_class(name))
            wait_until("it is published", functools.partial(slow.classes.get, name))
            seconds.append(slow.classes[name] - began)
            slow.may_answer.set()

    assert max(seconds) < 0.9, "no round was waited for"
    print(f"from a class to its object: {1000 * min(seconds):.1f} ms")


def test_drivers_are_asked_for_their_room_after_a_new_class_too() -> None:
    slow: Any = Slow()
    node = publishing(WithNode(slow), slow.list, US, [storage_class("old")])
    with slow.runs(node):
        node.news.changed()
        wait_until("the first round has ended", lambda: not node.capacity.not_ready())
        slow.asked.clear()
        node.classes.changed(storage_class("new"))

        assert slow.asked.wait(5)


def test_a_new_class_takes_nothing_away_that_another_process_published() -> None:
    """Before the drivers have listed, nobody knows what else should exist."""
    both = OneIsSick()
    both.node().capacity.publish()
    node = both.node()

    node.classes.changed(storage_class("c", "a.flexvol"))
    node.capacity._publish_classes()

    assert both.rooms() == {"a": str(1 << 30), "b": str(1 << 30)}


def test_an_instance_is_ready_when_it_has_tried_to_publish_its_room() -> None:
    """A pod that comes when the install is done finds the room. A driver that fails keeps nobody
    from being ready."""
    slow: Any = Slow()
    slow.failure = "the driver is not installed"
    node = publishing(WithNode(slow), slow.list, US, [storage_class()])
    assert node.capacity.not_ready() == "the room of the node is not published yet"
    slow.may_answer.clear()

    with slow.runs(node):
        node.news.changed()
        assert slow.asked.wait(5)
        assert node.capacity.not_ready()
        slow.may_answer.set()
        wait_until("the first round has ended", lambda: not node.capacity.not_ready())
        slow.failure = ""


def test_what_another_process_published_stays_until_the_driver_has_failed_twice() -> None:
    both = OneIsSick()
    both.node().capacity.publish()
    both.sick = "flexvol/b"
    both.free = 5 << 20
    node = both.node()

    with pytest.raises(protocol.Internal):
        node.capacity.publish()
    assert both.rooms() == {"a": str(5 << 20), "b": str(1 << 30)}
    with pytest.raises(protocol.Internal):
        node.capacity.publish()

    assert both.rooms() == {"a": str(5 << 20)}


class Refusing(Published):
    """An API server that refuses every write while there is an `error`."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.reads = 0

    def get(self, path: str) -> Any:
        self.reads += 1
        return super().get(path)

    def create(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return super().create(path, wish)


@pytest.fixture
def refusing() -> Any:
    return Refusing()


def test_a_failure_to_publish_is_logged_once_until_another_or_a_success(
    refusing: Any, caplog: pytest.LogCaptureFixture
) -> None:
    node = publishing(WithNode(refusing), refusing.list, US, [storage_class()])
    forbidden = cluster.Refused(403, "cannot create")
    gone = cluster.Unreachable("no route")

    for error in (forbidden, forbidden, gone, gone, None, gone):
        refusing.error = error
        refusing.free -= 1 << 20
        node.news.changed()
        node.capacity._try(node.capacity._round)

    assert [record.getMessage() for record in caplog.records] == [
        "capacity not published: cannot create",
        "capacity not published: no route",
        "capacity not published: no route",
    ]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(cluster.Unreachable("no route"), id="the API server was away"),
        pytest.param(KeyError("spec"), id="a bug ended the round"),
    ],
)
def test_after_a_failure_the_objects_are_read_again_before_anything_is_written(
    refusing: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Nobody knows which of them were written."""
    node = publishing(WithNode(refusing), refusing.list, US, [storage_class()])
    node.capacity._try(node.capacity._round)
    node.capacity._try(node.capacity._round)
    assert refusing.reads == 1

    refusing.error = error
    refusing.free -= 1 << 20
    node.news.changed()
    node.capacity._try(node.capacity._round)
    refusing.error = None
    node.capacity._try(node.capacity._round)

    assert refusing.reads == 2
    assert refusing.written[-1] == str(refusing.free)
    (record,) = caplog.records
    is_bug = isinstance(error, KeyError)
    assert (record.getMessage() == "bug while publishing capacity") == is_bug
    assert bool(record.exc_info) == is_bug


def test_what_others_do_to_a_disk_is_published_although_nothing_rings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "_OFTEN_SECONDS", 0.05)
    monkeypatch.setattr(capacity, "_AT_MOST_EVERY_SECONDS", 0.05)
    slow: Any = Slow()
    node = publishing(WithNode(slow), slow.list, US, [storage_class()])

    with slow.runs(node):
        wait_until("the first round has ended", lambda: not node.capacity.not_ready())
        slow.free //= 2

        wait_until("the change is published", lambda: slow.written[-1] == str(slow.free))


def test_the_drivers_rest_between_two_rounds_however_often_something_rings() -> None:
    slow: Any = Slow()
    asked: list[float] = []

    def ask(driver: str) -> Listed:
        asked.append(time.monotonic())
        return Published.list(slow, driver)

    node = publishing(WithNode(slow), ask, US, [storage_class()])

    with slow.runs(node):
        deadline = time.monotonic() + 20
        while len(asked) < 3 and time.monotonic() < deadline:
            node.news.changed()
            time.sleep(0.01)

    assert min(later - before for before, later in itertools.pairwise(asked[:3])) > 0.9
