"""The images the test cluster runs: made here, since nothing can be fetched, and kept in the
cache."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bundle.environment import cache, locked
from tests.cluster.kube.machine import fetch, sh

ROOT = Path(__file__).resolve().parents[3]
PAUSE = "registry.k8s.io/pause:3.10"
SHELL = "flexvol.test/shell:1"  # busybox, for the pods of the tests
BUSYBOX = "docker.io/library/busybox:latest"  # of examples, whose pods take it if it is there
RESTIC = "flexvol.test/restic:1"  # busybox and restic, for the backups of docs/backup.md
PRODUCT = "localhost/flexvol:dev"
_SUITE = "bookworm"
_UNUSED_SECONDS = 3600  # a cluster starts between the build of its image and the import
_TOOLS = "python3,e2fsprogs,xfsprogs,btrfs-progs,ca-certificates"


def busybox(target: Path) -> Path:
    """A docker archive of busybox under three names: the pause image, the shell of test pods, and
    its own."""
    return _archive(target, [PAUSE, SHELL, BUSYBOX], {})


def restic(target: Path) -> Path:
    """A docker archive of busybox with this machine's restic, and the libraries that it needs."""
    program = Path(shutil.which("restic") or "/usr/bin/restic")
    # A static program has none, and ldd says so on its stderr.
    shown = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    libraries = re.findall(r"(/\S+) \(0x", shown)
    files = {library.lstrip("/"): Path(library) for library in libraries}
    return _archive(target, [RESTIC], {"bin/restic": program, **files})


def _archive(target: Path, names: list[str], files: dict[str, Path]) -> Path:
    """A docker archive of an image with these names: busybox, and these files of this machine by
    their paths in the image."""
    blob = _layer(files)
    digest = hashlib.sha256(blob).hexdigest()
    config = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sleep", "infinity"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": names, "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as tar:
        for name, content in (
            ("layer.tar", blob),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            _add_file(tar, name, content, 0o644)
    return target


def _layer(files: dict[str, Path]) -> bytes:
    """A tar file of busybox under all its names, and these files by their paths in the image."""
    binary = Path(shutil.which("busybox") or "/bin/busybox")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for directory in ("bin", "tmp", "data", "etc"):
            entry = tarfile.TarInfo(directory)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o777
            tar.addfile(entry)
        _add_file(tar, "bin/busybox", binary.read_bytes(), 0o755)
        names = subprocess.run(
            [binary, "--list"], capture_output=True, text=True, check=True
        ).stdout.split()
        for name in names:
            if name != "busybox":
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type = tarfile.SYMTYPE
                entry.linkname = "busybox"
                tar.addfile(entry)
        for path, file in files.items():
            _add_file(tar, path, file.read_bytes(), 0o755)
    return layer.getvalue()


def _add_file(tar: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = len(content)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(content))


def base() -> str:
    """The name for buildah of a base image with the tools of deploy/Containerfile, made by
    debootstrap once."""
    target = cache() / f"base-{_SUITE}-1.tar"
    if not target.exists():
        with tempfile.TemporaryDirectory(
            dir=cache(), prefix="base-", ignore_cleanup_errors=True
        ) as scratch:
            root = Path(scratch, "root")
            made = Path(scratch, "made.tar")
            settings = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
            buildah = ["buildah", "--root", f"{scratch}/storage", "--runroot", f"{scratch}/run"]

            def run(*line: str) -> str:
                return sh(*line, stdout=subprocess.PIPE, env=settings).stdout.strip()

            def fill_root() -> None:
                shutil.rmtree(root, ignore_errors=True)
                run(
                    "debootstrap",
                    "--variant=minbase",
                    f"--include={_TOOLS}",
                    _SUITE,
                    str(root),
                )

            fetch(fill_root)
            container = run(*buildah, "from", "scratch")
            run(*buildah, "add", "--quiet", container, str(root), "/")
            run(*buildah, "commit", "--quiet", container, f"oci-archive:{made}")
            made.rename(target)
    return f"oci-archive:{target}"


def product(drivers: Sequence[Path] = ()) -> Path:
    """The product's image as ./build.sh image makes it, again only if something that goes into it
    changed.

    drivers: the files of drivers of one's own, which become part of it"""
    with locked("image.lock"):
        return _product(drivers)


def _product(drivers: Sequence[Path]) -> Path:
    sources = [
        ROOT / "deploy/Containerfile",
        ROOT / "dist/flexvol",
        ROOT / "dist/provisioner",
    ]
    options = [f"--driver={driver}" for driver in drivers]
    subprocess.run(["./build.sh", "build", *options], cwd=ROOT, check=True)
    key = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    target = cache() / f"image-{key}.tar"
    if not target.exists():
        remove_unused(cache())
        settings = {**os.environ, "FLEXVOL_BASE_IMAGE": base()}
        subprocess.run(
            ["./build.sh", "image", *options],
            cwd=ROOT,
            check=True,
            env=settings,
            stdout=subprocess.DEVNULL,
        )
        shutil.move(ROOT / "dist/image.tar", target)
    os.utime(target)
    return target


def remove_unused(directory: Path) -> None:
    """Removes the images that no run asked for within an hour. Another run, of other sources, may
    be about to import an image that is newer."""
    for image in directory.glob("image-*.tar"):
        if image.stat().st_mtime < time.time() - _UNUSED_SECONDS:
            image.unlink()
