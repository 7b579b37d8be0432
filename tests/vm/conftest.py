"""Virtual machines for the tests: started when one is wanted, their images from the cache."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.vm import bytecode, image
from tests.vm.bytecode import CompileFor
from tests.vm.guest import FILES, Guest, MakeGuest
from tests.vm.image import NEW
from tests.vm.machine import Machine

# The two files that take longest. Of two runs that divide the files (tests/halves.py), each begins
# with one of these; then the last file is a short one, and neither run waits long for the other.
LONGEST = ("test_network_drivers.py", "test_kernels.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--campaign"):
        items[:] = [item for item in items if is_for_ci(item)]
    for item in items:
        if "tests/vm/" in item.nodeid:
            item.add_marker(pytest.mark.vm)
    first, last = LONGEST
    items.sort(key=lambda item: (item.path.name == last) - (item.path.name == first))


def is_for_ci(item: pytest.Item) -> bool:
    """Whether CI has the time for the test with these parameters, as its mark in_ci_with says."""
    marker = item.get_closest_marker("in_ci_with")
    if not marker or not isinstance(item, pytest.Function):
        return True
    return marker.kwargs.items() <= item.callspec.params.items()


@pytest.fixture(scope="session")
def images() -> Callable[[str], image.Image]:
    """The image of a Debian release."""
    lacking = image.missing()
    if lacking:
        pytest.skip(lacking)
    return image.build


@pytest.fixture(scope="session")
def compile_for(tmp_path_factory: pytest.TempPathFactory) -> CompileFor:
    """A copy of a built file for a Debian release, as bytecode.compiled makes it."""

    def compile_for(built: Path, suite: str) -> Path:
        return bytecode.compiled(built, suite, tmp_path_factory.mktemp("compiled"))

    return functools.cache(compile_for)


@pytest.fixture(scope="session")
def start_guest(
    built: Path,
    images: Callable[[str], image.Image],
    compile_for: CompileFor,
) -> MakeGuest:
    """Starts a node in a machine, with the built file as a node has it after installation: with the
    bytecode of its Python. Who starts it ends it."""

    def start(
        suite: str,
        directory: Path,
        disk: Path | None = None,
        network: tuple[str, ...] = (),
        keeps: bool = True,
    ) -> Guest:
        files = {**FILES, "flexvol": compile_for(built, suite)}
        machine = Machine(images(suite), directory, files, disk, network, keeps)
        try:
            bytecode.complete(machine, files)
        except BaseException:
            machine.cut()
            raise
        return Guest(machine)

    return start


@pytest.fixture
def make_guest(start_guest: MakeGuest, tmp_path: Path) -> Iterator[MakeGuest]:
    """Starts nodes that end with the test."""
    made: list[Guest] = []

    def make(
        suite: str = NEW,
        name: str = "machine",
        disk: Path | None = None,
        network: tuple[str, ...] = (),
    ) -> Guest:
        made.append(start_guest(suite, tmp_path / name, disk, network))
        return made[-1]

    yield make
    for guest in made:
        guest.close()


@pytest.fixture
def make_disk(tmp_path: Path) -> Callable[..., Path]:
    """Makes an empty disk with a file system for a node to remember what it has."""

    def make(name: str = "disk", size: str = "4G", fs: str = "xfs") -> Path:
        path = tmp_path / name
        image.run("truncate", "-s", size, path)
        image.run(f"mkfs.{fs}", "-q", path)
        return path

    return make
