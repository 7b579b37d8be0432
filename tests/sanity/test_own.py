"""The suite has nothing to say about flexvol's own drivers, that of the tests that attaches among
them, and about the example that needs no server."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bundle import pack
from node.sanity import sandbox
from node.sanity.life import Request
from node.sanity.suite import Suite
from tests.precompiled import precompile
from tests.sanity import drivers
from tests.sources import ROOT

_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Own:
    """A driver of flexvol. path: of its source, for one that is not built in. setup: what it takes
    for granted."""

    name: str
    path: str = ""
    attach: bool = False
    has_loop_devices: bool = True
    setup: str = ""

    def pack(self, directory: Path) -> Path:
        """Its executable, in a directory of kubelet's form, as a node has it."""
        executable = directory / f"flexvol~{self.name}" / self.name
        executable.parent.mkdir()
        sources = []
        if self.path:
            sources.append(ROOT / self.path)
        pack.pack(executable, sources)
        executable.chmod(0o755)
        precompile(executable)
        return executable


LOOP = Own("loop", setup="$DRIVER pool init default")
OWN = (
    LOOP,
    Own(
        "attaching",
        "tests/drivers/attaching.py",
        attach=True,
        setup="mkdir -p /srv/flexvol-tests/attaching",
    ),
    Own("directory", "examples/directory.py", has_loop_devices=False),
)


# In CI the correct driver of test_broken.py shows the checks of drivers that attach, and the driver
# that tests/cluster/test_own_driver.py begins, with its own test, those of drivers of directories.
@pytest.mark.in_ci_with(own=LOOP)
@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
def test_the_suite_is_silent_about(own: Own, tmp_path: Path) -> None:
    settings = sandbox.Settings(str(own.pack(tmp_path)))
    settings.loop_devices = own.has_loop_devices
    settings.real_root = own.has_loop_devices
    request = Request()
    request.provision = True
    request.attach = own.attach
    request.setup = own.setup

    results = list(Suite(settings, request).judge(()))
    # A root lacks the loop devices that were taken at its beginning. When another program frees one
    # meanwhile, the kernel gives it to the driver, which then fails.
    for _ in range(_ATTEMPTS if own.has_loop_devices else 0):
        names = [*drivers.faults(results), *drivers.unexplained(results)]
        if names:
            results = list(Suite(settings, request).judge(names))

    assert drivers.faults(results) == {}
    assert drivers.unexplained(results) == {}
