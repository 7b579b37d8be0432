"""Drivers with faults in the calls of the provisioner."""

from __future__ import annotations

from tests.sanity.broken import Broken
from tests.sanity.broken.repeating import (
    with_stale_lock,
    with_trace_of_another,
    without_lock,
)
from tests.sanity.drivers import LOOP, PROVISIONING

_BIND = "    bind(device, path, options)\n"
_DELETE = "def delete(text: str) -> Reply:\n    options = json.loads(text)\n"
_NAME = '    name = checked(options["kubernetes.io/pvOrVolumeName"])\n'
_DELETE_NAME = _DELETE + _NAME
_DEVICE = '    device = volume_of(checked(options["directory"]))\n'
_ISDIR = "    volume = volume_of(name)\n    if os.path.isdir(volume):\n"
_KNOWN = "STORE + '/known'"
_LISTED = '    return {"volumes": volumes}\n'
_MADE = "    os.makedirs(volume, exist_ok=True)\n"
_PROVISION = "def provision(text: str) -> Reply:\n    options = json.loads(text)\n"
_REMOVED = "    remove(os.path.join(DELETED, name))\n    return {}\n"
_SIZE = '"capacityBytes": size_bytes'

DRIVERS = (
    Broken("provision", PROVISIONING, {_PROVISION: _PROVISION + '    raise Failed("no shelf")\n'}),
    Broken("provision-reply", PROVISIONING, {_SIZE + ', "fsType": ""': _SIZE}),
    Broken(
        "provision-size",
        PROVISIONING,
        {
            '    size_bytes = int(options["requestBytes"])\n': (
                '    size_bytes = int(options["requestBytes"]) & 0xFFFFFFFF\n'
            )
        },
        "counts in 32 bits",
    ),
    Broken(
        "provision-size",
        PROVISIONING,
        {_SIZE: '"capacityBytes": max(1, size_bytes >> 20) << 20'},
    ),
    Broken(
        "provision-size",
        PROVISIONING,
        {
            _BIND: "    if not is_mounted(path):\n"
            '        run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", path])\n'
        },
        "of the file system",
        "the file system has",
    ),
    Broken("provision-twice", PROVISIONING, {_MADE: "    os.makedirs(volume)\n"}),
    Broken(
        "provision-twice",
        PROVISIONING,
        {
            '"options": {"directory": name}': (
                '"options": {"directory": name, "call": str(os.getpid())}'
            )
        },
    ),
    Broken("provision-again-keeps-data", PROVISIONING, {_MADE: "    remove(volume)\n" + _MADE}),
    Broken("provisions-at-once", PROVISIONING, with_trace_of_another("provision", _PROVISION)),
    Broken(
        "provisions-at-once",
        PROVISIONING,
        {
            **without_lock("provision"),
            _MADE: f"    known = noted({_KNOWN})\n    meet()\n{_MADE}"
            f"    note({_KNOWN}, [*known, name])\n",
            _DEVICE: f'    if options["directory"] not in noted({_KNOWN}):\n'
            '        raise Failed("there is no such volume", "NotFound")\n' + _DEVICE,
        },
        "of which each forgets the others",
        "of four volumes",
    ),
    Broken("deletes-at-once", PROVISIONING, with_trace_of_another("delete", _DELETE)),
    Broken(
        "provision-hostile-name",
        PROVISIONING,
        {_PROVISION + _NAME: _PROVISION + '    name = options["kubernetes.io/pvOrVolumeName"]\n'},
    ),
    Broken("delete", PROVISIONING, {_DELETE: _DELETE + '    raise Failed("no shelf")\n'}),
    Broken("provision-killed", PROVISIONING, with_stale_lock("", _MADE)),
    Broken(
        "provision-killed",
        PROVISIONING,
        {
            _MADE: '    busy = f"{STATE}/busy-{os.getpid()}"\n'
            '    os.mkdir(busy)\n    run(["true"])\n' + _MADE + "    os.rmdir(busy)\n",
            _DELETE: _DELETE + '    if "busy" in "".join(os.listdir(STATE)):\n'
            '        raise Failed("another call makes a volume")\n',
        },
    ),
    Broken(
        "delete-twice",
        PROVISIONING,
        {
            _ISDIR: _ISDIR.replace("    if", "    if not", 1)
            + '        raise Failed("there is no such volume", "NotFound")\n'
            "    if os.path.isdir(volume):\n"
        },
    ),
    Broken("delete-killed", PROVISIONING, with_stale_lock("", _REMOVED)),
    Broken(
        "delete-other-stays",
        PROVISIONING,
        {
            _DELETE_NAME: _DELETE_NAME + "    for other in listed():\n"
            "        if other.startswith(name) and other != name:\n"
            "            remove(volume_of(other))\n"
        },
    ),
    Broken(
        "delete-empty-name",
        PROVISIONING,
        {
            _DELETE_NAME: _DELETE + '    name = options["kubernetes.io/pvOrVolumeName"]\n'
            "    if name:\n        checked(name)\n"
        },
    ),
    Broken(
        "delete-hostile-name",
        PROVISIONING,
        {
            _DELETE_NAME: _DELETE + '    name = options["kubernetes.io/pvOrVolumeName"]\n'
            "    if name and not NAME.fullmatch(name):\n"
            '        run(["sh", "-c", "rm -rf " + volume_of(name)])\n'
            "    checked(name)\n"
        },
    ),
    Broken(
        "delete-hostile-name",
        PROVISIONING,
        {
            _DELETE_NAME: _DELETE + '    name = options["kubernetes.io/pvOrVolumeName"]\n'
            '    if "/" in name:\n        remove(volume_of(name))\n    checked(name)\n'
        },
    ),
    Broken(
        "delete-hostile-name",
        PROVISIONING,
        {_DELETE_NAME: _DELETE_NAME + '    remove(volume_of(options.get("directory", name)))\n'},
        "in an option",
        "options",
    ),
    Broken(
        "delete-hostile-name",
        PROVISIONING,
        {
            _DELETE_NAME: _DELETE_NAME
            + '    remove(volume_of(checked(options.get("directory", name))))\n'
        },
        "of another volume in an option",
        "options of this one",
    ),
    Broken(
        "delete-frees",
        PROVISIONING,
        {
            _REMOVED: "    return {}\n",
            _MADE: "    if os.path.isdir(os.path.join(DELETED, name)):\n"
            "        os.rename(os.path.join(DELETED, name), volume)\n" + _MADE,
        },
    ),
    Broken(
        "list", PROVISIONING, {'return {"volumes": volumes}': 'return {"volumes": volumes[1:]}'}
    ),
    Broken("list", PROVISIONING, {'{"name": name, ': '{"volume": name, '}),
    Broken(
        "list",
        PROVISIONING,
        {
            _REMOVED: "    return {}\n",
            _LISTED: "    if os.path.isdir(DELETED):\n"
            '        volumes += [{"name": name} for name in os.listdir(DELETED)]\n' + _LISTED,
        },
    ),
    Broken("list", PROVISIONING, {"list_volumes,\n": 'lambda: checked(""),\n'}),
    Broken(
        "adopt",
        PROVISIONING,
        {'    "adopt": adopt,\n': '    "adopt": lambda text: checked(""),\n'},
    ),
    Broken(
        "adopt-killed",
        PROVISIONING,
        with_stale_lock(
            "def adopt(text: str) -> Reply:\n",
            '    name = checked(json.loads(text)["kubernetes.io/pvOrVolumeName"])\n',
        ),
    ),
    Broken(
        "adopt-nothing",
        PROVISIONING,
        {'    "adopt": adopt,\n': '    "adopt": lambda text: {},\n'},
    ),
    Broken("only-find", PROVISIONING, {'options.get("kubernetes.io/onlyFind")': "False"}),
    Broken("only-if-blank", PROVISIONING, {'options.get("kubernetes.io/onlyIfBlank")': "False"}),
    Broken("reason-words", PROVISIONING, {'"ResourceExhausted"': '"NoSpace"'}),
    Broken("expandfs-grows", LOOP, {'do_expandfs "$2" "$3" "$4" "$5" "$6"': ":"}),
)
