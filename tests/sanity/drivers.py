"""Drivers for the tests of flexvol sanity, made of the correct ones, and their verdicts."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from node.sanity import sandbox
from node.sanity.check import NOT_JUDGED, RIGHT, Result
from node.sanity.life import Request
from node.sanity.suite import Suite
from tests.sources import ROOT

CORRECT = ROOT / "tests/sanity/correct"
_PYTHON_LINE = "#!/usr/bin/env python3\n"
_ATTACH_LINE = "ATTACH = False\n"
# No driver here takes so long, however busy the machine is.
_CALL_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Kind:
    """A correct driver, and how the suite is asked about it.

    source: the name of the file. attach, provision: as the arguments of the suite. is_loop: the
    driver mounts loop devices. setup: makes the storage; "" if provision makes it, or if the
    storage is not on this machine, so that no mount succeeds. password: of the Secret, if there is
    one."""

    source: str
    attach: bool = False
    provision: bool = False
    is_loop: bool = False
    setup: str = "mkdir -p /var/lib/shelf/volumes/data"
    password: bytes = b""

    def __str__(self) -> str:
        words = [self.source]
        if self.attach:
            words.append("attach")
        if self.provision:
            words.append("provision")
        return "-".join(words)

    def text(self) -> str:
        """The driver."""
        text = (CORRECT / self.source).read_text()
        if self.attach:
            text = replaced(text, _ATTACH_LINE, "ATTACH = True\n")
        if self.source.endswith(".py"):
            # The newest Python, without the modules and settings of this machine.
            text = replaced(text, _PYTHON_LINE, f"#!{os.path.realpath(sys.executable)} -IS\n")
        return text

    def request(self) -> Request:
        """What the suite is asked."""
        request = Request()
        request.attach = self.attach
        request.provision = self.provision
        request.call_seconds = _CALL_SECONDS
        if self.password:
            request.secrets = {"password": self.password}
        if not self.provision:
            request.options = {"directory": "data"}
        request.setup = self.setup
        return request


PYTHON = Kind("shelf.py")
ATTACHING = Kind("shelf.py", attach=True)
PROVISIONING = Kind("shelf.py", provision=True, setup="")
ATTACHING_PROVISIONING = Kind("shelf.py", attach=True, provision=True, setup="")
SH = Kind("shelf.sh")
NOT_THERE = Kind("shelf.py", setup="")
LOOP = Kind("image.sh", provision=True, is_loop=True, setup="")


def replaced(text: str, old: str, new: str) -> str:
    """The text with a part, of which there is exactly one, replaced."""
    assert text.count(old) == 1, f"{text.count(old)} times in the driver: {old}"
    return text.replace(old, new)


def judged(
    directory: Path, kind: Kind, text: str, names: Sequence[str] = (), alone: bool = False
) -> list[Result]:
    """What the suite says of a driver with this text.

    :param names: of the checks; all if none are named
    :param alone: whether the checks that these need are taken for right"""
    path = directory / "shelf"
    path.write_text(text)
    path.chmod(0o755)
    settings = sandbox.Settings(str(path))
    settings.loop_devices = kind.is_loop
    settings.real_root = kind.is_loop
    suite = Suite(settings, kind.request())
    if alone:
        suite.take_for_right(names)
    return list(suite.judge(names))


def faults(results: list[Result]) -> dict[str, str]:
    """The names of the checks that found a fault, also if it is advice only, and what they say."""
    return {
        result.check.name: result.message
        for result in results
        if result.verdict not in (RIGHT, "not asked", NOT_JUDGED)
    }


def unexplained(results: list[Result]) -> dict[str, str]:
    """The names of the checks that could not be judged."""
    return {result.check.name: result.message for result in results if result.verdict == NOT_JUDGED}
