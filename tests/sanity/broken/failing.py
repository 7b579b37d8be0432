"""Drivers with faults in mounts and unmounts that fail."""

from __future__ import annotations

from tests.sanity.broken import Broken
from tests.sanity.drivers import ATTACHING, LOOP, PROVISIONING, PYTHON, SH

_ANY_STATUS = {'reply["status"] = "Success"': 'reply.setdefault("status", "Success")'}
_BIND = "    bind(device, path, options)\n"
_DEVICE = "    device = device_of(options)\n    credentials"
_END = "    return 0\n"
_FAILURE = '        return {"status": "Failure", "message": str(failed), "reason": failed.reason}\n'
_MOUNT = "def mount(path: str, text: str) -> Reply:\n"
_RAISE = "        take_away(path)\n        raise\n"
_TOO_LARGE = "    if size_bytes > free_bytes():\n"
_SH_FAILURE = '            do_unmount "$1"\n            answer Failure "$words"\n'
_SH_MOUNT = 'if ! words=$(mount -o "$flags" "$volumes/$directory" "$1" 2>&1); then'
_UNMOUNT = "def unmount(path: str) -> Reply:\n    take_away(path)\n"
_UNMOUNT_FAILS = (
    "def unmount(path: str) -> Reply:\n    try:\n        take_away(path)\n    except Failed:\n"
)

_SH_UNMOUNT = 'words=$(umount "$1" 2>&1) || answer Failure "$words"'

DRIVERS = (
    Broken(
        "one-document-of-failure",
        PYTHON,
        {_FAILURE: "        print(failed, file=sys.stderr)\n" + _FAILURE},
    ),
    Broken(
        "one-document-of-failure",
        SH,
        {
            _SH_MOUNT: "words='mount failed'\n        "
            'if ! mount -o "$flags" "$volumes/$directory" "$1"; then'
        },
    ),
    Broken(
        "one-document-of-failure",
        PYTHON,
        {'"message": str(failed)': '"message": [str(failed)]'},
        "with a message that is no text",
    ),
    Broken(
        "one-document-of-failure",
        PROVISIONING,
        {_TOO_LARGE: _TOO_LARGE + '        print("the shelf is full", file=sys.stderr)\n'},
        "in provision",
        "provision",
    ),
    Broken(
        "exit-status-of-failure", PYTHON, {_END: '    return int(reply["status"] == "Failure")\n'}
    ),
    Broken("exit-status-of-failure", SH, {"    exit 0\n}": '    [ "$1" != Failure ]\n    exit\n}'}),
    Broken(
        "one-document-of-failure",
        SH,
        {_SH_UNMOUNT: 'umount "$1" || answer Failure "umount failed"'},
        "unmount",
    ),
    Broken("failure-word", PYTHON, {_FAILURE: _FAILURE.replace('"Failure"', '"Failed"')}),
    Broken("failure-word", SH, {_SH_UNMOUNT: _SH_UNMOUNT.replace("Failure", "Failed")}),
    Broken("failure-message", PYTHON, {'"message": str(failed)': '"message": ""'}),
    Broken(
        "unsupported-for-one-volume",
        PYTHON,
        {
            _FAILURE: '        if failed.reason == "InvalidArgument":\n'
            '            return {"status": "Not supported", "message": str(failed)}\n' + _FAILURE
        },
    ),
    Broken(
        "unsupported-for-one-volume",
        PYTHON,
        {
            _MOUNT: _MOUNT + "    for key in json.loads(text):\n"
            '        if "/" not in key and key != "directory":\n'
            '            return {"status": "Not supported"}\n',
            **_ANY_STATUS,
        },
        "with an unknown option",
        "mount",
    ),
    Broken(
        "unsupported-for-one-volume",
        PYTHON,
        {
            _UNMOUNT: "def unmount(path: str) -> Reply:\n    if not is_mounted(path):\n"
            '        return {"status": "Not supported"}\n    take_away(path)\n',
            **_ANY_STATUS,
        },
        "not mounted",
        "unmount",
    ),
    Broken(
        "unsupported-for-one-volume",
        ATTACHING,
        {
            "    if not os.path.exists(record):\n        return {}\n": (
                '    if not os.path.exists(record):\n        return {"status": "Not supported"}\n'
            ),
            **_ANY_STATUS,
        },
        "not attached",
        "detach",
    ),
    Broken("failed-mount-is-failure", PYTHON, {_RAISE: "        take_away(path)\n"}),
    Broken("failed-mount-is-failure", SH, {_SH_FAILURE: '            do_unmount "$1"\n'}),
    Broken(
        "failed-mount-leaves-mount",
        PYTHON,
        {
            _BIND: _BIND + '    group = options.get("kubernetes.io/mounterArgs.FsGroup")\n'
            "    if group is not None:\n        os.chown(path, -1, int(group))\n"
        },
    ),
    Broken(
        "failed-mount-leaves-files",
        PYTHON,
        {
            "    device = device_of(options)\n    credentials": '    mark = path + "/.mounting"\n'
            '    if not is_mounted(path):\n        write(mark, "")\n'
            "    device = device_of(options)\n"
            "    if os.path.exists(mark):\n        os.unlink(mark)\n    credentials"
        },
    ),
    Broken(
        "failed-mount-leaks",
        PYTHON,
        {
            _DEVICE: '    stage = STATE + "/stage"\n    if not is_mounted(stage):\n'
            "        os.makedirs(stage, exist_ok=True)\n"
            '        run(["mount", "-t", "tmpfs", "none", stage])\n' + _DEVICE,
            _BIND: _BIND + "    take_away(stage)\n",
        },
        "a mount",
    ),
    Broken(
        "failed-mount-leaks",
        PYTHON,
        {
            _DEVICE: "    import subprocess\n\n    null = subprocess.DEVNULL\n"
            '    server = subprocess.Popen(["sleep", "99"], stdin=null, stdout=null, stderr=null)\n'
            + _DEVICE,
            _BIND: _BIND + "    server.kill()\n    server.wait()\n",
        },
        "a process",
    ),
    Broken(
        "failed-mount-leaks",
        PYTHON,
        {
            _BIND: '    note = f"{STATE}/note-{os.getpid()}"\n    write(note, path)\n'
            + _BIND
            + "    os.unlink(note)\n"
        },
        "a file",
    ),
    Broken(
        "failed-mount-leaks-loop-devices",
        LOOP,
        {
            '    losetup -d "$device"\n    [ "$status" = 0 ] || answer Failure "$words"\n': (
                '    [ "$status" = 0 ] || answer Failure "$words"\n    losetup -d "$device"\n'
            )
        },
    ),
    Broken("failed-unmount-is-failure", PYTHON, {_UNMOUNT: _UNMOUNT_FAILS + "        pass\n"}),
    Broken(
        "failed-unmount-is-failure",
        SH,
        {
            _SH_UNMOUNT: 'umount "$1" 2>/dev/null || break',
        },
    ),
    Broken(
        "failed-mount-keeps-data",
        PYTHON,
        {_RAISE: "        take_away(path)\n        remove(device)\n        raise\n"},
    ),
    Broken(
        "failed-mount-keeps-data",
        SH,
        {_SH_FAILURE: '            rm -rf "${volumes:?}/$directory"\n' + _SH_FAILURE},
    ),
    Broken(
        "failed-unmount-keeps-data",
        PYTHON,
        {_UNMOUNT: _UNMOUNT_FAILS + '        run(["rm", "-rf", path])\n        raise\n'},
    ),
)
