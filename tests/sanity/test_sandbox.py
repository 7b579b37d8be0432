"""A driver that tries to do harm in its throw-away root changes nothing outside."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from node.host import control_groups
from node.sanity import sandbox, written
from node.sanity.check import RIGHT
from node.sanity.runner import Runner
from tests.sanity import drivers, roots
from tests.sanity.roots import MARK
from tests.sources import ROOT

# Each script prints "held" if the root kept it from what it tried, as far as it notices at all.
# What it did notice, and what it did not, must not be outside.
ATTACKS = {
    "writes to /etc": f"touch /etc/{MARK} && echo held",
    "writes to kubelet's directory": f"touch /var/lib/kubelet/{MARK} && echo held",
    "writes to root's home and to /usr/bin": f"touch /root/{MARK} /usr/bin/{MARK} && echo held",
    "removes what lies in /etc": 'rm -rf /etc/* /srv && [ -z "$(ls /etc)" ] && echo held',
    "makes a disk's node": "mknod /tmp/disk b 254 0 2>/dev/null || echo held",
    "mounts all devices": "mount -t devtmpfs none /mnt 2>/dev/null || echo held",
    "finds disks in /dev": "ls /dev | grep -qE '^(sd|vd|nvme|loop|dm|md|mem|kmsg)' || echo held",
    "mounts over the root": "mount -t tmpfs none / && mount -t tmpfs none /usr && echo held",
    "takes all mounts away": "umount -a 2>/dev/null; umount -l /proc /sys 2>/dev/null; echo held",
    "kills the first process": "kill -9 1; kill -TERM 1; kill -INT 1; echo held",
    "kills a process outside": f"kill -9 {os.getpid()} 2>/dev/null || echo held",
    "makes /sys writable": "mount -o remount,rw /sys 2>/dev/null || echo held",
    "makes a bind of /sys writable": "mount -o remount,bind,rw /sys 2>/dev/null || echo held",
    "mounts another /sys": "mount -t sysfs none /mnt 2>/dev/null || echo held",
    "mounts another /sys in a network of its own": (
        "unshare -n sh -c 'mount -t sysfs none /mnt && touch /mnt/power/state' 2>/dev/null"
        " || echo held"
    ),
    "mounts another /proc": "mount -t proc none /mnt 2>/dev/null || echo held",
    "sets what the kernel does": (
        "echo 7 2>/dev/null > /proc/sys/vm/swappiness;"
        "echo evil 2>/dev/null > /proc/sys/kernel/core_pattern; echo held"
    ),
    "mounts the kernel's other file systems": (
        "for each in debugfs securityfs cgroup2 tracefs; do"
        " mount -t $each none /mnt 2>/dev/null && exit; done; echo held"
    ),
    "goes out by the first process": (
        f"touch /proc/1/root/etc/{MARK} 2>/dev/null; ls -l /proc/1/fd/1 2>&1 | grep -q denied"
        " && echo held"
    ),
    "calls itself another machine": "hostname evil 2>/dev/null; echo held",
    "leaves shared memory": "ipcmk -M 4096 >/dev/null && echo held",
    "leaves a process": f"setsid sh -c 'sleep 1000; : {MARK}' >/dev/null 2>&1 & echo held",
    "has no network": '[ "$(ls /sys/class/net)" = lo ] && echo held',
    "sets the clock": "date -s 2001-01-01 >/dev/null 2>&1 || echo held",
    "restarts the machine": "reboot -f 2>/dev/null; echo held",
    "mounts another /proc in a process namespace of its own": (
        "unshare -pf mount -t proc none /mnt 2>/dev/null || echo held"
    ),
    "mounts /sys again, and then makes that writable": (
        "unshare -n sh -c 'mount -t sysfs -o ro none /mnt && mount -o remount,rw /mnt &&"
        " touch /mnt/power/state' 2>/dev/null || echo held"
    ),
    "goes into the namespaces of the first process": "nsenter -t 1 -m 2>/dev/null || echo held",
    "stops a file system": "fsfreeze -f / 2>/dev/null || fsfreeze -f /etc 2>/dev/null || echo held",
    "makes a file immutable": "chattr +i /etc/passwd 2>/dev/null || echo held",
    "goes before all others": "chrt -f 50 true 2>/dev/null || echo held",
    "changes the network": "ip link set lo down 2>/dev/null || echo held",
    "loads a part of the kernel": "modprobe loop 2>/dev/null; insmod x 2>/dev/null || echo held",
}
# What holds also against a driver that is the machine's root.
ACCIDENTS = (
    "writes to /etc",
    "writes to kubelet's directory",
    "writes to root's home and to /usr/bin",
    "removes what lies in /etc",
    "makes a disk's node",
    "finds disks in /dev",
    "mounts over the root",
    "takes all mounts away",
    "kills the first process",
    "kills a process outside",
    "calls itself another machine",
    "leaves shared memory",
    "leaves a process",
    "sets the clock",
)


def program(script: str, driver: Path) -> list[str]:
    """A program that runs the script in a root, and prints what the script printed."""
    source = (
        "from pathlib import Path; from tests.sanity import roots;"
        f"print(roots.run({script!r}, Path({str(driver)!r})))"
    )
    return [sys.executable, "-c", source]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nothing_outside_changes_when_a_driver(attack: str, driver: Path) -> None:
    before = roots.outside()

    printed = roots.run(attack, driver)

    assert roots.outside() == before
    assert printed.endswith("held\n")


@pytest.mark.parametrize("name", ACCIDENTS)
def test_nothing_outside_changes_when_a_driver_that_is_the_machines_root(
    name: str, driver: Path
) -> None:
    before = roots.outside()

    printed = roots.run(ATTACKS[name], driver, real_root=True)

    assert roots.outside() == before
    assert printed.endswith("held\n")


def test_a_driver_that_starts_processes_without_end_is_stopped(driver: Path) -> None:
    before = roots.outside()

    with pytest.raises(sandbox.LimitPassed, match="more than"):
        roots.run(f": {MARK}; while :; do sleep 1000 & done", driver)

    assert roots.outside() == before


def test_a_driver_that_starts_threads_without_end_is_stopped(driver: Path) -> None:
    program = f"""
