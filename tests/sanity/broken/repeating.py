"""Drivers with faults in calls that are repeated, killed, or made at once."""

from __future__ import annotations

import textwrap

from tests.sanity.broken import Broken
from tests.sanity.broken.mounting import counting_users
from tests.sanity.drivers import ATTACHING, LOOP, PROVISIONING, PYTHON, SH

_BIND = "    bind(device, path, options)\n"
_LOCK = "    fcntl.flock(file, fcntl.LOCK_EX)\n"
_MOUNT = "def mount(path: str, text: str) -> Reply:\n"
_UNMOUNT = "def unmount(path: str) -> Reply:\n    take_away(path)\n"
_ALREADY = "    if is_mounted(path):\n        return\n"
_EXPANDFS = '    "expandfs": expandfs,\n'
_EXPANDFS_BEGIN = (
    "def expandfs(text: str, device: str, path: str, new_bytes: str, old_bytes: str) -> Reply:\n"
)
_NOTE = "STORE + '/note'"
_IS_NOTED = f"os.path.exists({_NOTE}) and open({_NOTE}).read() == path"
_FORGET = f"    if {_IS_NOTED}:\n        os.unlink({_NOTE})\n"
_STAGE = "STATE + '/stage'"
_MOUNTS = "def mounts() -> list[tuple[str, str]]:\n"
_MEETING = """def meet() -> None:
    mark = f"{STATE}/here-{os.getpid()}"
    note(mark, 1)
    while True:
        # All but the suite.
        calls = len([each for each in os.listdir("/proc") if each.isdigit()]) - 1
        if len([each for each in os.listdir(STATE) if each.startswith("here-")]) >= calls:
            break
        os.sched_yield()
    os.unlink(mark)


def noted(path: str) -> list[str]:
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return file.read().split()


def note(path: str, names: list[str] | int) -> None:
    with open(path, "w") as file:
        file.write(" ".join(names if isinstance(names, list) else ["x"] * names))


"""
_AWAY = "def take_away(path: str) -> None:\n    while"


# The suite and this process, but no other call, which has found the lock taken and failed.
_UNTIL_ALONE = '    while len([each for each in os.listdir("/proc") if each.isdigit()]) > 2:\n'


def _impatient(callout: str) -> dict[str, str]:
    """The call fails while another call runs."""
    return {
        _LOCK: f'    if sys.argv[1] != "{callout}":\n    {_LOCK}        return file\n'
        "    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        f"{_UNTIL_ALONE}        os.sched_yield()\n"
    }


def with_trace_of_another(callout: str, begin: str) -> dict[str, str]:
    """The call fails while another one runs, and leaves what makes each later one fail.

    :param begin: the first lines of the call's function"""
    return {
        _LOCK: f'    if sys.argv[1] != "{callout}":\n    {_LOCK}        return file\n'
        "    try:\n"
        "        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "    except BlockingIOError:\n"
        '        write(STATE + "/half-done", "")\n'
        f"        raise\n{_UNTIL_ALONE}        os.sched_yield()\n",
        begin: begin + '    if os.path.exists(STATE + "/half-done"):\n'
        '        raise Failed("another call has done a half")\n',
    }


def without_lock(callout: str) -> dict[str, str]:
    """Such calls run at once. The driver has meet(), which waits until all calls that run have come
    to it, and notes of names, or of a number of them."""
    return {
        _LOCK: f'    if sys.argv[1] != "{callout}":\n    {_LOCK}',
        _MOUNTS: _MEETING + _MOUNTS,
    }


def with_stale_lock(begin: str, step: str) -> dict[str, str]:
    """The step runs a program. If it is killed it leaves a directory, which stands for a lock.

    :param begin: what stands before the step"""
    lines = '    os.mkdir(STATE + "/busy")\n    try:\n        run(["true"])\n'
    lines += textwrap.indent(step, "    ")
    lines += '    finally:\n        os.rmdir(STATE + "/busy")\n'
    return {begin + step: begin + lines}


