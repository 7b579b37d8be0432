"""A driver in its throw-away root does not reach what no namespace hides by itself: control groups,
nodes of devices, sockets, keys, the kernel's files, and calls of the kernel."""

from __future__ import annotations

import ctypes
import os
import shlex
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.host import mount_table
from node.sanity import sandbox
from node.sanity.runner import Runner
from tests.sanity import roots
from tests.sanity.roots import MARK
from tests.sources import ROOT

# Each namespace, as /proc/PID/ns has it.
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
CONTROL_GROUPS = """
    for version in 'cgroup2' 'cgroup -o freezer' 'cgroup -o none,name=systemd'; do
        mount -t $version none /mnt 2>/dev/null && echo mounted $version
    done; true
"""
# keyctl and add_key, by what uname -m prints.
KEY_CALLS = {"x86_64": (250, 248), "aarch64": (219, 217)}
SESSION = -3
JOIN = 1
SEARCH = 10
# Calls that change the machine, or look into it: their numbers on x86-64, and arguments that would
# change nothing.
CALLS = {
    "swapon": (167, b"/etc/passwd", 0),
    "acct": (163, b"/etc/passwd"),
    "settimeofday": (164, bytes(16), None),
    "reboot": (169, 0xFEE1DEAD, 672274793, 0, None),
    "iopl": (172, 3),
    "ioperm": (173, 0, 1, 1),
    "init_module": (175, bytes(64), 64, b""),
    "kexec_load": (246, 0, 0, None, 0),
    "add_key": (248, b"user", b"name", b"value", 5, SESSION),
    "request_key": (249, b"user", b"name", None, SESSION),
    "keyctl": (250, 0, SESSION, 1),
    "perf_event_open": (298, bytes(128), 0, -1, -1, 0),
    "open_by_handle_at": (304, -100, b"\10\0\0\0\1\0\0\0" + bytes(8), 0),
    "clock_adjtime": (305, 0, b"\1" + bytes(207)),
    "bpf": (321, 0, bytes(128), 128),
    "userfaultfd": (323, 1),
    "io_uring_setup": (425, 1, bytes(128)),
    "getpid of x32": (39 | 0x40000000,),
}


def in_python(text: str) -> str:
    """A script that runs the text as a Python program."""
    return f"python3 - <<'END'\n{text}\nEND\n"


@pytest.mark.parametrize("kind", NAMESPACES)
def test_the_driver_has_a_namespace_of_its_own(kind: str, driver: Path) -> None:
    printed = roots.run(f"readlink /proc/self/ns/{kind}", driver)

    assert printed.strip() != os.readlink(f"/proc/self/ns/{kind}")


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param("sh", id="in the driver's own namespaces"),
        pytest.param("unshare --cgroup sh", id="in a control group namespace"),
        pytest.param("unshare --user --map-root-user --mount sh", id="in a user namespace"),
        pytest.param("unshare --user --map-root-user --mount --cgroup sh", id="in both"),
    ],
)
def test_no_control_groups_can_be_mounted(inside: str, driver: Path) -> None:
    printed = roots.run(f"{inside} -c {shlex.quote(CONTROL_GROUPS)} 2>/dev/null; true", driver)

    assert printed == ""


def test_a_driver_may_not_allow_itself_control_groups(driver: Path) -> None:
    setting = "/proc/sys/user/max_cgroup_namespaces"

    printed = roots.run(f"echo 9 2>/dev/null > {setting}; cat {setting}", driver)

    assert printed == "0\n"


def test_control_groups_of_a_driver_that_is_the_machines_root_begin_at_its_own(
    driver: Path,
) -> None:
    printed = roots.run("cut -d: -f3 /proc/self/cgroup", driver, real_root=True)

    assert set(printed.split()) == {"/"}


@pytest.fixture
def node() -> Iterator[str]:
    """The path of a node outside of /dev, as an image of a container or a tree for chroot has."""
    path = f"/srv/{MARK}-node"
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    try:
        yield path
    finally:
        os.unlink(path)


