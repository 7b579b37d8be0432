"""The words of ./build.sh: what each one does, how long it takes, and what it needs.

This module runs on every Python that the demo may meet, from 3.8 on; what needs a newer one is
imported by the word that uses it."""

from __future__ import annotations

import dataclasses
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

from bundle import packages
from shared import table

ROOT = Path(__file__).resolve().parent.parent
_HEADER = """\
./build.sh WORD ...: makes, shows and tests flexvol. ./build.sh WORD --help lists the options.

As root on Debian, every word but build and new-driver installs the packages that it needs and says
which; otherwise the word prints the command that does. All words but demo and new-driver fetch
Python packages once, pinned by hash, into the cache (FLEXVOL_CACHE, or ~/.cache/flexvol). The times
are those of a machine with two processors.
"""


@dataclasses.dataclass(frozen=True)
class Word:
    """One word of ./build.sh.

    run: does the work, with the words behind this one
    as_root: whether nothing can be done without root
    installs: whether the packages are installed before the work begins. The other words install
        what the chosen part of their work needs, and some go on without; build needs none."""

    name: str
    purpose: str
    time: str
    needs: str
    run: Callable[[list[str]], None]
    as_root: bool = False
    installs: bool = False


def start(word: Word, words: list[str]) -> None:
    """Does what the word stands for. Ends the program with a sentence if something is missing.

    :param words: those behind it"""
    if not {"-h", "--help"} & set(words):
        if word.as_root and os.geteuid() != 0:
            raise SystemExit(f"build.sh: {word.name} needs root: sudo ./build.sh {word.name}")
        lacking = packages.install(word.name) if word.installs else ""
        if lacking:
            raise SystemExit(lacking)
    word.run(words)


def text() -> str:
    """The help: a line for each word."""
    rows = [[word.name, word.purpose, word.time, word.needs] for word in WORDS]
    aligned = table.aligned(["WORD", "WHAT IT DOES", "TIME", "NEEDS"], rows)
    return f"{_HEADER}\n{aligned}"


def _build(words: list[str]) -> None:
    from bundle import pack

    pack.main(words)
    _build_provisioner()


def _build_with(drivers: list[Path]) -> None:
    """As `build`, with drivers of one's own."""
    from bundle import pack

    pack.pack(ROOT / "dist/flexvol", drivers)
    _build_provisioner()


def _build_provisioner() -> None:
    from bundle import pack_provisioner

    pack_provisioner.build(ROOT / "dist/provisioner")


def _demo(words: list[str]) -> None:
    from bundle import pack

    pack.main([])
    sys.stdout.flush()
    os.execv(ROOT / "dist/flexvol", ["dist/flexvol", "demo", *words])


def _sanity(words: list[str]) -> None:
    from bundle import pack

    pack.main([])
    sys.stdout.flush()
    os.execv(ROOT / "dist/flexvol", ["dist/flexvol", "sanity", *words])


def _test(words: list[str]) -> None:
    _run_module("bundle.check", words)


def _bench(words: list[str]) -> None:
    from bundle import pack

    pack.main([])
    _run_module("tests.bench", words)


def _image(words: list[str]) -> None:
    from bundle import image

    settings = image.arguments(words)
    _build_with(settings.driver)
    image.main(settings)


def _new_driver(words: list[str]) -> None:
    from bundle import new_driver

    new_driver.main(words)


def _release(words: list[str]) -> None:
    from bundle import release

    settings = release.arguments(words)
    if not settings.dirty:
        release.refuse_changes()
    _build_with([])
    release.main(settings)


def _playground(words: list[str]) -> None:
    _run_module("tests.cluster.kube.playground", words)


def _run_module(name: str, words: list[str]) -> None:
    """As `python3 -m NAME WORDS` does, in this process."""
    sys.argv = [name, *words]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


WORDS = (
    Word(
        "build",
        "makes dist/flexvol, dist/provisioner",
        "5 s; at first 1 min",
        "Python packages",
        _build,
    ),
    Word(
        "demo",
        "a volume's life on this machine",
        "15 s",
        "root, e2fsprogs",
        _demo,
        as_root=True,
        installs=True,
    ),
    Word(
        "sanity",
        "judges a FlexVolume driver: PATH",
        "1 min",
        "root",
        _sanity,
        as_root=True,
    ),
    Word(
        "playground",
        "a Kubernetes to try; --down ends it",
        "2 min; at first 15",
        "root, Go 1.26, packages",
        _playground,
        as_root=True,
    ),
    Word(
        "image",
        "makes dist/image.tar",
        "2 min",
        "buildah, a base image",
        _image,
        installs=True,
    ),
    Word(
        "new-driver",
        "begins a driver of your own in drivers",
        "1 s",
        "nothing",
        _new_driver,
    ),
    Word(
        "release",
        "makes all files of a release in dist",
        "2 min",
        "as image, or --no-image",
        _release,
    ),
    Word(
        "test",
        "all tests; --quick: some",
        "40 min; quick 3 min",
        "root, Go 1.26, packages",
        _test,
    ),
    Word(
        "bench",
        "measures callouts, claims or shapes",
        "1 to 30 min",
        "root; claims: as playground",
        _bench,
        as_root=True,
    ),
    Word("help", "prints this table", "", "", lambda _: print(text())),
)
