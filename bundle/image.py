"""Builds deploy/Containerfile with buildah into an OCI archive.

No container engine is needed. FLEXVOL_BASE_IMAGE names the base image, where the default one cannot
be fetched. The same base with the tools in it, and the same sources, give the same bytes."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bundle import pack, tars

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "dist/image.tar"
NAME = "localhost/flexvol"
DEVELOPMENT_TAG = "dev"
# The files of dist/ that are in the image.
PROGRAMS = ("flexvol", "provisioner")
DEFAULT_BASE = "docker.io/library/debian:bookworm-slim"
# What FLEXVOL_BASE_IMAGE has where each platform has a base of its own.
_ARCHITECTURE = "{arch}"
_PLATFORM = re.compile(r"linux/[a-z0-9]+(/[a-z0-9]+)?")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def add_platform_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--platform",
        type=_platforms,
        default=[],
        metavar="PLATFORMS",
        help="for example linux/amd64,linux/arm64 (default: this machine's). "
        "FLEXVOL_BASE_IMAGE names a base that has all of them, or has {arch} where the "
        "architecture stands in the name. Another architecture than this machine's also "
        "needs qemu-user-static.",
    )


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """:param words: those behind `./build.sh image`"""
    parser = argparse.ArgumentParser(
        prog="build.sh image", description="Make dist/image.tar, an OCI archive."
    )
    add_platform_argument(parser)
    pack.add_driver_argument(parser)
    return parser.parse_args(words)


def build(target: Path, tag: str, platforms: Sequence[str]) -> None:
    """Writes the OCI archive of localhost/flexvol with this tag to `target`. No layers are kept for
    the next build, because only two files matter.

    :param platforms: such as linux/arm64; empty for this machine's
    :raises SystemExit: with a sentence, if it fails"""
    if shutil.which("buildah") is None:
        raise SystemExit("buildah is missing: apt-get install buildah")
    name = f"{NAME}:{tag}"
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    print(f"building {name} on {base_image()}; this takes a minute", flush=True)
    with tempfile.TemporaryDirectory(
        prefix="flexvol-image-", ignore_cleanup_errors=True
    ) as scratch:
        context = _context(Path(scratch))
        made = Path(scratch, "made.tar")
        try:
            for line in _commands(name, platforms or [_own_platform()], context, made):
                program, *words = line
                stores = ["--root", f"{scratch}/root", "--runroot", f"{scratch}/run"]
                _run([program, *stores, *words])
            tars.rewrite(made, aside)
            os.replace(aside, target)
        finally:
            aside.unlink(missing_ok=True)


def base_image() -> str:
    return os.environ.get("FLEXVOL_BASE_IMAGE") or DEFAULT_BASE


def _commands(
    name: str, platforms: Sequence[str], context: Path, target: Path
) -> Iterator[list[str]]:
    """The calls of buildah that make an archive. Several platforms share one name by a list of
    manifests."""
    has_list = len(platforms) > 1
    for each in platforms:
        base = base_image().replace(_ARCHITECTURE, each.split("/")[1])
        bud = ["buildah", "bud", "--quiet", "--timestamp", str(tars.EPOCH)]
        bud += ["--platform", each, f"--build-arg=BASE={base}"]
        bud += ["--manifest" if has_list else "--tag", name]
        yield [*bud, "--file", str(ROOT / "deploy/Containerfile"), str(context)]
    destination = f"oci-archive:{target}:{name}"
    if has_list:
        yield ["buildah", "manifest", "push", "--quiet", "--all", name, destination]
    else:
        yield ["buildah", "push", "--quiet", name, destination]


def _run(line: list[str]) -> None:
    """Runs buildah. If it fails, the last line that it printed goes into the sentence."""
    settings = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
    done = subprocess.run(line, check=False, env=settings, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return
    reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    raise SystemExit(
        f"the image on {base_image()} cannot be built: {reason}. Where that base cannot "
        "be fetched, name another one with FLEXVOL_BASE_IMAGE, such as oci-archive:FILE"
    )


def _own_platform() -> str:
    machine = platform.machine()
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"


def _platforms(text: str) -> list[str]:
    platforms = text.split(",")
    wrong = ", ".join(each for each in platforms if not _PLATFORM.fullmatch(each))
    if wrong:
        raise argparse.ArgumentTypeError(
            f"{wrong} is no platform: write linux/ARCHITECTURE, such as linux/arm64"
        )
    return platforms


def _context(directory: Path) -> Path:
    """A directory with the files that the Containerfile copies."""
    context = directory / "context"
    (context / "dist").mkdir(parents=True)
    for name in PROGRAMS:
        shutil.copy(ROOT / "dist" / name, context / "dist")
    return context


def main(settings: argparse.Namespace) -> None:
    build(TARGET, DEVELOPMENT_TAG, settings.platform)
    print(TARGET)
