"""flexvol demo: plays kubelet and the provisioner with this very file, on real mounts in a pool of
its own, and leaves
nothing behind. What it promises it checks: the exit status is 0 only if every line came out as it
says."""

import argparse
import errno
import json
import os
import shutil
import tempfile
import time

from node import zipapp
from node.host import config, filesystems, log, loopdev, mounts
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
    from typing import Dict, List, Union

_MIB = 1 << 20
_SIZE_BYTES, _GROWN_BYTES = 320 * _MIB, 640 * _MIB
_NAME = "pvc-demo"
_CLAIM = {
    CLAIM_NAMESPACE: "demo",
    CLAIM_NAME: "data",
    CLAIM_UID: "00000000-demo",
}


def main(words: "List[str]") -> int:
    argparse.ArgumentParser(prog="flexvol demo", description=__doc__).parse_args(words)
    if os.geteuid() != 0:
        raise protocol.Internal("mounting needs root; run it with sudo")
    archive = zipapp.path()
    ours = [path for path in (config.ROOT, log.DIRECTORY) if not os.path.exists(path)]
    work = tempfile.mkdtemp(prefix="flexvol-demo-{}-".format(os.getpid()))
    try:
        life = _Life(archive, work)
        try:
            life.live()
        finally:
            life.clean_up()
        left = _left(life.pool_path)
        if left:
            raise protocol.Internal("something is left: " + ", ".join(left))
    finally:
        for path in ours:
            _remove_made(path)
    print("\nNothing is left: the pool was empty and is removed, no mount, no loop device.")
    return 0


def _file_system() -> str:
    """xfs where this machine can make and mount it, because it grows while it is in use; else
    ext4."""
    xfs = filesystems.get("xfs")
    return "ext4" if filesystems.missing(["mkfs.xfs"]) or not xfs.in_kernel() else "xfs"


def _left(pool_path: str) -> "List[str]":
    """The demo's mounts, and the loop devices on images of its pool, that are still there."""
    found = [
        mount.path
        for mount in mounts.table()
        if "/flexvol-demo-{}-".format(os.getpid()) in mount.path
    ]
    return found + [
        device
        for device, path in loopdev.backing_paths().items()
        if path is not None and path.startswith(pool_path + "/")
    ]


