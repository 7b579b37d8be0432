"""Shows the life of a volume on this machine, without a cluster.

The command plays kubelet and the provisioner with this very file, on real mounts in a pool of its
own, and leaves nothing behind. The volume is ext4; a second one is xfs, where this machine can make
and mount xfs. The command checks each line it prints: the exit status is 0 only if every step came
out as the line says. A line begins before its step, so the last line says what is waited for."""

import argparse
import errno
import json
import os
import shutil
import tempfile
import time

from node import zipapp
from node.host import config, filesystems, log, loopdev, mount_table, mounts
from shared import caller, process, protocol
from shared.options import (
    CLAIM_NAME,
    CLAIM_NAMESPACE,
    CLAIM_UID,
    FS_TYPE,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    READ_WRITE,
    REQUEST_BYTES,
    VOLUME,
    Options,
)
from shared.table import human_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Union

    Argument = Union[str, int, Options]

NEEDS_ROOT = True
_MIB = 1 << 20
_SIZE_BYTES = 320 * _MIB  # mkfs.xfs makes none smaller than 300 MiB
_GROWN_BYTES = 640 * _MIB
_POOL_SECONDS = 30  # for `pool init`
_SHOWN_LENGTH = 300  # characters of a reply on one line
_WHY_LATER = "as on a node whose kubelet lacks CAP_SYS_RESOURCE, which ext4 asks for"
_NEXT = """
Next, in flexvol's sources:
  ./build.sh playground   starts a Kubernetes with flexvol in it, to try claims and pods
  docs/quickstart.md      leads to the first volume on a cluster of your own
  docs/pools.md           shows how a disk of a node becomes a pool"""
