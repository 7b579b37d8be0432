#!/usr/bin/env python3
"""A FlexVolume driver that is right: a volume is a directory of the node, which is bound into pods.

Written from public pages alone: flexvolume.md of the Kubernetes community for the calls of kubelet
and kube-controller-manager, and docs/your-own-driver.md for those of the provisioner. No module of
flexvol is used. With ATTACH a volume is attached to a node and mounted there before its pods.

Modules that not each call needs are imported late: half of a call's time is imports."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    Options = dict[str, str]
    Reply = dict[str, Any]

ATTACH = False
STORE = "/var/lib/shelf"
VOLUMES = STORE + "/volumes"
DELETED = STORE + "/deleted"
ATTACHED = STORE + "/attached"
STATE = "/run/shelf"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?")
MOUNT_SECONDS = 50


class Failed(Exception):
    """The call cannot be done. reason: a word for the provisioner."""

    def __init__(self, message: str, reason: str = "Internal") -> None:
        super().__init__(message)
        self.reason = reason


# The calls of kubelet and kube-controller-manager.


def init() -> Reply:
    capabilities = {
        "attach": ATTACH,
        "fsGroup": True,
        "requiresFSResize": True,
        "selinuxRelabel": True,
        "supportsMetrics": True,
    }
    return {"capabilities": capabilities}


def attach(text: str, node: str) -> Reply:
    options = json.loads(text)
    device = device_of(options)
    record = record_of(options["kubernetes.io/pvOrVolumeName"])
    if not os.path.exists(record):
        write(record, device)
    return {"device": device}


def waitforattach(device: str, text: str) -> Reply:
    return {"device": device}


def isattached(text: str, node: str) -> Reply:
    record = record_of(json.loads(text)["kubernetes.io/pvOrVolumeName"])
    return {"attached": os.path.exists(record)}


def detach(name: str, node: str) -> Reply:
    record = record_of(name)
    if not os.path.exists(record):
        return {}
    with open(record) as file:
        device = file.read()
    if is_shown(device):
        raise Failed("{} is still mounted".format(name), "Busy")
    os.unlink(record)
    return {}


def mountdevice(path: str, device: str, text: str) -> Reply:
    bind(device, path, json.loads(text))
    return {}


def unmountdevice(path: str) -> Reply:
    take_away(path)
    return {}


def mount(path: str, text: str) -> Reply:
    options = json.loads(text)
    device = device_of(options)
    credentials = write_credentials(options)
    bind(device, path, options)
    if credentials:
        os.unlink(credentials)
    return {}


def unmount(path: str) -> Reply:
    take_away(path)
    return {}


def expandfs(text: str, device: str, path: str, new_bytes: str, old_bytes: str) -> Reply:
    return {}


# The calls of the provisioner.


def provision(text: str) -> Reply:
    options = json.loads(text)
    name = checked(options["kubernetes.io/pvOrVolumeName"])
    size_bytes = int(options["requestBytes"])
    volume = volume_of(name)
    if options.get("kubernetes.io/onlyFind") and not os.path.isdir(volume):
        raise Failed("there is no volume {}".format(name), "NotFound")
    if size_bytes > free_bytes():
        raise Failed("the shelf has no {} bytes".format(size_bytes), "ResourceExhausted")
    os.makedirs(volume, exist_ok=True)
    made = {"options": {"directory": name}, "capacityBytes": size_bytes, "fsType": ""}
    return {"volume": made}


def delete(text: str) -> Reply:
    options = json.loads(text)
    name = checked(options["kubernetes.io/pvOrVolumeName"])
    volume = volume_of(name)
    if os.path.isdir(volume):
        if is_shown(volume):
            raise Failed("{} is mounted".format(name), "Busy")
        if options.get("kubernetes.io/onlyIfBlank") and os.listdir(volume):
            raise Failed("{} has data".format(name), "Busy")
        os.makedirs(DELETED, exist_ok=True)
        remove(os.path.join(DELETED, name))
        os.rename(volume, os.path.join(DELETED, name))
    remove(os.path.join(DELETED, name))
    return {}


def list_volumes() -> Reply:
    volumes = []
    for name in listed():
        volumes.append({"name": name, "blank": not os.listdir(volume_of(name))})
    return {"volumes": volumes}


def adopt(text: str) -> Reply:
    name = checked(json.loads(text)["kubernetes.io/pvOrVolumeName"])
    if not os.path.isdir(volume_of(name)):
        raise Failed("there is no volume {}".format(name), "NotFound")
    return {}


# What the calls are made of.


def checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise Failed("no volume can be called {!r}".format(name), "InvalidArgument")
    return name


def volume_of(name: str) -> str:
    return os.path.join(VOLUMES, name)


def record_of(name: str) -> str:
    os.makedirs(ATTACHED, exist_ok=True)
    return os.path.join(ATTACHED, checked(name))


def listed() -> list[str]:
    return sorted(os.listdir(VOLUMES)) if os.path.isdir(VOLUMES) else []


def free_bytes() -> int:
    os.makedirs(STORE, exist_ok=True)
    disk = os.statvfs(STORE)
    return disk.f_bavail * disk.f_frsize


def remove(path: str) -> None:
    if os.path.lexists(path):
        import shutil

        shutil.rmtree(path)


def write(path: str, text: str) -> None:
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def device_of(options: Options) -> str:
    """The directory of the volume."""
    if "directory" not in options:
        raise Failed("the option directory is missing", "InvalidArgument")
    if options.get("kubernetes.io/fsType"):
        raise Failed("a directory has no file system of its own", "InvalidArgument")
    device = volume_of(checked(options["directory"]))
    if not os.path.isdir(device):
        raise Failed("there is no directory {}".format(device), "NotFound")
    return device


def write_credentials(options: Options) -> str:
    """The password of the Secret in a file for root alone, for as long as the mount takes."""
    if "kubernetes.io/secret/password" not in options:
        return ""
    import base64

    password = base64.b64decode(options["kubernetes.io/secret/password"])
    path = os.path.join(STATE, "credentials")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(password)
    return path


def mounts() -> list[tuple[str, str]]:
    """Of each mount: its path, and the path within its file system."""
    with open("/proc/self/mountinfo") as file:
        fields = [line.split() for line in file]
    return [(unescaped(each[4]), unescaped(each[3])) for each in fields]


def unescaped(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), word)


def is_mounted(path: str) -> bool:
    return path in [mounted for mounted, _ in mounts()]


def is_shown(device: str) -> bool:
    """Whether the directory is mounted anywhere."""
    end = os.path.join("/volumes", os.path.basename(device))
    return any(root.endswith(end) for _, root in mounts())


def bind(device: str, path: str, options: Options) -> None:
    if is_mounted(path):
        return
    flags = "bind,nosuid,nodev"
    if options.get("kubernetes.io/readwrite") == "ro":
        flags += ",ro"
    try:
        run(["mount", "-o", flags, device, path])
    except Failed:
        take_away(path)
        raise


def take_away(path: str) -> None:
    while is_mounted(path):
        run(["umount", path])


def run(argv: list[str]) -> None:
    import subprocess

    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": PATH},
            timeout=MOUNT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(str(error)) from None
    if done.returncode != 0:
        words = done.stdout.decode("utf-8", "replace").strip()
        raise Failed("{}: {}".format(argv[0], words))


# The answer.

CALLS: dict[str, Any] = {
    "init": init,
    "attach": attach,
    "waitforattach": waitforattach,
    "isattached": isattached,
    "detach": detach,
    "mountdevice": mountdevice,
    "unmountdevice": unmountdevice,
    "mount": mount,
    "unmount": unmount,
    "expandfs": expandfs,
    "provision": provision,
    "delete": delete,
    "list": list_volumes,
    "adopt": adopt,
}


def answer(callout: str, words: list[str]) -> Reply:
    if callout not in CALLS:
        return {"status": "Not supported"}
    try:
        with locked():
            reply: Reply = CALLS[callout](*words)
    except Failed as failed:
        return {"status": "Failure", "message": str(failed), "reason": failed.reason}
    except (OSError, ValueError) as error:
        return {"status": "Failure", "message": str(error), "reason": "Internal"}
    reply["status"] = "Success"
    return reply


def locked() -> TextIO:
    """An open file with a lock, so that no two calls run at once."""
    os.makedirs(STATE, 0o700, exist_ok=True)
    file = open(os.path.join(STATE, "lock"), "w")  # noqa: SIM115
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def main() -> int:
    reply = answer(sys.argv[1], sys.argv[2:])
    print(json.dumps(reply))
    return 0


if __name__ == "__main__":
    sys.exit(main())