import threading, time
for _ in range(600):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
time.sleep(1000)  # {MARK}"""

    with pytest.raises(sandbox.LimitPassed, match="more than"):
        roots.run(f"python3 -c '{program}'", driver, seconds=60)

    assert roots.processes() == []


def test_a_driver_that_does_not_end_is_stopped(driver: Path) -> None:
    before = roots.outside()
    began = time.monotonic()

    with pytest.raises(sandbox.LimitPassed, match="in time"):
        roots.run(f"sleep 1000; : {MARK}", driver, seconds=1)

    assert time.monotonic() - began < 20
    assert roots.outside() == before


def test_a_driver_that_fills_the_root_fills_only_that(driver: Path) -> None:
    printed = roots.run(
        "for each in /etc /root /run /srv /tmp /usr /var; do"
        " dd if=/dev/zero of=$each/much bs=1M count=9 2>&1; done",
        driver,
        scratch_bytes=32 << 20,
    )

    assert "No space left on device" in printed


def test_files_in_all_that_can_be_written_to_are_found(driver: Path) -> None:
    paths = [
        "/etc/new",
        "/dev/new",
        "/dev/shm/new",
        "/root/new",
        "/run/new",
        "/tmp/new",
        "/var/new",
    ]

    def work(inside: sandbox.Inside) -> bytes:
        for path in paths:
            Path(path).write_text(MARK)
        found = written.files_with(inside, [MARK.encode()])
        listed = set(written.paths(inside)) & set(paths)
        return json.dumps([sorted(file.path for file in found), sorted(listed)]).encode()

    answer = sandbox.run(sandbox.Settings(str(driver)), work, 60)

    assert json.loads(answer) == [sorted(paths), sorted(paths)]