_CLAIM = {
    CLAIM_NAMESPACE: "demo",
    CLAIM_NAME: "data",
    CLAIM_UID: "00000000-demo",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Takes no arguments."""


def run(_: argparse.Namespace) -> int:
    executable = zipapp.path()
    made = [path for path in (config.ROOT, log.DIRECTORY) if not os.path.exists(path)]
    directory = tempfile.mkdtemp(prefix=_prefix())
    try:
        life = _Life(executable, directory)
        try:
            life.begin()
            for fs_type in _file_systems():
                life.live(fs_type)
        finally:
            life.clean_up()
        left = _left(life.pool_path)
        if left:
            raise protocol.Internal("something is left: " + ", ".join(left))
    finally:
        for path in made:
            _remove_made(path)
    print("\nNothing is left: no mount, no loop device, and the empty pool is removed.")
    print(_NEXT)
    return 0


def _prefix() -> str:
    """How the name of this demo's directory begins."""
    return "flexvol-demo-{}-".format(os.getpid())


def _file_systems() -> "List[str]":
    """ext4, which every node can make and mount; and xfs where this machine can, because xfs grows
    while it is in use on every node."""
    if filesystems.missing(["mkfs.xfs"]) or not filesystems.get("xfs").in_kernel():
        return ["ext4"]
    return ["ext4", "xfs"]


def _left(pool_path: str) -> "List[str]":
    """The demo's mounts, and the loop devices on images of its pool, that are still there."""
    left = []
    for mount in mount_table.table():
        if "/" + _prefix() in mount.path:
            left.append(mount.path)
    for device, path in loopdev.backing_paths().items():
        if path is not None and path.startswith(pool_path + "/"):
            left.append(device)
    return left


def _remove_made(path: str) -> None:
    """Removes a directory that the demo made, unless somebody else has put something into it."""
    logged = os.path.join(path, "loop.log")
    if path == log.DIRECTORY and os.path.exists(logged):
        os.unlink(logged)
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            raise


class _Life:
    """The lives of volumes in one pool, step by step, with a line for each step."""

    def __init__(self, executable: str, directory: str) -> None:
        self._executable = executable
        self._directory = directory
        self._pool = "demo-{}".format(os.getpid())
        self._fs_type = ""
        self._name = ""  # of the PV
        self._options: "Dict[str, str]" = {}  # of the PV, as provision returns them
        self.pool_path = config.pool_directory(self._pool)

    def begin(self) -> None:
        line = [self._executable, "pool", "init", self._pool, "--reserve", "0"]
        process.run(line, _POOL_SECONDS).check()
        print("pool {} in {}\n".format(self._pool, self.pool_path))
        print("{:10} {:46} {:>7}  {}".format("CALLOUT", "WHAT FOR", "TIME", "REPLY"))
        self._call("init", "kubelet finds the driver")

    def live(self, fs_type: str) -> None:
        """The life of a volume with this file system."""
        self._fs_type = fs_type
        self._name = "pvc-demo-{}".format(fs_type)
        print("\na volume with {}:".format(fs_type))
        self._provision()
        web = self._pod("web")
        backup = self._pod("backup")
        self._mount("web", "rw", "pod web, read-write")
        self._mount("backup", "ro", "pod backup on the same node, read-only")
        _step("web writes, backup reads it", lambda: _share(web, backup))
        _step("web writes until the disk is full", lambda: self._fill(web))
        self._grow(web)
        _step("web writes on", lambda: _write_on(web))
        self._call("unmount", "pod web ends", mount_dir=web)
        self._call("unmount", "pod backup ends", mount_dir=backup)
        self._delete()

    def clean_up(self) -> None:
        """Unmounts, and removes the pool with all that is in it, also after a failure."""
        pods = os.path.join(self._directory, "pods")
        if os.path.isdir(pods):
            for pod in os.listdir(pods):
                for volume in os.listdir(self._volumes(pod)):
                    path = os.path.join(self._volumes(pod), volume)
                    mounts.unmount(path, mounts.shows_image)
        shutil.rmtree(self._directory)
        shutil.rmtree(self.pool_path)
        config.forget(self._pool)

    def _provision(self) -> None:
        request = dict(_CLAIM)
        request[VOLUME] = self._name
        request[FS_TYPE] = self._fs_type
        request[REQUEST_BYTES] = str(_SIZE_BYTES)
        request["pool"] = self._pool
        what = "a claim of 320Mi, {}".format(self._fs_type)
        made = self._call("provision", what, options=Options(request)).volume or {}
        self._options = made["options"]

    def _mount(self, pod: str, access: str, what: str) -> None:
        options = self._mount_options(pod, access)
        self._call("mount", what, mount_dir=self._pod(pod), options=options)

    def _mount_options(self, pod: str, access: str) -> Options:
        """The options of a mount, as kubelet makes them.

        :param access: rw or ro"""
        options = {
            VOLUME: self._name,
            FS_TYPE: self._fs_type,
            READ_WRITE: access,
            POD_NAMESPACE: "demo",
            POD_NAME: pod,
            POD_UID: pod,
        }
        return Options(dict(options, **self._options))

    def _fill(self, pod: str) -> str:
        written = 0
        block = b"x" * (4 * _MIB)
        with open(os.path.join(pod, "data"), "wb", buffering=0) as file:
            try:
                while written <= 2 * _SIZE_BYTES:
                    written += file.write(block)
                    os.fsync(file.fileno())
            except OSError as error:
                _expect(
                    error.errno == errno.ENOSPC,
                    "the write failed for another reason than want of space",
                )
                image_bytes = self._image_bytes()
                return "{} after {}; the image has {}, not a byte more than asked".format(
                    error.strerror, human_bytes(written), human_bytes(image_bytes)
                )
        raise protocol.Internal(
            "there was no limit: {} could be written".format(human_bytes(written))
        )

    def _image_bytes(self) -> int:
        """The size of the volume's image, which is checked."""
        image = os.stat(os.path.join(self.pool_path, self._name, "image"))
        taken_bytes = image.st_blocks * 512
        is_within = max(image.st_size, taken_bytes) <= _SIZE_BYTES
        _expect(is_within, "the image is larger than asked")
        return image.st_size

    def _grow(self, web: str) -> None:
        """Grows the volume while the pods run, if the kernel lets this process; else when the pods
        start next, as on a node."""
        arguments: "Dict[str, Argument]" = {
            "options": self._mount_options("web", "rw"),
            "device": "",
            "mount_dir": web,
            "new_bytes": _GROWN_BYTES,
            "old_bytes": _SIZE_BYTES,
        }
        try:
            self._call("expandfs", "the claim grows to 640Mi while web runs", **arguments)
            return
        except protocol.Unavailable:
            if self._fs_type != "ext4":
                raise
        _step("so it grows when its pods start next", lambda: _WHY_LATER)
        for pod in ("web", "backup"):
            self._call("unmount", "pod {} ends".format(pod), mount_dir=self._pod(pod))
        self._mount("web", "rw", "pod web starts again, and its volume grows")
        self._mount("backup", "ro", "pod backup starts again")

    def _delete(self) -> None:
        options = dict(_CLAIM, **self._options)
        options[VOLUME] = self._name
        self._call("delete", "the claim is deleted", options=Options(options))
        volumes = self._call("list", "what is left in the pool").volumes or []
        ours = [entry for entry in volumes if entry["pool"] == self._pool]
        _expect(not ours, "the pool is not empty")

    def _pod(self, name: str) -> str:
        """The directory of a pod for the volume, which is there afterwards."""
        path = os.path.join(self._volumes(name), self._name)
        os.makedirs(path, exist_ok=True)
        return path

    def _volumes(self, pod: str) -> str:
        """The directory of a pod's volumes."""
        return os.path.join(self._directory, "pods", pod, "volumes", "flexvol~loop")

    def _call(self, callout: str, what: str, **arguments: "Argument") -> protocol.Reply:
        """Makes a callout as kubelet does, and prints a line about it.

        :param what: the words for the column WHAT FOR
        :raises Failure: the callout's own"""
        _print_head(callout, what)
        began = time.monotonic()
        try:
            reply = caller.call(self._executable, callout, None, **arguments)
        except protocol.Failure as failure:
            _print_reply(began, failure.to_dict())
            raise
        shown = reply.to_dict()
        shown.pop("attached", None)
        shown.pop("volumeNewSize", None)
        if callout != "init":
            shown.pop("capabilities", None)
        _print_reply(began, shown)
        return reply


def _share(writer: str, reader: str) -> str:
    """Writes in one pod's directory and reads in another's, which must be read-only."""
    with open(os.path.join(writer, "greeting"), "w") as file:
        file.write("hello")
    with open(os.path.join(reader, "greeting")) as file:
        _expect(file.read() == "hello", "the second pod does not see what the first wrote")
    try:
        os.unlink(os.path.join(reader, "greeting"))
    except OSError as error:
        is_read_only = error.errno == errno.EROFS
        _expect(is_read_only, "the read-only pod failed to write for another reason")
        return "hello; and backup cannot write: {}".format(error.strerror)
    raise protocol.Internal("the read-only pod could write")


def _write_on(pod: str) -> str:
    """Writes to a volume that was full before it grew."""
    written = 64 * _MIB
    with open(os.path.join(pod, "more"), "wb") as file:
        file.write(b"y" * written)
        file.flush()
        os.fsync(file.fileno())
    disk = os.statvfs(pod)
    return "{} more; the file system has {} now".format(
        human_bytes(written), human_bytes(disk.f_blocks * disk.f_frsize)
    )


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise protocol.Internal(otherwise)


def _step(what: str, do: "Callable[[], str]") -> None:
    """Does a step that is no callout.

    :param do: does the step, and returns what came of it in words"""
    _print_head("", what)
    outcome = ""
    try:
        outcome = do()
    finally:
        _print_rest("", outcome)


def _print_head(callout: str, what: str) -> None:
    """Begins a line, so that a person sees what is waited for."""
    print("{:10} {:46} ".format(callout, what), end="", flush=True)


def _print_rest(elapsed: str, text: str) -> None:
    print("{:>7}  {}".format(elapsed, text), flush=True)


def _print_reply(began: float, reply: "Dict[str, object]") -> None:
    """:param began: when the call began, by the monotonic clock"""
    elapsed_ms = (time.monotonic() - began) * 1000
    text = json.dumps(reply)
    if len(text) >= _SHOWN_LENGTH:
        text = text[: _SHOWN_LENGTH - 3] + "..."
    _print_rest("{:.0f} ms".format(elapsed_ms), text)
