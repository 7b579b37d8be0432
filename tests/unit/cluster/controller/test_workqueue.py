"""A key waits once, is worked on once at a time, and backs off by itself."""

from __future__ import annotations

import threading
import time
from typing import Any

from cluster.controller.retry import GROWING
from cluster.controller.workqueue import WorkQueue


def test_a_key_added_twice_comes_once() -> None:
    queue = WorkQueue[Any]()
    queue.add("a")
    queue.add("a")
    queue.add("b")

    assert [queue.get(), queue.get()] == ["a", "b"]


def test_a_key_added_while_it_is_worked_on_comes_again_only_after() -> None:
    queue = WorkQueue[Any]()
    queue.add("a")
    assert queue.get() == "a"
    queue.add("a")
    queue.add("b")

    assert queue.get() == "b"  # not "a", although it waits longer
    queue.done("a")
    assert queue.get() == "a"


def test_adding_brings_a_turn_forward_and_never_puts_it_off() -> None:
    queue = WorkQueue[Any]()
    queue.add("a", 100)
    queue.add("a", 0)
    queue.add("a", 100)

    assert queue.get() == "a"


def test_what_is_due_later_waits() -> None:
    queue = WorkQueue[Any]()
    began = time.monotonic()
    queue.add("later", 100)
    queue.add("now")

    assert queue.get() == "now"
    queue.add("later", 0.2)
    assert queue.get() == "later"
    assert time.monotonic() - began >= 0.2


def test_what_is_tried_again_after_a_failure_still_waits() -> None:
    """However long each attempt takes: FlexvolWorkWaits fires for what waits for an hour."""
    queue = WorkQueue[Any]()
    queue.add("a")
    queue.get()
    assert queue.waiting_keys() == []  # the first attempt

    queue.failed("a", GROWING)
    queue.add("a")
    assert queue.waiting_keys() == ["a"]
    queue.get()
    assert queue.waiting_keys() == ["a"]
    queue.add("a")  # there is news of it meanwhile
    assert queue.waiting_keys() == ["a"]
    queue.done("a")
    assert queue.get() == "a"
    assert queue.waiting_keys() == []


def test_a_worker_that_does_not_take_a_key_leaves_it_to_the_others() -> None:
    queue = WorkQueue[Any]()
    for number in range(3):
        queue.add(("claim", number))
    got: list[object] = []
    worker = threading.Thread(target=lambda: got.append(queue.get(lambda key: key[0] != "claim")))
    worker.start()
    assert [queue.get() for _ in range(2)] == [("claim", 0), ("claim", 1)]

    queue.add(("volume", "a"))
    worker.join(5)

    assert got == [("volume", "a")]
    assert queue.get() == ("claim", 2)


def test_failures_back_off_exponentially_up_to_the_limit_and_success_forgets_them() -> None:
    queue = WorkQueue[Any]()
    waits: list[tuple[float, float]] = []  # at the most and at the least
    for _ in range(12):
        queue.add("a")
        assert queue.get() == "a"
        before = time.monotonic()
        queue.failed("a", GROWING)
        waits.append((queue._due["a"] - before, queue._due["a"] - time.monotonic()))

    for number, (most, least) in enumerate(waits):
        expected = min(GROWING.last_seconds, GROWING.first_seconds * 2**number)
        assert 0.74 * expected < most and least < 1.26 * expected
    queue.add("a")
    queue.get()
    queue.done("a")
    queue.add("a")
    queue.get()
    queue.failed("a", GROWING)
    assert queue._due["a"] - time.monotonic() < 1.3


def test_stop_wakes_who_waits() -> None:
    queue = WorkQueue[Any]()
    seen: list[object] = []
    worker = threading.Thread(target=lambda: seen.append(queue.get()))
    worker.start()

    queue.stop()
    worker.join(5)

    assert seen == [None]


def test_many_workers_never_share_a_key() -> None:
    queue = WorkQueue[Any]()
    at_once: dict[object, int] = {}
    most: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        while (key := queue.get()) is not None:
            with lock:
                at_once[key] = at_once.get(key, 0) + 1
                most.append(at_once[key])
            time.sleep(0.001)
            with lock:
                at_once[key] -= 1
            queue.done(key)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for number in range(400):
        queue.add(number % 3)
    deadline = time.monotonic() + 5
    while queue._due and time.monotonic() < deadline:
        time.sleep(0.01)
    queue.stop()
    for worker in workers:
        worker.join(5)

    assert max(most) == 1
    assert not queue._due


def test_hurry_brings_every_turn_forward_and_forgets_the_failures() -> None:
    queue = WorkQueue[Any]()
    for _ in range(6):
        queue.add("a")
        queue.get()
        queue.failed("a", GROWING)
    queue.add("b", 300)

    queue.hurry()

    assert {queue.get(), queue.get()} == {"a", "b"}
    queue.failed("a", GROWING)
    assert queue._due["a"] - time.monotonic() < 1.3


def test_a_retry_is_no_sooner_than_was_asked_for() -> None:
    queue = WorkQueue[Any]()
    queue.add("a")
    queue.get()
    before = time.monotonic()
    queue.failed("a", GROWING, 20)

    assert queue._due["a"] - before > 19


def test_what_is_forgotten_waits_no_more_and_leaves_nothing() -> None:
    """Of a standby's thousands of claims that another served."""
    queue = WorkQueue[Any]()
    for number in range(10_000):
        queue.add(number)
        queue.forget(number)
    queue.add("b")

    assert queue.waiting() == 1
    assert len(queue._order) < 1000
    assert queue.get() == "b"