@pytest.mark.parametrize("real_root", [False, True], ids=["", "the machine's root"])
def test_nodes_of_devices_outside_of_dev_are_not_opened(
    real_root: bool, node: str, driver: Path
) -> None:
    os.mknod(driver.parent / "node", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    script = f"""
        mkdir -p /var/bound /var/upper /var/work /var/over
        cat $(dirname $DRIVER)/node && echo opened beside the driver
        cat {node} && echo opened
        touch {node} && cat {node} && echo opened a copy
        mount --bind /srv /var/bound && cat /var/bound/{Path(node).name} && echo opened a bind
    """
    if not real_root:  # whom nobody keeps from a mount with other flags
        script += f"""
            mount -o remount,bind,dev /var/bound; cat /var/bound/{Path(node).name} && echo opened
            mount -o remount,bind,dev /; cat {node} && echo opened with dev
            mount -t overlay -o lowerdir=/srv,upperdir=/var/upper,workdir=/var/work none /var/over
            cat /var/over/{Path(node).name} && echo opened in an overlay
            cat < /dev/null && echo /dev is right
        """

    printed = roots.run(script, driver, real_root=real_root)

    assert "opened" not in printed
    assert real_root or "/dev is right" in printed


@pytest.mark.parametrize("real_root", [False, True], ids=["", "the machine's root"])
def test_only_dev_has_devices(real_root: bool, driver: Path) -> None:
    printed = roots.run("cat /proc/self/mountinfo", driver, real_root=real_root)

    mounts = [mount_table.Mount(line) for line in printed.splitlines()]
    with_devices = {mount.path for mount in mounts if "nodev" not in mount.flags.split(",")}
    assert {"/dev", "/dev/pts"} <= with_devices
    # Those that begin empty: nobody there makes a node, as CAP_MKNOD is dropped.
    empty = {"/run", "/tmp", "/var"}
    hidden = {mount.path for mount in mounts if mount.root == "/null"}
    assert with_devices - {"/dev", "/dev/pts"} <= empty | hidden


def test_what_of_proc_belongs_to_no_process_cannot_be_written_to(driver: Path) -> None:
    printed = roots.run(
        "find /proc -maxdepth 3 -path '/proc/[0-9]*' -prune -o ! -type l -writable -print |"
        ' while read -r path; do [ "$path" -ef /dev/null ] || echo "$path"; done',
        driver,
    )

    assert printed.split() == ["/proc"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(f"/root/{MARK}-socket", id="in a directory"),
        pytest.param(f"\0{MARK}-socket", id="abstract"),
    ],
)
def test_no_socket_of_the_machine_is_reached(name: str, driver: Path) -> None:
    program = f"""
import socket
try:
    socket.socket(socket.AF_UNIX).connect({name!r})
    print("connected")
except OSError as error:
    print(error.strerror)"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen(1)
        try:
            printed = roots.run(in_python(program), driver)
        finally:
            if name.startswith("/"):
                os.unlink(name)

    assert printed == "Connection refused\n"


def test_no_socket_that_is_mounted_is_reached(driver: Path, tmp_path: Path) -> None:
    """As containers have the socket of their runtime."""
    program = """
import os, socket
try:
    socket.socket(socket.AF_UNIX).connect("/opt/SOCKET")
    print("connected")
except OSError as error:
    print(error.strerror)""".replace("SOCKET", f"{MARK}-socket")
    source = (
        "from pathlib import Path; from tests.sanity import roots;"
        f"print(roots.run({in_python(program)!r}, Path({str(driver)!r})))"
    )
    # Not below /tmp, which the root does not show.
    directory = Path(f"/root/{MARK}-directory")
    directory.mkdir()
    lines = ["set -e", f"mount --bind {directory} /opt", f"touch /opt/{MARK}-socket"]
    lines.append(f"mount --bind {directory}/listener /opt/{MARK}-socket")
    lines.append(f"cd {ROOT}; exec {shlex.join([sys.executable, '-c', source])}")
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(directory / "listener"))
            listener.listen(1)
            printed = subprocess.check_output(
                ["unshare", "-m", "sh", "-c", "; ".join(lines)], text=True
            )
    finally:
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()

    assert printed.strip() == "Connection refused"


def test_sockets_that_leave_the_network_namespace_are_not_made(driver: Path) -> None:
    """A virtual machine has sockets to its host that each network namespace has."""
    program = """
