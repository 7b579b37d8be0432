"""The way from a driver's name and words to its answer."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from node import callouts
from node.drivers import Busy, Driver, InvalidArgument, Reply
from node.host import log
from shared.protocol import Internal

REQUEST = {
    "kubernetes.io/pvOrVolumeName": "pvc-1",
    "kubernetes.io/pod.namespace": "shop",
    "kubernetes.io/pod.name": "web",
    "kubernetes.io/pod.uid": "u1",
    "pool": "fast",
}


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """Driver, callout and subject of what is logged."""
    lines: list[tuple[str, str, str]] = []

    def write(driver: str, callout: str, subject: str, *_: object) -> None:
        lines.append((driver, callout, subject))

    monkeypatch.setattr(log, "write", write)
    return lines


def answer_of(
    outcome: BaseException | Reply, monkeypatch: pytest.MonkeyPatch, *words: str
) -> dict[str, Any]:
    """The answer of a driver whose every callout ends so."""

    def end(self: Driver, **_: object) -> Reply:
        if isinstance(outcome, Reply):
            return outcome
        raise outcome

    methods = dict.fromkeys(("init", "mount", "unmount", "detach"), end)
    driver = type("TestDriver", (Driver,), methods)()
    monkeypatch.setattr(callouts, "load", lambda name: driver)
    return callouts.answer("test", words[0], list(words[1:]))


def mount_words(**changed: str) -> tuple[str, str, str]:
    return ("mount", "/pods/web", json.dumps({**REQUEST, **changed}))


@pytest.mark.parametrize(
    ("called", "driver"),
    [
        pytest.param("/plugins/flexvol~loop/loop", "loop", id="the name of a driver, as a path"),
        pytest.param("loop", "loop", id="the name of a driver"),
        pytest.param("flexvol", "loop", id="a name that is no driver means the default"),
        pytest.param("no-driver", "loop", id="a name that cannot be a driver's"),
        pytest.param("", "loop", id="no name"),
    ],
)
def test_the_name_called_by_chooses_the_driver(called: str, driver: str) -> None:
    assert callouts.driver_name(called) == driver


def test_a_driver_that_is_not_there_is_refused_with_the_one_that_is() -> None:
    with pytest.raises(InvalidArgument, match="this file has no driver 'nfs'; its own is loop"):
        callouts.load("nfs")


def test_the_drivers_class_is_found_in_its_module() -> None:
    assert type(callouts.load("loop")).__module__ == "node.drivers.loop"


@pytest.mark.parametrize(
    ("failure", "words", "message"),
    [
        pytest.param(
            Busy("in use"),
            mount_words(),
            "volume pvc-1 in pool fast: in use",
            id="the volume and its pool are named",
        ),
        pytest.param(
            Busy("in use"),
            mount_words(pool="../x"),
            "volume pvc-1: in use",
            id="a pool whose name is not allowed is not repeated",
        ),
        pytest.param(
            Busy("pool fast is full"),
            mount_words(),
            "pool fast is full",
            id="a sentence about the pool stays as it is",
        ),
        pytest.param(
            Busy("volume pvc-1 is in use"),
            mount_words(),
            "volume pvc-1 is in use",
            id="a sentence that names the volume stays as it is",
        ),
        pytest.param(
            Internal("device is busy"),
            ("unmount", "/pods/web"),
            "unmount /pods/web: device is busy",
            id="a callout without a volume names the directory",
        ),
    ],
)
def test_a_failure_names_what_it_is_about(
    failure: Exception,
    words: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[tuple[str, str, str]],
) -> None:
    reply = answer_of(failure, monkeypatch, *words)

    assert (reply["status"], reply["message"]) == ("Failure", message)


def test_an_error_nobody_expected_is_told_by_its_place_and_without_its_text(
    monkeypatch: pytest.MonkeyPatch, logged: list[tuple[str, str, str]]
) -> None:
    reply = answer_of(ValueError("a secret"), monkeypatch, *mount_words())

    assert reply["reason"] == "Internal"
    assert reply["message"].startswith("bug in the driver: ValueError at test_callouts.py:")
    assert "secret" not in reply["message"]


def test_an_error_of_the_system_is_a_failure_that_names_the_volume(
    monkeypatch: pytest.MonkeyPatch, logged: list[tuple[str, str, str]]
) -> None:
    reply = answer_of(OSError(28, os.strerror(28)), monkeypatch, *mount_words())

    assert reply["status"] == "Failure"
    assert reply["message"].startswith("volume pvc-1 in pool fast: ")


@pytest.mark.parametrize(
    ("words", "subject"),
    [
        pytest.param(mount_words(), "pvc-1 pod shop/web", id="the volume and the pod"),
        pytest.param(("unmount", "/pods/web"), "/pods/web", id="the directory"),
        pytest.param(("detach", "pvc-1", "node-1"), "pvc-1 node node-1", id="volume and node"),
        pytest.param(mount_words(**{"kubernetes.io/pvOrVolumeName": ".."}), "", id="no name"),
    ],
)
def test_the_log_says_what_a_callout_was_about(
    words: tuple[str, ...],
    subject: str,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[tuple[str, str, str]],
) -> None:
    answer_of(Reply(), monkeypatch, *words)

    assert logged == [("test", words[0], subject)]


def test_an_init_that_succeeds_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, logged: list[tuple[str, str, str]]
) -> None:
    answer_of(Reply(), monkeypatch, "init")
    assert logged == []

    answer_of(Busy("broken"), monkeypatch, "init")
    assert logged == [("test", "init", "")]


def test_an_answer_is_one_line_of_ascii() -> None:
    line = callouts.to_line({"message": "a\nb é"})

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line.decode("ascii")) == {"message": "a\nb é"}


def test_options_that_are_refused_are_no_bug(
    logged: list[tuple[str, str, str]],
) -> None:
    reply = callouts.answer("loop", "mount", ["/pods/web", "no object"])

    assert reply["reason"] == "InvalidArgument"