def test_nodes_of_devices_are_no_files_that_a_driver_leaves(driver: Path) -> None:
    def work(inside: sandbox.Inside) -> bytes:
        in_dev = [path for path in written.paths(inside) if path.startswith("/dev/")]
        return json.dumps(sorted(in_dev)).encode()

    answer = sandbox.run(sandbox.Settings(str(driver)), work, 60)

    links = ["/dev/ptmx", "/dev/stderr", "/dev/stdin", "/dev/stdout"]
    assert json.loads(answer) == links


def test_a_driver_may_believe_what_it_wrote_to_memory(tmp_path: Path) -> None:
    """What lies there is gone after a restart of the node."""
    mount = "def mount(path: str, text: str) -> Reply:\n"
    unmount = "def unmount(path: str) -> Reply:\n"
    note = '    note = "/dev/shm/" + path.replace("/", "-")\n'
    failing = '        raise Failed("{} was taken away by somebody else".format(path))\n'
    text = drivers.replaced(
        drivers.PYTHON.text(),
        mount,
        f"{mount}{note}    if os.path.exists(note) and not os.path.ismount(path):\n{failing}"
        '    write(note, "")\n',
    )
    text = drivers.replaced(
        text, unmount, f"{unmount}{note}    if os.path.exists(note):\n        os.unlink(note)\n"
    )
    names = ("mount", "mount-after-reboot", "unmount-after-reboot")

    results = drivers.judged(tmp_path, drivers.PYTHON, text, names)

    assert {result.check.name: result.verdict for result in results} == dict.fromkeys(names, RIGHT)


def test_only_plain_files_are_opened_to_look_for_words(driver: Path) -> None:
    """Some devices begin to work when they are opened, and who waits at a pipe goes on."""

    def work(inside: sandbox.Inside) -> bytes:
        os.mkfifo("/dev/pipe")
        waiting = subprocess.Popen(["sh", "-c", "echo > /dev/pipe"], start_new_session=True)
        time.sleep(0.5)
        list(written.files_with(inside, [MARK.encode()]))
        time.sleep(0.2)
        return b"waits" if waiting.poll() is None else b"went on"

    assert sandbox.run(sandbox.Settings(str(driver)), work, 60) == b"waits"


@pytest.mark.parametrize("gib", [1, 2, 4, 8, 16, 512])
def test_all_that_can_be_written_takes_no_more_than_half_of_the_memory(gib: int) -> None:
    memory = gib << 30
    file_systems = ("the overlays", "/run", "/tmp", "/var")

    assert len(file_systems) * sandbox.scratch_bytes(memory) <= memory // 2


def test_the_control_groups_of_a_root_have_limits_and_go_with_it(driver: Path) -> None:
    groups: dict[str, str] = {}

    def look() -> None:
        while not roots.processes():
            time.sleep(0.05)
        (number, *_) = roots.numbers_of_processes(MARK)
        for path in Path("/sys/fs/cgroup").glob("**/flexvol-sanity-*"):
            if str(number) in (path / "cgroup.procs").read_text().split():
                for name in ("memory.limit_in_bytes", "memory.max", "pids.max"):
                    if (path / name).exists():
                        groups[f"{path}/{name}"] = (path / name).read_text().strip()
        Path(f"/proc/{number}/root/run/end").touch()

    looker = threading.Thread(target=look)
    looker.start()
    roots.run(f"while [ ! -e /run/end ]; do sleep 0.1; done; : {MARK}", driver)
    looker.join()

    if not groups:
        pytest.skip("no control groups can be made here")
    limits = set(groups.values())
    assert "1000" in limits
    assert any(
        0 <= sandbox.memory_bytes() // 2 - int(limit) < resource.getpagesize() for limit in limits
    )
    assert not any(Path(path).exists() for path in groups)


# Other runs of these tests on the same machine have another one.
OWN_MARK = f"{MARK}-{os.getpid()}"
# How the suite ends while the driver has a loop device and hangs.
ENDS = {
    "killed by -9": signal.SIGKILL,
    "ended by Ctrl-C": signal.SIGINT,
    "ended by SIGTERM": signal.SIGTERM,
}


