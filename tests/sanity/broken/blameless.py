"""Drivers that look as if they had a fault, and are right."""

from __future__ import annotations

import dataclasses

from tests.sanity.broken import Broken
from tests.sanity.drivers import LOOP, PYTHON, Kind

_BIND = "    bind(device, path, options)\n"
_UNMOUNT = "def unmount(path: str) -> Reply:\n    take_away(path)\n"
_INIT = "def init() -> Reply:\n"
_UNMOUNT = "def unmount(path: str) -> Reply:\n    take_away(path)\n"
_NAME = "pvc-5a6ad8b3-1111-4222-8333-944445555666"

# Two directories show each other's mounts, as those do that systemd has made shared.
_PEERS = """    first = STATE + "/first"
    second = STATE + "/second"
    if not is_mounted(first):
        for each in (first, second):
            os.makedirs(each)
        run(["mount", "-t", "tmpfs", "none", first])
        run(["mount", "--make-shared", first])
        run(["mount", "--bind", first, second])
        os.mkdir(first + "/stage")
    bind(device, first + "/stage", {})
"""

_SECRET = "sanity-Wd4Fh6Jk8Qe"


def _beside(check: str, kind: Kind, setup: str, where: str) -> Broken:
    """A correct driver, and a setup that leaves what the check looks for."""
    setup = f"{kind.setup or 'true'} && {setup}"
    return Broken(check, dataclasses.replace(kind, setup=setup), {}, f"beside {where}")


_WITH_SECRET = dataclasses.replace(PYTHON, password=_SECRET.encode())
_LOOP_DEVICE = "truncate -s 16M /srv/flexvol-sanity-disk && losetup -f /srv/flexvol-sanity-disk"
# The server starts a process when its first process is long known.
_SERVER = "(while sleep 0.2; do setsid sleep 9; done) >/dev/null 2>&1 &"
# Takes away what the driver has left for the server.
_TIDY = "(while sleep 4; do rm -f /run/shelf/job.*; done) >/dev/null 2>&1 &"
_JOB = '    write(f"{STATE}/job.{os.getpid()}", path)\n'
_TIDIED = dataclasses.replace(
    _beside("files-pile-up", PYTHON, _TIDY, "a server that tidies up"),
    changes={_BIND: _JOB + _BIND},
)
_BESIDE_A_SETUP = (
    _beside("loop-devices-left", LOOP, _LOOP_DEVICE, "a loop device"),
    _beside("failed-mount-leaks-loop-devices", LOOP, _LOOP_DEVICE, "a loop device"),
    _beside("mount-after-reboot", LOOP, _LOOP_DEVICE, "a loop device"),
    _beside("mounts-left", PYTHON, "mount -t tmpfs none /srv", "a mount"),
    _beside("failed-mount-leaks", PYTHON, "mount -t tmpfs none /srv", "a mount"),
    _beside("init-changes-nothing", PYTHON, _SERVER, "a server"),
    _beside("processes-left", PYTHON, _SERVER, "a server"),
    _beside("failed-mount-leaks", PYTHON, _SERVER, "a server"),
    _beside("mount-killed", PYTHON, _SERVER, "a server"),
    _beside("files-pile-up", PYTHON, "touch /srv/file", "files"),
    _beside("secret-in-files", _WITH_SECRET, f"echo {_SECRET} >/srv/users", "a server's file"),
    _beside("secret-in-log", _WITH_SECRET, f"echo {_SECRET} >/var/log/users", "a server's log"),
)

DRIVERS = (
    Broken(
        "driver-directory",
        PYTHON,
        {_INIT: _INIT + '    with open("shelf.log", "a") as log:\n        log.write("init")\n'},
        "writes in the working directory",
    ),
    Broken(
        "unsupported-for-one-volume",
        PYTHON,
        {_UNMOUNT: _UNMOUNT + "    if os.path.isdir(path):\n        os.rmdir(path)\n"},
        "removes the pod's directory",
    ),
    Broken("mount-after-reboot", PYTHON, {_BIND: _PEERS + _BIND}, "has shared mounts"),
    Broken(
        "data-kept",
        PYTHON,
        {
            _BIND: "    if not is_mounted(path):\n"
            '        run(["mount", "-t", "tmpfs", "none", path])\n'
        },
        "gives each pod a volume of its own",
    ),
    Broken(
        "failed-mount-is-failure",
        PYTHON,
        {_UNMOUNT: _UNMOUNT + "    if os.path.isdir(path):\n        os.rmdir(path)\n"},
        "removes the directory",
    ),
    Broken(
        "mount",
        PYTHON,
        {
            '    reply["status"] = "Success"\n': '    reply["status"] = "Success"\n'
            '    reply.setdefault("capabilities", None)\n'
        },
        "names no capabilities but those of init",
    ),
    Broken(
        "similar-names",
        dataclasses.replace(PYTHON, setup="mkdir -p /var/lib/shelf/volumes/" + _NAME),
        {
            '    if "directory" not in options:\n': (
                '    options["directory"] = options["kubernetes.io/pvOrVolumeName"]\n'
                '    if "directory" not in options:\n'
            )
        },
        "finds volumes by their names",
    ),
    *_BESIDE_A_SETUP,
    _TIDIED,
    dataclasses.replace(_TIDIED, check="failed-mount-leaks"),
)