class _Life:
    """A volume's life, told line by line."""

    def __init__(self, archive: str, work: str) -> None:
        self._archive = archive
        self._work = work
        self._pool = "demo-{}".format(os.getpid())
        self._fs_type = _file_system()
        self._place: "Dict[str, str]" = {}
        self.pool_path = config.pool_directory(self._pool)

    def live(self) -> None:
        process.run([self._archive, "pool", "init", self._pool, "--reserve", "0"], 30).check()
        print("pool {} in {}".format(self._pool, config.pool_directory(self._pool)))
        print(self._why_this_file_system() + "\n")
        print("{:10} {:46} {:>7}  {}".format("CALLOUT", "WHAT FOR", "TIME", "REPLY"))
        self._call("init", "kubelet finds the driver")
        self._provision()
        web = self._pod("web")
        backup = self._pod("backup")
        self._mount("web", "rw", "pod web, read-write")
        self._mount("backup", "ro", "pod backup on the same node, read-only")
        self._note("web writes, backup reads it", self._share(web, backup))
        self._note("web writes until the disk is full", self._fill(web))
        self._grow(web)
        self._note("web writes on", self._write_on(web))
        self._call("unmount", "pod web ends", mount_dir=web)
        self._call("unmount", "pod backup ends", mount_dir=backup)
        self._delete()

    def _why_this_file_system(self) -> str:
        if self._fs_type == "xfs":
            return "its volume is xfs, which grows while it is in use on every node"
        return (
            "its volume is ext4, because mkfs.xfs (package xfsprogs) or the kernel's xfs is missing"
        )

    def _provision(self) -> None:
        request = {
            VOLUME: _NAME,
            FS_TYPE: self._fs_type,
            REQUEST_BYTES: str(_SIZE_BYTES),
            "pool": self._pool,
        }
        what = "a claim of 320Mi, {}".format(self._fs_type)
        options = Options(dict(_CLAIM, **request))
        made = self._call("provision", what, options=options).volume or {}
        self._place = made["options"]

    def _mount(self, pod: str, access: str, what: str) -> None:
        options = self._mount_options(pod, access)
        self._call("mount", what, mount_dir=self._pod(pod), options=options)

    def _grow(self, web: str) -> None:
        """While the pods run, if the kernel lets this process; else, as on a node, when the pods
        start next."""
        arguments: "Dict[str, Union[str, int, Options]]" = {
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
        for pod in ("web", "backup"):
            self._call("unmount", "pod {} ends".format(pod), mount_dir=self._pod(pod))
        self._mount("web", "rw", "pod web starts again, and its volume grows")
        self._mount("backup", "ro", "pod backup starts again")

    def _delete(self) -> None:
        place = dict(self._place, **{VOLUME: _NAME})
        options = Options(dict(_CLAIM, **place))
        self._call("delete", "the claim is deleted", options=options)
        left = self._call("list", "what is left in the pool").volumes or []
        ours = [entry for entry in left if entry["pool"] == self._pool]
        self._expect(not ours, "the pool is not empty")

    def clean_up(self) -> None:
        """Also after a failure: unmounts, and removes the pool with what is in it, which all is
        ours."""
        pods = os.path.join(self._work, "pods")
        for pod in os.listdir(pods) if os.path.isdir(pods) else []:
            mounts.unmount(self._pod(pod))
        for path in (self._work, config.pool_directory(self._pool)):
            shutil.rmtree(path)
        config.forget(self._pool)

    def _pod(self, name: str) -> str:
        path = os.path.join(self._work, "pods", name, "volumes", "flexvol~loop", _NAME)
        os.makedirs(path, exist_ok=True)
        return path

    def _mount_options(self, pod: str, access: str) -> Options:
        own = {VOLUME: _NAME, FS_TYPE: self._fs_type, READ_WRITE: access}
        own.update({POD_NAMESPACE: "demo", POD_NAME: pod, POD_UID: pod})
        return Options(dict(own, **self._place))

    def _call(
        self, callout: str, what: str, **arguments: "Union[str, int, Options]"
    ) -> protocol.Reply:
        began = time.monotonic()
        try:
            reply = caller.call(self._archive, callout, None, **arguments)
        except protocol.Failure as failure:
            self._line(callout, what, began, json.dumps(failure.to_dict()))
            raise
        shown = reply.to_dict()
        for empty in ("attached", "volumeNewSize") + (
            () if callout == "init" else ("capabilities",)
        ):
            shown.pop(empty, None)
        self._line(callout, what, began, json.dumps(shown))
        return reply

    def _line(self, callout: str, what: str, began: float, reply: str) -> None:
        elapsed = "{:.0f} ms".format((time.monotonic() - began) * 1000)
        print(
            "{:10} {:46} {:>7}  {}".format(
                callout, what, elapsed, reply if len(reply) < 300 else reply[:297] + "..."
            )
        )

    def _note(self, what: str, outcome: str) -> None:
        print("{:10} {:46} {:>7}  {}".format("", what, "", outcome))

    def _share(self, writer: str, reader: str) -> str:
        with open(os.path.join(writer, "greeting"), "w") as file:
            file.write("hello")
        with open(os.path.join(reader, "greeting")) as file:
            self._expect(file.read() == "hello", "the second pod does not see what the first wrote")
        try:
            os.unlink(os.path.join(reader, "greeting"))
        except OSError as error:
            self._expect(
                error.errno == errno.EROFS, "the read-only pod failed to write for another reason"
            )
            return "hello; and backup cannot write: {}".format(error.strerror)
        raise protocol.Internal("the read-only pod could write")

    def _fill(self, pod: str) -> str:
        written = 0
        block = b"x" * (4 * _MIB)
        with open(os.path.join(pod, "data"), "wb", buffering=0) as file:
            try:
                while written <= 2 * _SIZE_BYTES:
                    written += file.write(block)
                    os.fsync(file.fileno())
            except OSError as error:
                self._expect(
                    error.errno == errno.ENOSPC,
                    "the write failed for another reason than want of space",
                )
                size = os.stat(os.path.join(config.pool_directory(self._pool), _NAME, "image"))
                self._expect(
                    max(size.st_size, size.st_blocks * 512) <= _SIZE_BYTES,
                    "the image is larger than asked",
                )
                return "{} after {}; the image has {}, not a byte more than asked".format(
                    error.strerror, human_bytes(written), human_bytes(size.st_size)
                )
        raise protocol.Internal(
            "there was no limit: {} could be written".format(human_bytes(written))
        )

    def _write_on(self, pod: str) -> str:
        with open(os.path.join(pod, "more"), "wb") as file:
            file.write(b"y" * (64 * _MIB))
            file.flush()
            os.fsync(file.fileno())
        disk = os.statvfs(pod)
        return "{} more; the file system has {} now".format(
            human_bytes(64 * _MIB), human_bytes(disk.f_blocks * disk.f_frsize)
        )

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise protocol.Internal(otherwise)


def _remove_made(path: str) -> None:
    """Removes a directory that was not there before; kept if someone else has put something into it
    meanwhile."""
    logged = os.path.join(path, "loop.log")
    if path == log.DIRECTORY and os.path.exists(logged):
        os.unlink(logged)
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            raise
