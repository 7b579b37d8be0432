"""Virtual machines for the tests: started when one is wanted, their images from the cache."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundle import pack
from tests.sources import ROOT
from tests.vm import bytecode, image
from tests.vm.bytecode import CompileFor
from tests.vm.guest import FILES, Guest, MakeGuest
from tests.vm.image import NEW, OLD
from tests.vm.machine import Machine, cable
from tests.vm.pair import Pair

# The order of the files. Two runs divide them (tests/halves.py): they begin at its two ends, and
# come to the middle after the same time. The first two files share two machines. The second file
# ends with a power cut of the server, so it comes after the first.
ORDER = (
    "test_network_drivers.py",
    "test_nfs.py",
    "test_lvm.py",
    "test_power.py",
    "test_kernels.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if "tests/vm/" in item.nodeid]
    for item in ours:
        item.add_marker(pytest.mark.vm)
    others = [item for item in items if "tests/vm/" not in item.nodeid]
    items[:] = others + sorted(ours, key=lambda item: ORDER.index(item.path.name))


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
    """Starts a node in a machine, with the built file, and with `more` of them by name, as a node
    has them after installation: with the bytecode of its Python. Who starts it ends it."""

    def start(
        suite: str,
        directory: Path,
        disk: Path | None = None,
        network: tuple[str, ...] = (),
        more: dict[str, Path] | None = None,
    ) -> Guest:
        packed = {"flexvol": built, **(more or {})}
        compiled = {name: compile_for(file, suite) for name, file in packed.items()}
        files = {**FILES, **compiled}
        machine = Machine(images(suite), directory, files, disk, network)
        try:
            bytecode.complete(machine, compiled)
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


@pytest.fixture(scope="session")
def machines(start_guest: MakeGuest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two machines, which have the drivers nfs and cifs in /payload."""
    directory = tmp_path_factory.mktemp("pair")
    disk = directory / "disk"
    image.run("truncate", "-s", "2G", disk)
    image.run("mkfs.ext4", "-q", disk)
    drivers = directory / "drivers"
    pack.pack(drivers, [ROOT / "examples/nfs.py", ROOT / "examples/cifs.py"])
    more = {"nfs": drivers, "cifs": drivers}
    ours, theirs = cable(directory)
    other = start_guest(OLD, directory / "other", network=theirs, more=more)
    try:
        pair = Pair(lambda: start_guest(NEW, directory / "server", disk, ours, more=more), other)
    except BaseException:
        other.close()
        raise
    yield pair
    pair.close()


@pytest.fixture
def make_disk(tmp_path: Path) -> Callable[..., Path]:
    """Makes an empty disk with a file system for a node to remember what it has."""

    def make(name: str = "disk", size: str = "4G", fs: str = "xfs") -> Path:
        path = tmp_path / name
        image.run("truncate", "-s", size, path)
        image.run(f"mkfs.{fs}", "-q", path)
        return path

    return make
