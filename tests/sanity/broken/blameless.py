"""Drivers that look as if they had a fault, and are right."""

from __future__ import annotations

import dataclasses

from tests.sanity.broken import Broken
from tests.sanity.drivers import PYTHON

_BIND = "    bind(device, path, options)\n"
_INIT = "def init() -> Reply:\n"
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

DRIVERS = (
    Broken(
        "driver-directory",
        PYTHON,
        {_INIT: _INIT + '    with open("shelf.log", "a") as log:\n        log.write("init")\n'},
        "writes in the working directory",
    ),
    Broken("mount-after-reboot", PYTHON, {_BIND: _PEERS + _BIND}, "has shared mounts"),
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
)
