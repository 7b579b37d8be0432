"""The suite is right: a driver with one fault has the name of the fault, and a correct one none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from node.sanity import catalog
from tests.sanity import drivers
from tests.sanity.broken import (
    Broken,
    answers,
    attaching,
    blameless,
    failing,
    mounting,
    provisioning,
    repeating,
    secrets,
    surroundings,
)
from tests.sanity.drivers import Kind

TOPICS = (
    answers,
    attaching,
    mounting,
    failing,
    repeating,
    secrets,
    surroundings,
    provisioning,
)
# The driver that is judged by all checks, as a campaign judges each one, which takes half an hour.
# Others might name this fault, too.
_WHOLE = "delete-frees"
DRIVERS: list[Broken] = [broken for topic in TOPICS for broken in topic.DRIVERS]


def test_each_check_has_a_driver_with_its_fault() -> None:
    assert {broken.check for broken in DRIVERS} == {check.name for check in catalog.CHECKS}


@pytest.mark.parametrize("broken", DRIVERS, ids=str)
def test_the_suite_finds(broken: Broken, campaign: bool, tmp_path: Path) -> None:
    results = drivers.judged(
        tmp_path, broken.kind, broken.text(), [broken.check], alone=not campaign
    )

    assert list(drivers.faults(results)) == [broken.check], results[0].message
    assert broken.message in results[0].message


@pytest.mark.parametrize("driver", blameless.DRIVERS, ids=str)
def test_the_suite_blames_nobody_who_is_right(
    driver: Broken, campaign: bool, tmp_path: Path
) -> None:
    results = drivers.judged(
        tmp_path, driver.kind, driver.text(), [driver.check], alone=not campaign
    )

    assert drivers.faults(results) == {}
    assert drivers.unexplained(results) == {}


@pytest.mark.parametrize("check", ["mount-after-reboot", "unmount-after-reboot"])
def test_a_setup_that_can_be_made_once_is_no_fault(check: str, tmp_path: Path) -> None:
    """The driver needs a server, which the setup does not start again."""
    setup = (
        "mkdir -p /var/lib/shelf/volumes; mkdir /var/lib/shelf/volumes/data && touch /run/server"
    )
    kind = dataclasses.replace(drivers.PYTHON, setup=setup)
    begin = "def take_away(path: str) -> None:\n"
    text = drivers.replaced(kind.text(), begin, begin + '    os.stat("/run/server")\n')
    begin = "    if is_mounted(path):\n        return\n    flags"
    text = drivers.replaced(text, begin, '    os.stat("/run/server")\n' + begin)

    results = drivers.judged(tmp_path, kind, text, [check])

    assert list(drivers.unexplained(results)) == [check], results[0].message


def test_the_suite_names_nothing_else(campaign: bool, tmp_path: Path) -> None:
    named: dict[str, set[str]] = {}
    for broken in DRIVERS:
        if campaign or broken.check == _WHOLE:
            results = drivers.judged(tmp_path, broken.kind, broken.text())
            others = set(drivers.faults(results)) - {broken.check}
            named.setdefault(str(broken), set()).update(others)

    assert {broken: names for broken, names in named.items() if names} == {}


@pytest.mark.parametrize(
    "kind",
    [
        drivers.SH,
        drivers.ATTACHING_PROVISIONING,
        pytest.param(drivers.PROVISIONING, marks=pytest.mark.campaign),
        drivers.LOOP,
    ],
    ids=str,
)
def test_a_correct_driver_has_no_fault(kind: Kind, tmp_path: Path) -> None:
    results = drivers.judged(tmp_path, kind, kind.text())

    assert drivers.faults(results) == {}
    assert drivers.unexplained(results) == {}


def test_where_the_storage_is_not_a_correct_driver_has_no_fault_but_that(tmp_path: Path) -> None:
    results = drivers.judged(tmp_path, drivers.NOT_THERE, drivers.NOT_THERE.text())

    assert list(drivers.faults(results)) == ["mount"]
    assert "mounted" in drivers.unexplained(results)
    # The driver refused the option, and may not have come to the place where the value is used.
    assert "option-executed" in drivers.unexplained(results)


@pytest.mark.parametrize(
    "check",
    [
        "attach-stated",
        "unknown-call",
        "exit-status-of-failure",
        "failure-message",
        "unmount-never-mounted",
    ],
)
def test_faults_are_found_where_the_storage_is_not(check: str, tmp_path: Path) -> None:
    (broken,) = [
        broken for broken in DRIVERS if broken.check == check and broken.kind == drivers.PYTHON
    ]

    results = drivers.judged(tmp_path, drivers.NOT_THERE, broken.text(), [check])

    assert list(drivers.faults(results)) == [check], results[0].message
