"""Drivers with faults in what they mount, and in what they leave."""

from __future__ import annotations

from tests.sanity.broken import Broken
from tests.sanity.drivers import LOOP, PROVISIONING, PYTHON, SH

_BIND = "    bind(device, path, options)\n"
_DEVICE = '    device = volume_of(checked(options["directory"]))\n'
_MOUNT = "def mount(path: str, text: str) -> Reply:\n"
_UNMOUNT = "def unmount(path: str) -> Reply:\n    take_away(path)\n"
_STAGE = "STATE + '/stage'"
_USERS = "STORE + '/users'"
_READ_ONLY = '        flags += ",ro"\n'


def counting_users(is_user: str) -> dict[str, str]:
    """The driver notes each mount in a line, and empties the volumes behind the last one.

    :param is_user: Python's words for whether the line belongs to the path"""
    return {
        _BIND: _BIND + f"    with open({_USERS}, 'a') as file:\n"
        '        file.write(path + "\\n")\n',
        _UNMOUNT: _UNMOUNT + f"    if not os.path.exists({_USERS}):\n        return {{}}\n"
        f"    with open({_USERS}) as file:\n"
        f"        others = [line for line in file if not {is_user}]\n"
        f'    write({_USERS}, "".join(others))\n'
        "    for name in [] if others else listed():\n"
        "        for each in os.listdir(volume_of(name)):\n"
        "            os.unlink(os.path.join(volume_of(name), each))\n",
    }


DRIVERS = (
    Broken("mount", PYTHON, {_MOUNT: _MOUNT + '    raise Failed("the shelf is not there")\n'}),
    Broken("mount", SH, {'do_mount "$2" "$3" ;;': 'answer Failure "the shelf is not there" ;;'}),
    Broken("mounted", PYTHON, {_BIND: ""}),
    Broken("mounted", SH, {'do_mount "$2" "$3" ;;': ":;;"}),
    Broken("unmount", PYTHON, {_UNMOUNT: _UNMOUNT + '    raise Failed("still here")\n'}),
    Broken("unmounted", PYTHON, {_UNMOUNT: "def unmount(path: str) -> Reply:\n"}),
    Broken("unmounted", SH, {'do_unmount "$2" ;;': ":;;"}),
    Broken(
        "nothing-below-the-mount",
        PYTHON,
        {_BIND: '    if not is_mounted(path):\n        write(path + "/.shelf", device)\n' + _BIND},
    ),
    Broken(
        "nothing-beside-the-mount",
        PYTHON,
        {
            _BIND: '    write(path + "_password", device)\n' + _BIND,
            _UNMOUNT: _UNMOUNT + '    if os.path.exists(path + "_password"):\n'
            '        os.unlink(path + "_password")\n',
        },
    ),
    Broken(
        "nothing-beside-the-mount",
        SH,
        {"    flags=bind\n": '    flags=bind\n    mkdir -p "$1.lock"\n'},
    ),
    Broken(
        "empty-after-unmount", PYTHON, {_UNMOUNT: _UNMOUNT + '    write(path + "/.shelf", "")\n'}
    ),
    Broken(
        "mounts-left",
        PYTHON,
        {
            _BIND: '    stage = STATE + "/stage"\n    os.makedirs(stage, exist_ok=True)\n'
            "    bind(device, stage, {})\n" + _BIND
        },
    ),
    Broken(
        "processes-left",
        PYTHON,
        {
            _BIND: _BIND + "    import subprocess\n\n"
            '    null = subprocess.DEVNULL\n    argv = ["sleep", "1000"]\n'
            "    subprocess.Popen(argv, stdin=null, stdout=null, stderr=null)\n"
        },
    ),
    Broken(
        "loop-devices-left",
        LOOP,
        {'    losetup -d "$device"\n': ""},
    ),
    Broken("files-pile-up", PYTHON, {_BIND: _BIND + '    write(f"{STATE}/{os.getpid()}", path)\n'}),
    Broken(
        "files-pile-up", SH, {"answer Success\n": 'echo "$1" >"$state/last.$$"\nanswer Success\n'}
    ),
    Broken("read-only", PYTHON, {_READ_ONLY: '        flags += ""\n'}),
    Broken("read-only", SH, {"flags=bind,ro": ":"}),
    Broken(
        "read-only-beside-writable",
        PYTHON,
        {
            _READ_ONLY: _READ_ONLY + "        for other, _ in mounts():\n"
            '            if other.startswith("/var/lib/kubelet/pods/"):\n'
            '                run(["mount", "-o", "remount,bind,ro", other])\n'
        },
    ),
    Broken(
        "read-only-beside-writable",
        PYTHON,
        {
            _BIND: "    if is_mounted(path):\n        return {}\n"
            f"    os.makedirs({_STAGE}, exist_ok=True)\n    bind(device, {_STAGE}, options)\n"
            f'    run(["mount", "--bind", {_STAGE}, path])\n'
            '    if options["kubernetes.io/readwrite"] == "ro":\n'
            '        run(["mount", "-o", "remount,bind,ro", path])\n',
            _UNMOUNT: _UNMOUNT + '    if "/pods/" not in str(mounts()):\n'
            f"        take_away({_STAGE})\n",
        },
        "if the reader is first",
        "came first",
    ),
    # Nobody can change the modes of a directory of /proc.
    Broken(
        "fs-group",
        PYTHON,
        {_BIND: '    bind("/proc/1", path, options)\n', '"bind,nosuid': '"bind,noexec,nosuid'},
    ),
    Broken(
        "similar-names",
        PYTHON,
        {
            "    return path in [mounted for mounted, _ in mounts()]\n": "    return any("
            "mounted.startswith(path) for mounted, _ in mounts())\n"
        },
    ),
    Broken(
        "similar-names",
        PYTHON,
        counting_users("path in line"),
        "deletes behind the last pod",
        "deleted a file in .../VOLUME0",
    ),
    Broken(
        "path-with-blank", PYTHON, {'    return re.sub(r"': '    return word\n    return re.sub(r"'}
    ),
    Broken(
        "path-with-blank", SH, {'"$volumes/$directory" "$1" 2>&1': '"$volumes/$directory" $1 2>&1'}
    ),
    Broken(
        "data-kept",
        PROVISIONING,
        {
            _BIND: "    if not is_shown(device):\n"
            "        remove(device)\n        os.mkdir(device)\n" + _BIND
        },
    ),
    Broken(
        "data-kept",
        PYTHON,
        {
            _UNMOUNT: "def unmount(path: str) -> Reply:\n    for name in os.listdir(path):\n"
            "        os.unlink(os.path.join(path, name))\n    take_away(path)\n"
        },
    ),
    Broken(
        "data-kept",
        SH,
        {"        words=$(umount": '        rm -f "$1"/*\n        words=$(umount'},
    ),
    Broken(
        "volumes-apart",
        PROVISIONING,
        {'"options": {"directory": name}': '"options": {"directory": listed()[-1]}'},
    ),
)