@pytest.mark.parametrize("number", ENDS.values(), ids=ENDS)
def test_loop_devices_are_given_back_also_when_the_suite_is(
    number: signal.Signals, driver: Path, executable: list[str]
) -> None:
    driver.write_text(
        f"#!/bin/sh\ncd /var; truncate -s 1M {OWN_MARK}; losetup --find {OWN_MARK}; sleep 1000\n"
    )
    words = [*executable, "sanity", str(driver), "--loop-devices", "--check", "init"]
    suite = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
    while not roots.devices_with(OWN_MARK):
        assert suite.poll() is None
        time.sleep(0.05)

    os.killpg(suite.pid, number)  # as the terminal does
    suite.wait()

    deadline = time.monotonic() + 60
    while roots.devices_with(OWN_MARK) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert roots.devices_with(OWN_MARK) == []


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("mkdir /var/lib/x; cd /var/lib/x", id="in /var"),
        pytest.param("cd /dev/shm", id="in /dev/shm"),
        pytest.param("mount -t tmpfs none /mnt; cd /mnt", id="in a tmpfs of the driver"),
        pytest.param(
            "truncate -s 32M /var/disk; mkfs.ext4 -q /var/disk; mount -o loop /var/disk /mnt;"
            " cd /mnt",
            id="in a disk of the driver",
        ),
    ],
)
def test_a_driver_that_hangs_with_a_loop_device_gives_it_back(before: str, driver: Path) -> None:
    script = f"{before}; truncate -s 1M {OWN_MARK}; losetup --find --show {OWN_MARK}; sleep 1000"

    with pytest.raises(sandbox.LimitPassed, match="in time"):
        roots.run(script, driver, seconds=5, real_root=True, loop_devices=True)

    deadline = time.monotonic() + 60
    while roots.devices_with(OWN_MARK) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert roots.devices_with(OWN_MARK) == []
    assert roots.devices_with("/var/disk") == []


@pytest.mark.parametrize("with_loop_devices", [False, True], ids=["", "with a loop device"])
def test_all_ends_with_the_process_that_made_the_root(
    with_loop_devices: bool, driver: Path
) -> None:
    """As kill -9 of flexvol sanity does."""
    before = roots.outside()
    script = f"sleep 1000; : {MARK}"
    if with_loop_devices:
        script = f"truncate -s 1M /var/{MARK}; losetup -f /var/{MARK}; touch /run/done; {script}"
    judge = os.fork()
    if judge == 0:
        own = {"real_root": with_loop_devices, "loop_devices": with_loop_devices}
        roots.run(script, driver, **own)
        os._exit(0)
    while not roots.processes() or with_loop_devices != bool(roots.devices_with(MARK)):
        time.sleep(0.05)

    os.kill(judge, signal.SIGKILL)
    os.waitpid(judge, 0)

    _wait_until_outside_is(before)
    assert roots.outside() == before


