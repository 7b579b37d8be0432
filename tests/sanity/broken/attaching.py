"""Drivers with faults in the calls of kube-controller-manager, and in mounting a device."""

from __future__ import annotations

from tests.sanity.broken import Broken
from tests.sanity.broken.repeating import with_stale_lock, with_trace_of_another
from tests.sanity.drivers import ATTACHING

_ATTACH = "def attach(text: str, node: str) -> Reply:\n"
_DETACH = "def detach(name: str, node: str) -> Reply:\n"
_MOUNT_DEVICE = "    bind(device, path, json.loads(text))\n"
_NOT_THERE = "    if not os.path.exists(record):\n        return {}\n"
_RECORDED = "    if not os.path.exists(record):\n        write(record, device)\n"
_STAGE = "    stage = STATE + '/stage'\n"
_UNMOUNT_DEVICE = "def unmountdevice(path: str) -> Reply:\n"
_STATE = 'STATE = "/run/shelf"\n'
_WAIT = "def waitforattach(device: str, text: str) -> Reply:\n"
_UNLINKED = "    os.unlink(record)\n    return {}\n"

DRIVERS = (
    Broken("attach", ATTACHING, {_ATTACH: _ATTACH + '    raise Failed("the array is off")\n'}),
    Broken(
        "attach-twice",
        ATTACHING,
        {
            _RECORDED: "    if os.path.exists(record):\n"
            '        raise Failed("the volume is attached already")\n'
            "    write(record, device)\n"
        },
    ),
    Broken(
        "attach-twice",
        ATTACHING,
        {
            _RECORDED: "    if os.path.exists(record):\n"
            '        return {"device": device + "/"}\n'
            "    write(record, device)\n"
        },
    ),
    Broken(
        "waitforattach",
        ATTACHING,
        {_WAIT: _WAIT + '    raise Failed("the device is not there yet")\n'},
    ),
    Broken(
        "waitforattach",
        ATTACHING,
        {'    return {"device": device}\n\n\ndef isatt': "    return {}\n\n\ndef isatt"},
    ),
    Broken(
        "waitforattach",
        ATTACHING,
        {_WAIT: _WAIT + '    os.mkdir(STATE + "/waited")\n'},
        "once only",
    ),
    Broken("isattached", ATTACHING, {'return {"attached": os.path.exists(record)}': "return {}"}),
    Broken(
        "isattached",
        ATTACHING,
        {
            'return {"attached": os.path.exists(record)}': 'os.mkdir(STATE + "/asked")\n'
            '    return {"attached": True}'
        },
        "once only",
    ),
    Broken(
        "detach", ATTACHING, {_DETACH: _DETACH + '    raise Failed("detach needs the device")\n'}
    ),
    Broken("isattached-after-detach", ATTACHING, {_UNLINKED: "    return {}\n"}),
    Broken(
        "isattached-after-detach",
        ATTACHING,
        {
            'return {"attached": os.path.exists(record)}': "os.stat(record)\n"
            '    return {"attached": True}'
        },
        "fails",
        "No such file",
    ),
    Broken(
        "detach-twice",
        ATTACHING,
        {_NOT_THERE: '    if not os.path.exists(record):\n        raise Failed("not attached")\n'},
    ),
    Broken(
        "detach-never-attached",
        ATTACHING,
        {
            _NOT_THERE: '    if not os.path.exists(record + ".was"):\n'
            '        raise Failed("this volume was never attached")\n' + _NOT_THERE,
            _RECORDED: _RECORDED + '    write(record + ".was", device)\n',
        },
    ),
    Broken(
        "attach-killed",
        ATTACHING,
        {
            _RECORDED: '    os.mkdir(record + ".busy")\n    run(["true"])\n'
            + _RECORDED
            + '    os.rmdir(record + ".busy")\n'
        },
    ),
    Broken(
        "attach-killed",
        ATTACHING,
        {
            _RECORDED: '    busy = f"{record}.busy-{os.getpid()}"\n'
            '    os.mkdir(busy)\n    run(["true"])\n' + _RECORDED + "    os.rmdir(busy)\n",
            _NOT_THERE: '    if "busy" in "".join(os.listdir(ATTACHED)):\n'
            '        raise Failed("another call attaches the volume")\n' + _NOT_THERE,
        },
    ),
    Broken(
        "attach-killed",
        ATTACHING,
        {
            _RECORDED: "    if os.path.isdir(BUSY):\n        os.rmdir(BUSY)\n"
            '    os.mkdir(BUSY)\n    run(["true"])\n' + _RECORDED + "    os.rmdir(BUSY)\n",
            _NOT_THERE: "    if os.path.isdir(BUSY):\n"
            '        raise Failed("the volume is being attached")\n' + _NOT_THERE,
            _STATE: _STATE + 'BUSY = STATE + "/busy"\n',
        },
        "and is undone by attach only",
    ),
    Broken("attaches-at-once", ATTACHING, with_trace_of_another("attach", _ATTACH)),
    Broken(
        "detach-killed",
        ATTACHING,
        with_stale_lock(_DETACH, "    record = record_of(name)\n"),
    ),
    Broken("mountdevice", ATTACHING, {_MOUNT_DEVICE: '    raise Failed("no such device")\n'}),
    Broken("mountdevice-mounts", ATTACHING, {_MOUNT_DEVICE: ""}),
    Broken(
        "mountdevice-twice",
        ATTACHING,
        {
            _MOUNT_DEVICE: '    if is_mounted(path):\n        raise Failed("it is mounted")\n'
            + _MOUNT_DEVICE
        },
    ),
    Broken(
        "failed-mountdevice-leaves-mount",
        ATTACHING,
        {
            _MOUNT_DEVICE: "    try:\n        bind(device, path, json.loads(text))\n"
            "    except Failed:\n        return {}\n"
        },
    ),
    Broken(
        "failed-mountdevice-leaves-mount",
        ATTACHING,
        {
            _MOUNT_DEVICE: _MOUNT_DEVICE + '    if json.loads(text)["kubernetes.io/fsType"]:\n'
            '        raise Failed("a directory takes no fsType")\n'
        },
    ),
    Broken(
        "private-staging",
        ATTACHING,
        {
            _MOUNT_DEVICE: _STAGE
            + "    os.makedirs(stage, exist_ok=True)\n    bind(device, stage, {})\n"
            + _MOUNT_DEVICE,
            _UNMOUNT_DEVICE: _UNMOUNT_DEVICE + _STAGE + "    take_away(stage)\n",
        },
    ),
    Broken(
        "unmountdevice", ATTACHING, {_UNMOUNT_DEVICE + "    take_away(path)\n": _UNMOUNT_DEVICE}
    ),
    Broken(
        "unmountdevice",
        ATTACHING,
        {_UNMOUNT_DEVICE: _UNMOUNT_DEVICE + '    raise Failed("the device is busy")\n'},
    ),
    Broken(
        "unmountdevice-twice",
        ATTACHING,
        {
            _UNMOUNT_DEVICE: _UNMOUNT_DEVICE
            + '    if not is_mounted(path):\n        raise Failed("nothing is mounted")\n'
        },
    ),
    Broken("mountdevice-killed", ATTACHING, with_stale_lock("", _MOUNT_DEVICE)),
    Broken(
        "unmountdevice-killed",
        ATTACHING,
        with_stale_lock(_UNMOUNT_DEVICE, "    take_away(path)\n"),
    ),
    Broken(
        "device-in-use",
        ATTACHING,
        {
            "    if is_shown(device):\n"
            '        raise Failed("{} is still mounted".format(name), "Busy")\n'
            "    os.unlink(record)\n": '    run(["sh", "-c", "rm -rf " + device + "/*"])\n'
            "    os.unlink(record)\n"
        },
    ),
    Broken(
        "getvolumename",
        ATTACHING,
        {
            '    "init": init,\n': '    "init": init,\n    "getvolumename": '
            'lambda text: {"volumeName": os.path.basename(device_of(json.loads(text)))},\n'
        },
    ),
    Broken(
        "getvolumename-supported",
        ATTACHING,
        {
            '    "init": init,\n': '    "init": init,\n    "getvolumename": '
            'lambda text: {"volumeName": "shelf"},\n'
        },
    ),
)