DRIVERS = (
    Broken(
        "mount-again",
        PYTHON,
        {
            _BIND: '    if os.path.exists(STATE + "/unmounted"):\n'
            '        raise Failed("the volume was used before")\n' + _BIND,
            _UNMOUNT: _UNMOUNT + '    write(STATE + "/unmounted", "")\n',
        },
    ),
    Broken(
        "mount-twice",
        PYTHON,
        {_ALREADY: '    if is_mounted(path):\n        raise Failed("the volume is mounted")\n'},
    ),
    Broken(
        "mount-twice",
        SH,
        {
            'if ! is_mounted "$1"; then': (
                'is_mounted "$1" && answer Failure "it is mounted"\n    if true; then'
            )
        },
    ),
    Broken("mounts-stacked", PYTHON, {_ALREADY: "", _AWAY: _AWAY.replace("while", "if")}),
    Broken(
        "unmount-twice",
        PYTHON,
        {_UNMOUNT: _UNMOUNT.replace("take_away(path)", 'run(["umount", path])')},
    ),
    Broken(
        "unmount-twice",
        SH,
        {
            'do_unmount "$2" ;;': (
                'is_mounted "$2" || answer Failure "not mounted"; do_unmount "$2" ;;'
            )
        },
    ),
    Broken(
        "unmount-never-mounted",
        PYTHON,
        {
            _BIND: _BIND + f"    write({_NOTE}, path)\n",
            _UNMOUNT: f"def unmount(path: str) -> Reply:\n    os.stat({_NOTE})\n"
            "    take_away(path)\n",
        },
    ),
    Broken(
        "unmount-after-reboot",
        PYTHON,
        {
            _BIND: _BIND + f"    write({_NOTE}, path)\n",
            _UNMOUNT: "def unmount(path: str) -> Reply:\n"
            f"    if not is_mounted(path) and {_IS_NOTED}:\n"
            '        raise Failed("the mount has gone")\n' + _FORGET + "    take_away(path)\n",
        },
    ),
    Broken(
        "mount-after-reboot",
        PYTHON,
        {
            _BIND: f"    if {_IS_NOTED}:\n        return {{}}\n"
            + _BIND
            + f"    write({_NOTE}, path)\n",
            _UNMOUNT: "def unmount(path: str) -> Reply:\n" + _FORGET + "    take_away(path)\n",
        },
    ),
    Broken(
        "other-pod-stays",
        PYTHON,
        {
            _UNMOUNT: _UNMOUNT + "    for other, _ in mounts():\n"
            "        if os.path.basename(other) == os.path.basename(path):\n"
            "            take_away(other)\n"
        },
    ),
    Broken(
        "other-pod-stays",
        PYTHON,
        counting_users("os.path.basename(path) in line"),
        "deletes behind the last pod",
        "deleted a file of the other pod",
    ),
    Broken(
        "two-pods",
        PYTHON,
        {
            _BIND: "    if is_shown(device) and not is_mounted(path):\n"
            '        raise Failed("the volume is in use", "Busy")\n' + _BIND
        },
    ),
    Broken("mounts-at-once", PYTHON, _impatient("mount")),
    Broken(
        "mounts-at-once",
        PYTHON,
        {
            **without_lock("mount"),
            _BIND: "    if is_mounted(path):\n        return {}\n"
            f"    users = len(noted({_NOTE}))\n    meet()\n{_BIND}    note({_NOTE}, users + 1)\n",
            _UNMOUNT: "def unmount(path: str) -> Reply:\n"
            f"    users = len(noted({_NOTE}))\n    if users == 0:\n        return {{}}\n"
            f"    note({_NOTE}, users - is_mounted(path))\n    take_away(path)\n",
        },
        "miscounts",
        "after four mounts at once",
    ),
    Broken("unmounts-at-once", PYTHON, _impatient("unmount")),
    Broken(
        "unmounts-at-once",
        PYTHON,
        {
            **without_lock("unmount"),
            _BIND: "    if not is_mounted(path):\n"
            f"        note({_NOTE}, len(noted({_NOTE})) + 1)\n"
            f"        os.makedirs({_STAGE}, exist_ok=True)\n"
            f"        bind(device, {_STAGE}, {{}})\n{_BIND}",
            _UNMOUNT: "def unmount(path: str) -> Reply:\n"
            f"    users = len(noted({_NOTE})) - is_mounted(path)\n    meet()\n"
            f"    take_away(path)\n    note({_NOTE}, users)\n"
            f"    if users == 0:\n        take_away({_STAGE})\n",
        },
        "miscounts",
        "after four unmounts at once",
    ),
    Broken("mount-killed", PYTHON, with_stale_lock("", _BIND)),
    Broken(
        "mount-killed",
        PROVISIONING,
        {
            _BIND: "    if not is_mounted(path):\n"
            '        run(["mount", "-t", "tmpfs", "none", path])\n        run(["umount", path])\n'
            + _BIND
        },
        "with another mount before",
    ),
    Broken(
        "mount-killed",
        PYTHON,
        {
            _BIND: f"    if os.path.isdir({_STAGE}):\n        os.rmdir({_STAGE})\n"
            f'    os.mkdir({_STAGE})\n    run(["true"])\n{_BIND}    os.rmdir({_STAGE})\n',
            _UNMOUNT: f"def unmount(path: str) -> Reply:\n    if os.path.isdir({_STAGE}):\n"
            '        raise Failed("the volume is being mounted")\n    take_away(path)\n',
        },
        "and is undone by mount only",
    ),
    Broken(
        "mount-killed",
        LOOP,
        {"    clear_stage\n    take_device\n": "    take_device\n    clear_stage\n"},
        "takes the device of its own stage",
    ),
    Broken(
        "unmount-killed",
        PYTHON,
        with_stale_lock("def unmount(path: str) -> Reply:\n", "    take_away(path)\n"),
    ),
    Broken(
        "expandfs",
        PYTHON,
        {_EXPANDFS: '    "expandfs": lambda *words: checked(""),\n'},
    ),
    Broken(
        "expandfs",
        SH,
        {"    expandfs) ;;\n": '    expandfs) answer Failure "directories do not grow" ;;\n'},
    ),
    Broken(
        "expandfs-of-own-device",
        LOOP,
        {"mount | unmount | expandfs | provision": "mount | unmount | provision"},
        message="the driver mounts /dev/loop",
    ),
    Broken("expandfs-without-device", PYTHON, {_EXPANDFS: ""}),
    Broken("expandfs-without-device", ATTACHING, {_EXPANDFS: ""}),
    Broken(
        "expandfs-without-device",
        SH,
        {
            "case $1 in mount | unmount | expandfs)": "case $1 in mount | unmount)",
            '"requiresFSResize": true, ': "",
        },
    ),
    Broken(
        "expandfs-killed",
        PYTHON,
        with_stale_lock(_EXPANDFS_BEGIN, "    return {}\n"),
    ),
    Broken(
        "expandfs-killed",
        PROVISIONING,
        {
            _BIND: "    if not is_mounted(path):\n"
            '        run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", path])\n',
            _EXPANDFS_BEGIN: _EXPANDFS_BEGIN + '    if os.path.exists(STATE + "/growing"):\n'
            '        return {}\n    os.mkdir(STATE + "/growing")\n'
            '    run(["mount", "-o", "remount,size=" + new_bytes, path])\n'
            '    os.rmdir(STATE + "/growing")\n',
        },
        "and grows no more",
    ),
)