def test_a_first_process_that_is_killed_is_named(driver: Path) -> None:
    """As the kernel does for want of memory."""
    word = f"{MARK}-killed"

    def kill() -> None:
        while not roots.numbers_of_processes(word):
            time.sleep(0.05)
        (script,) = roots.numbers_of_processes(word)
        status = Path(f"/proc/{script}/status").read_text()
        (first,) = re.findall(r"^PPid:\s*(\d+)$", status, re.MULTILINE)
        os.kill(int(first), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()

    with pytest.raises(sandbox.LimitPassed, match="killed by signal 9"):
        roots.run(f"sleep 1000; : {word}", driver)

    killer.join()


def _wait_until_outside_is(before: dict[str, object]) -> None:
    deadline = time.monotonic() + 60
    while roots.outside() != before and time.monotonic() < deadline:
        time.sleep(0.1)


def test_loop_devices_of_a_root_go_with_it(driver: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"\0" * (1 << 20))
    ours = subprocess.check_output(["losetup", "-f", "--show", image], text=True).strip()
    try:
        before = roots.outside()
        script = (
            f"[ ! -e {ours} ] || exit; truncate -s 64M /var/{MARK} /root/{MARK};"
            f"losetup -f /var/{MARK}; losetup -f /root/{MARK}; losetup -r -f /bin/bash;"
            f"mkfs.ext4 -q /var/{MARK}; mount -o loop /var/{MARK} /mnt && echo mounted"
        )

        printed = roots.run(script, driver, real_root=True, loop_devices=True)

        assert printed.endswith("mounted\n")
        _wait_until_outside_is(before)
        assert roots.outside() == before
        assert roots.devices_with("bin/bash") == []
    finally:
        subprocess.check_call(["losetup", "-d", ours])


def test_pipes_and_locks_of_the_machine_are_not_those_of_the_root(driver: Path) -> None:
    directory = Path(f"/root/{OWN_MARK}")
    directory.mkdir()
    try:
        os.mkfifo(directory / "pipe")
        reader = os.open(directory / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        with open(directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            script = (
                f"cd {directory}; flock -n lock true && echo lock;"
                " timeout 1 sh -c 'echo > pipe' || echo pipe"
            )
            printed = roots.run(script, driver)
        os.close(reader)
    finally:
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()

    assert printed.split() == ["lock", "pipe"]


def test_the_root_shows_this_machines_programs_and_the_driver(driver: Path) -> None:
    driver.write_text("#!/bin/sh\necho driver in $(dirname $0); ls $(dirname $0)\n")
    (driver.parent / "beside").touch()

    printed = roots.run("$DRIVER; python3 -c 'print(1 + 1)'; ls /tmp /var/lib", driver)

    directory = f"{sandbox.PLUGINS}/sanity~driver"
    assert printed == f"driver in {directory}\nbeside\ndriver\n2\n/tmp:\n\n/var/lib:\nkubelet\n"


@pytest.mark.parametrize(
    "mount",
    [
        pytest.param("mount --bind /var/from /var/to", id="a directory"),
        pytest.param("mount -o bind,ro,noatime,nosuid /var/from /var/to", id="with flags"),
        pytest.param("mount -t tmpfs none /var/to", id="tmpfs"),
        pytest.param(
            "mount -t overlay -o lowerdir=/etc,upperdir=/var/from,workdir=/var/work none /var/to",
            id="an overlay",
        ),
        pytest.param(
            "truncate -s 16M /var/image && mkfs.ext4 -q /var/image"
            " && fuse2fs /var/image /var/to >/dev/null 2>&1",
            id="FUSE",
        ),
    ],
)
def test_a_driver_that_is_not_the_machines_root_may_mount(mount: str, driver: Path) -> None:
    script = f"mkdir /var/from /var/to /var/work; {mount} && umount /var/to && echo done"

    assert roots.run(script, driver) == "done\n"


def test_a_driver_keeps_kubelets_names(tmp_path: Path) -> None:
    directory = tmp_path / "acme~disk"
    directory.mkdir()
    (directory / "real.sh").write_text("#!/bin/sh\necho called as $0\n")
    (directory / "real.sh").chmod(0o755)
    (directory / "disk").symlink_to("real.sh")

    printed = roots.run("$DRIVER", directory / "disk")

    assert printed == f"called as {sandbox.PLUGINS}/acme~disk/disk\n"


def test_a_driver_that_lies_where_no_overlay_can_is_copied(driver: Path, tmp_path: Path) -> None:
    """An overlay over an overlay cannot be a part of a third one."""
    driver.write_text("#!/bin/sh\necho called\n")
    for name in ("one", "two", "work-one", "work-two", "upper-one", "upper-two"):
        (tmp_path / name).mkdir()
    form = "mount -t overlay -o lowerdir={0},upperdir=upper-{1},workdir=work-{1} none {1}"
    lines = ["set -e", f"cd {tmp_path}", form.format(".", "one"), form.format("one", "two")]
    lines.append(f"cd {ROOT}; exec {shlex.join(program('$DRIVER', tmp_path / 'two/driver'))}")

    printed = subprocess.check_output(["unshare", "-m", "sh", "-c", "; ".join(lines)], text=True)

    assert printed.strip() == "called"


def test_a_driver_gets_no_more_than_half_of_the_memory(driver: Path) -> None:
    much = sandbox.memory_bytes() // 2 + (1 << 20)

    def work(inside: sandbox.Inside) -> bytes:
        return Runner(inside.executable, 60).run("init", []).output

    driver.write_text(f"#!{sys.executable}\nbytearray({much})\nprint('all')\n")
    printed = sandbox.run(sandbox.Settings(str(driver)), work, 120)

    assert b"MemoryError" in printed


def test_a_file_system_in_memory_that_the_driver_mounts_is_limited_too(driver: Path) -> None:
    many = 256 << 20
    probe = control_groups.make(f"{OWN_MARK}-probe", control_groups.Limits(many, 1000))
    probe.remove()
    if "memory" not in probe.limited:
        pytest.skip("no control group limits memory here")
    script = "mount -t tmpfs none /mnt; dd if=/dev/zero of=/mnt/much bs=1M count=512; ls /mnt"

    try:
        printed = roots.run(script, driver, memory_bytes=many)
    except sandbox.LimitPassed as passed:
        printed = str(passed)

    assert "Killed" in printed or "killed by signal 9" in printed


@pytest.mark.parametrize("real_root", [False, True], ids=["", "the machine's root"])
def test_a_driver_that_crashes_starts_nothing_outside(real_root: bool, driver: Path) -> None:
    """The program that the machine has for crashes is started outside of the root, also where the
    limit of a crash's file is zero, but not where that is one byte (fs/coredump.c)."""
    driver.write_text("#!/bin/sh\nexec cat /proc/self/limits\n")
    settings = sandbox.Settings(str(driver))
    settings.real_root = real_root

    def work(inside: sandbox.Inside) -> bytes:
        return Runner(inside.executable, 60).run("init", []).output

    printed = sandbox.run(settings, work, 60).decode()

    assert re.findall(r"Max core file size +(\S+) +(\S+)", printed) == [("1", "1")]


def test_a_loop_device_that_is_freed_meanwhile_has_a_node(driver: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    words = ["losetup", "--find", "--show", str(image)]
    device = subprocess.check_output(words, text=True).strip()
    script = f"""test -e {device} || echo hidden; sleep 1; : {MARK}
        for _ in $(seq 600); do test -e {device} && echo shown && break; sleep 0.1; done"""

    def free_device() -> None:
        deadline = time.monotonic() + 60
        while not roots.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        subprocess.check_call(["losetup", "--detach", device])

    free = threading.Thread(target=free_device)
    free.start()
    try:
        printed = roots.run(script, driver, real_root=True, loop_devices=True)
    finally:
        free.join()

    assert printed.split() == ["hidden", "shown"]


@pytest.mark.parametrize("make_devices", [True, False], ids=["asked for", "not asked for"])
def test_a_driver_makes_nodes_of_devices_only_if_that_is_asked_for(
    driver: Path, make_devices: bool
) -> None:
    script = "mknod /dev/null-again c 1 3 2>/dev/null && echo x > /dev/null-again && echo made"

    printed = roots.run(script, driver, real_root=True, make_devices=make_devices)

    assert printed.strip() == ("made" if make_devices else "")
    assert not Path("/dev/null-again").exists()


def test_a_device_that_is_not_there_is_named(driver: Path) -> None:
    with pytest.raises(sandbox.Impossible, match="/dev/nowhere is not there"):
        roots.run("true", driver, real_root=True, devices=["/dev/nowhere"])


def test_roots_may_be_made_at_once(driver: Path) -> None:
    printed: list[str] = []

    def make(number: int) -> None:
        script = f"echo {number} > /var/number; sleep 0.2; cat /var/number"
        printed_text = subprocess.check_output(program(script, driver), cwd=ROOT, text=True)
        printed.append(printed_text.strip())

    threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(printed) == ["0", "1", "2", "3"]