import socket
for family in (socket.AF_VSOCK, socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
        print("made")
    except OSError as error:
        print(error.strerror)"""

    printed = roots.run(in_python(program), driver).splitlines()

    assert printed == ["Address family not supported by protocol", "made", "made", "made"]


@pytest.fixture
def key_calls() -> tuple[int, int]:
    machine = os.uname().machine
    if machine not in KEY_CALLS:
        pytest.skip(f"the numbers of keyctl and add_key are not known for {machine}")
    return KEY_CALLS[machine]


def test_no_key_of_the_session_is_found(driver: Path, key_calls: tuple[int, int]) -> None:
    keyctl, add_key = key_calls
    search = f"""
import ctypes
libc = ctypes.CDLL(None)
print(libc.syscall({keyctl}, {SEARCH}, {SESSION}, b"user", b"{MARK}", 0) > 0)"""
    found: list[str] = []
    child = os.fork()
    if child == 0:  # with a session of its own, as who runs the suite may have
        try:
            libc = ctypes.CDLL(None)
            libc.syscall(keyctl, JOIN, None)
            assert libc.syscall(add_key, b"user", MARK.encode(), b"secret", 6, SESSION) > 0
            outside = subprocess.check_output([sys.executable, "-c", search], text=True)
            found = [outside, roots.run(in_python(search), driver, real_root=True)]
            found.append(roots.run(in_python(search), driver))
        finally:
            os._exit(0 if found == ["True\n", "False\n", "False\n"] else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
def test_calls_of_the_kernel_are_refused(driver: Path) -> None:
    program = f"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for name, (number, *arguments) in {CALLS!r}.items():
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    print(name + ":", result if result >= 0 else errno.errorcode[ctypes.get_errno()])"""

    printed = dict(line.split(": ") for line in roots.run(in_python(program), driver).splitlines())

    assert set(printed) == set(CALLS)
    assert {name: word for name, word in printed.items() if word not in ("EPERM", "ENOSYS")} == {}


def test_a_driver_has_no_open_file_of_the_suite(driver: Path) -> None:
    driver.write_text("#!/bin/sh\nls /proc/self/fd | tr '\\n' ' '\n")

    def work(inside: sandbox.Inside) -> bytes:
        return Runner(inside.executable, 60).run("init", []).output

    printed = sandbox.run(sandbox.Settings(str(driver)), work, 120)

    assert printed.split() == [b"0", b"1", b"2", b"3"]  # the last one is the list itself


def test_a_driver_does_not_reach_the_suite_when_it_is_called_again(driver: Path) -> None:
    """Until a child of the suite executes the driver, its program is a file of this machine, which
    a process that the driver left behind could make another's."""
    spy = """
import os, time
end = time.time() + 60
seen = open("/var/seen", "w")
while time.time() < end:
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}/exe").st_dev == DEVICE:
                seen.write(os.readlink(f"/proc/{name}/exe") + "\\n")
                seen.flush()
        except OSError:
            continue""".replace("DEVICE", str(os.stat(sys.executable).st_dev))
    driver.write_text("#!/bin/sh\n[ $1 = init ] && setsid python3 /var/spy.py >&- 2>&- &\n")

    def work(inside: sandbox.Inside) -> bytes:
        Path("/var/spy.py").write_text(spy)
        runner = Runner(inside.executable, 60)
        runner.run("init", [])
        while not os.path.exists("/var/seen"):
            time.sleep(0.05)
        for _ in range(30):
            runner.run("mount", [])
        return Path("/var/seen").read_bytes()

    assert sandbox.run(sandbox.Settings(str(driver)), work, 600) == b""
