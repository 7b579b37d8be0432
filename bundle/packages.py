"""The distribution's packages that each word of ./build.sh needs, and the one way to get them.

As root on Debian they are installed. Anyone else is told the command.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

# A program or file, the Debian package that has it, and the words of ./build.sh that need it.
_ALL = frozenset(("test",))
_CLUSTER = frozenset(("test", "playground", "bench"))
NEEDS = (
    ("mkfs.ext4", "e2fsprogs", frozenset(("test", "playground", "bench", "demo"))),
    ("mkfs.xfs", "xfsprogs", frozenset(("test", "playground", "bench", "demo"))),
    ("mkfs.btrfs", "btrfs-progs", _CLUSTER),
    ("buildah", "buildah", frozenset(("test", "playground", "bench", "image"))),
    ("containerd", "containerd", _CLUSTER),
    ("runc", "runc", _CLUSTER),
    ("/usr/lib/cni/bridge", "containernetworking-plugins", _CLUSTER),
    ("iptables", "iptables", _CLUSTER),
    ("openssl", "openssl", _CLUSTER),
    ("ip", "iproute2", _CLUSTER),
    ("nsenter", "util-linux", _CLUSTER),
    ("busybox", "busybox-static", _CLUSTER),
    ("debootstrap", "debootstrap", _CLUSTER),
    ("/usr/share/doc/python3-venv", "python3-venv", _ALL),
    ("shellcheck", "shellcheck", _ALL),
    ("strace", "strace", _ALL),
    ("fuse2fs", "fuse2fs", _ALL),
    ("promtool", "prometheus", _ALL),
    ("systemd-analyze", "systemd", _ALL),
    ("qemu-system-x86_64", "qemu-system-x86", _ALL),
    ("cpio", "cpio", _ALL),
    ("modprobe", "kmod", _ALL),
)
WORDS = frozenset(word for _, _, words in NEEDS for word in words)
# Where tools lie that the PATH of a root made by su lacks.
_TOOLS = ":/usr/sbin:/sbin"


def missing(word: str) -> list[str]:
    """The packages that `./build.sh WORD` needs and this machine does not have, sorted."""
    path = os.environ.get("PATH", os.defpath) + _TOOLS
    absent = set()
    for need, package, words in NEEDS:
        if need.startswith("/"):
            is_present = os.path.exists(need)
        else:
            is_present = shutil.which(need, path=path) is not None
        if word in words and not is_present:
            absent.add(package)
    return sorted(absent)


def install(word: str) -> str:
    """Installs what `./build.sh WORD` needs, if this is root on Debian, and prints that.

    :returns: "", or a sentence with the command if something is still missing"""
    absent = missing(word)
    problem = ""
    if absent and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing with apt-get: {' '.join(absent)}", flush=True)
        problem = _apt_get(absent)
        absent = missing(word)
    if not absent:
        return ""
    if problem:
        return f"{problem}. {_sentence(word, absent)}"
    return _sentence(word, absent)


def _sentence(word: str, packages: list[str]) -> str:
    names = " ".join(packages)
    return (
        f"./build.sh {word} needs packages that are missing here. As root, on Debian: "
        f"apt-get install {names}"
    )


def _apt_get(packages: list[str]) -> str:
    """Why the packages could not be installed, or ""."""
    settings = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["-q", "-y", "--no-install-recommends"]
    for words in (["update", "-q"], ["install", *options, *packages]):
        line = ["apt-get", *words]
        done = subprocess.run(line, check=False, env=settings, capture_output=True, text=True)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            return f"apt-get {words[0]} failed with status {done.returncode}: {last}"
    return ""


def main(words: list[str]) -> int:
    """Installs what one word of ./build.sh needs. The exit status is 1 if something is still
    missing."""
    sentence = install(words[0])
    if not sentence:
        return 0
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
