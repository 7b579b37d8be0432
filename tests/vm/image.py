"""Root disks for the machines: Debian's packages, unpacked and not installed, with Debian's kernel.

A package's scripts are not run, as unpacking takes a third of the time; the little of their work
that is needed is done here. The kernel is the one for virtual machines ("cloud"), which has fewer
drivers and starts sooner."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bundle.environment import cache, locked
from tests.cluster.kube.machine import fetch

HERE = Path(__file__).resolve().parent
PROGRAMS = (
    "qemu-system-x86_64",
    "debootstrap",
    "dpkg-deb",
    "cpio",
    "modprobe",
    "busybox",
    "mke2fs",
    "unxz",
)
# The name of Debian's release -> its kernel.
KERNELS = {"bullseye": "5.10", "trixie": "6.12"}
_PACKAGES = (
    "linux-image-cloud-amd64,python3,nfs-kernel-server,nfs-common,kmod,iproute2,procps,"
    "e2fsprogs,xfsprogs,btrfs-progs,lvm2"
)
# Of one release only: the CIFS server runs in the new one.
_MORE_PACKAGES = {"bullseye": "", "trixie": ",samba"}
# What the root disk needs before it can be mounted.
_FIRST_MODULES = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
_USELESS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "boot")
_ROOT_BYTES = 4 << 30
# The tests of another tree may run with an image of their own; an image goes after so long unused.
_UNUSED_SECONDS = 24 * 60 * 60


@dataclasses.dataclass(frozen=True)
class Image:
    """A root disk, its kernel and its initial memory disk."""

    directory: Path

    @property
    def root(self) -> Path:
        return self.directory / "root.img"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd.gz"


def missing() -> str:
    """Why no machine can be had here, or nothing."""
    path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    absent = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if absent:
        return "no virtual machine here without " + ", ".join(absent)
    if os.geteuid() != 0:
        return "making the root disk of a virtual machine needs root"
    return ""


def build(suite: str) -> Image:
    """The image of a Debian release, made now if it is not in the cache."""
    parts = [Path(__file__), HERE / "init.sh", HERE / "initrd.sh"]
    key = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:12]
    image = Image(cache() / f"vm-{suite}-{key}")
    with locked(f"vm-{suite}.lock"):
        if image.directory.exists():
            os.utime(image.directory)
            return image
        for old in cache().glob(f"vm-{suite}-*"):
            if time.time() - old.stat().st_mtime > _UNUSED_SECONDS:
                shutil.rmtree(old)
        with tempfile.TemporaryDirectory(dir=cache(), prefix=f"making-vm-{suite}-") as scratch:
            made = Image(Path(scratch, "image"))
            made.directory.mkdir()
            _make(suite, Path(scratch), made)
            made.directory.rename(image.directory)
    return image


def _make(suite: str, scratch: Path, image: Image) -> None:
    packages = fetch(lambda: _download(suite, scratch / "packages"))
    root = scratch / "root"
    root.mkdir()
    # base-files first: it has the links of a merged /usr, which all others rely on.
    for package in sorted(packages, key=lambda path: not path.name.startswith("base-files_")):
        run("dpkg-deb", "--extract", package, root)
    _complete(root)
    version = next((root / "lib/modules").iterdir()).name
    shutil.copy(root / f"boot/vmlinuz-{version}", image.kernel)
    _unpack_modules(root / "lib/modules" / version)
    run("depmod", "-b", root, version)
    _make_initrd(root, version, scratch / "initrd", image.initrd)
    for useless in _USELESS:
        shutil.rmtree(root / useless, ignore_errors=True)
    with image.root.open("w") as file:
        file.truncate(_ROOT_BYTES)
    run("mke2fs", "-q", "-t", "ext4", "-d", root, image.root)


def _download(suite: str, directory: Path) -> list[Path]:
    """The release's packages, from where this machine's debootstrap takes them."""
    line = ("debootstrap", "--download-only", "--keep-debootstrap-dir", "--variant=minbase")
    done = subprocess.run(
        [*line, f"--include={_PACKAGES}{_MORE_PACKAGES[suite]}", suite, directory],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"debootstrap {suite}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return list((directory / "var/cache/apt/archives").glob("*.deb"))


def _complete(root: Path) -> None:
    """What the packages' own scripts would have made and the tests need."""
    for name in ("proc", "sys", "dev", "run", "tmp", "new", "payload", "root"):
        (root / name).mkdir(exist_ok=True)
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    if not (root / "bin/sh").exists():
        (root / "bin/sh").symlink_to("dash")
    # Else each machine compiles what its Pythons import, which takes seconds of each start.
    library = next((root / "usr/lib").glob("python3.*")).name
    compiling = ("python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash")
    run("chroot", root, *compiling, f"/usr/lib/{library}")
    init = root / "init.sh"
    shutil.copy(HERE / "init.sh", init)
    init.chmod(0o755)


def _unpack_modules(directory: Path) -> None:
    """Unpacks the kernel's modules: an emulated processor takes seconds for that, at each start."""
    packed = list(directory.rglob("*.ko.xz"))
    if packed:
        run("unxz", *packed)


def _make_initrd(root: Path, version: str, directory: Path, target: Path) -> None:
    for name in ("bin", "modules", "dev", "new"):
        (directory / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, directory / "bin/busybox")
    shutil.copy(HERE / "initrd.sh", directory / "init")
    (directory / "init").chmod(0o755)
    order: list[str] = []
    for module in _FIRST_MODULES:
        shown = run("modprobe", "-d", root, "-S", version, "--show-depends", module)
        for line in shown.splitlines():
            kind, _, file = line.strip().partition(" ")
            if kind != "insmod" or Path(file).name in order:  # the kernel has it built in
                continue
            shutil.copy(file, directory / "modules")
            order.append(Path(file).name)
    (directory / "order").write_text("".join(f"{name}\n" for name in order))
    archive = subprocess.run(
        "find . | cpio -o -H newc --quiet | gzip -1",
        shell=True,
        cwd=directory,
        capture_output=True,
        check=True,
    )
    target.write_bytes(archive.stdout)


def run(*line: str | Path) -> str:
    """Runs a program that must succeed; returns its output."""
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


OLD = "bullseye"
NEW = "trixie"
