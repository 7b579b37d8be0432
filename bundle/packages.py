"""The distribution's packages that each word of ./build.sh needs, and the one way to get them.

As root on Debian they are installed. Anyone else is told the command of the distribution."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import subprocess

from bundle import environment

# What needs a package: a word of ./build.sh, or the word test with one of its options.
_CLUSTER = frozenset(("test", "playground", "bench"))
_TEST = frozenset(("test",))
_QUICK = _TEST | {"test --quick"}
_LINT = _QUICK | {"test --lint"}
# Where tools lie that the PATH of a root made by su lacks.
_TOOLS = ":/usr/sbin:/sbin"
# Each distribution, the program that installs its packages, and the attribute of Need with their
# names. The first distribution whose program is on PATH counts as the machine's.
_DISTRIBUTIONS = (
    ("Debian", "apt-get", "debian"),
    ("Fedora", "dnf", "fedora"),
    ("SUSE", "zypper", "suse"),
)


@dataclasses.dataclass(frozen=True)
class Need:
    """Something that words of ./build.sh need.

    what: a program on PATH; or a file, if it begins with a slash; or a Python module that makes the
        environment for building, if it begins with "import "
    debian, fedora, suse: the package that has it; "" where the name is not known"""

    what: str
    words: frozenset[str]
    debian: str
    fedora: str = ""
    suse: str = ""

    def is_here(self) -> bool:
        if self.what.startswith("/"):
            return os.path.exists(self.what)
        if self.what.startswith("import "):
            if environment.is_made():
                return True
            return importlib.util.find_spec(self.what.split()[1]) is not None
        path = os.environ.get("PATH", os.defpath) + _TOOLS
        return shutil.which(self.what, path=path) is not None


# The names of Fedora and SUSE that are not known for certain are left out.
NEEDS = (
    Need("mkfs.ext4", _CLUSTER | _QUICK | {"demo"}, "e2fsprogs", "e2fsprogs", "e2fsprogs"),
    Need("mkfs.xfs", _CLUSTER | _QUICK, "xfsprogs", "xfsprogs", "xfsprogs"),
    Need("mkfs.btrfs", _CLUSTER | _QUICK, "btrfs-progs", "btrfs-progs", "btrfsprogs"),
    Need("buildah", _CLUSTER | {"image"}, "buildah", "buildah", "buildah"),
    Need("containerd", _CLUSTER, "containerd", "", "containerd"),
    Need("runc", _CLUSTER, "runc", "runc", "runc"),
    Need(
        "/usr/lib/cni/bridge",
        _CLUSTER,
        "containernetworking-plugins",
        "containernetworking-plugins",
        "cni-plugins",
    ),
    Need("iptables", _CLUSTER, "iptables", "iptables-nft", "iptables"),
    Need("openssl", _CLUSTER | _QUICK, "openssl", "openssl", "openssl"),
    Need("ip", _CLUSTER, "iproute2", "iproute", "iproute2"),
    Need("nsenter", _CLUSTER, "util-linux", "util-linux", "util-linux"),
    Need("busybox", _CLUSTER, "busybox-static", "busybox", "busybox-static"),
    Need("debootstrap", _CLUSTER, "debootstrap", "debootstrap", "debootstrap"),
    Need("import ensurepip", _CLUSTER | _LINT | {"image"}, "python3-venv"),
    Need("shellcheck", _LINT, "shellcheck", "ShellCheck", "ShellCheck"),
    Need("strace", _QUICK, "strace", "strace", "strace"),
    Need("fuse2fs", _QUICK, "fuse2fs"),
    Need("promtool", _QUICK, "prometheus"),
    Need("systemd-analyze", _QUICK, "systemd", "systemd", "systemd"),
    Need("qemu-system-x86_64", _TEST, "qemu-system-x86", "qemu-system-x86", "qemu-x86"),
    Need("restic", _TEST, "restic", "restic", "restic"),
    Need("cpio", _TEST, "cpio", "cpio", "cpio"),
    Need("sfdisk", _TEST, "fdisk", "util-linux", "util-linux"),
    Need("gpg", _QUICK, "gnupg", "gnupg2", "gpg2"),
    Need("modprobe", _TEST, "kmod", "kmod", "kmod"),
)
WORDS = frozenset(word for need in NEEDS for word in need.words)


def missing(word: str) -> list[str]:
    """The Debian packages that `./build.sh WORD` needs and this machine does not have, sorted.

    :param word: may have an option that needs less, such as `test --quick`"""
    return sorted({need.debian for need in _absent(word)})


def install(word: str) -> str:
    """Installs what `./build.sh WORD` needs, if this is root on Debian, and prints that.

    :returns: "", or a sentence with the command if something is still missing"""
    packages = missing(word)
    problem = ""
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing with apt-get: {' '.join(packages)}", flush=True)
        problem = _apt_get(packages)
        importlib.invalidate_caches()
    absent = _absent(word)
    if not absent:
        return ""
    sentence = f"./build.sh {word} needs packages that are missing here. As root, "
    sentence += _how(absent)
    return f"{problem}. {sentence}" if problem else sentence


def _absent(word: str) -> list[Need]:
    return [need for need in NEEDS if word in need.words and not need.is_here()]


def _how(absent: list[Need]) -> str:
    """The command of this machine's distribution. Without a program that is known here: the
    commands of all distributions."""
    here = [row for row in _DISTRIBUTIONS if shutil.which(row[1])]
    chosen = here[:1] or _DISTRIBUTIONS
    return "; ".join(_command(*row, absent) for row in chosen)


def _command(distribution: str, program: str, attribute: str, absent: list[Need]) -> str:
    packages = sorted({getattr(need, attribute) for need in absent} - {""})
    unnamed = sorted(need.what for need in absent if not getattr(need, attribute))
    parts = []
    if packages:
        parts.append(f"{program} install {' '.join(packages)}")
    if unnamed:
        parts.append(f"the packages that have {', '.join(unnamed)}")
    return f"on {distribution}: {', and '.join(parts)}"


def _apt_get(packages: list[str]) -> str:
    """Why the packages could not be installed, or ""."""
    settings = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["-q", "-y", "--no-install-recommends"]
    for words in (["update", "-q"], ["install", *options, *packages]):
        done = subprocess.run(
            ["apt-get", *words], check=False, env=settings, capture_output=True, text=True
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            return f"apt-get {words[0]} failed with status {done.returncode}: {last}"
    return ""
