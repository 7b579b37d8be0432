"""A node for the tests: a mount namespace with its own /var/lib/flexvol and so on, and the built
zipapp run in it as kubelet runs it. When the test ends, or is killed, the namespace goes and with
it every mount and loop device."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared import schemas
from shared.protocol import CALLOUTS
from tests.node import edits

MIB = 1 << 20
OWN_PATHS = (
    "/var/lib/flexvol",
    "/etc/flexvol",
    "/var/log/flexvol",
    "/run/flexvol",
    "/var/lib/kubelet",
    "/var/log/pods",
)
NAMESPACE = "shop"
UID = "8a6ad8b3-1111-4222-8333-944445555666"


def schema_of_reply(word: str) -> str:
    """The schema of the reply to a word, which may be no callout's."""
    return f"{word}.reply" if word in CALLOUTS else schemas.ANY_REPLY


class Node:
    """One node. Paths below are as the node sees them; `path` gives the one this process can
    use."""

    def __init__(self, directory: Path, executable: list[str], pool: Path | None = None) -> None:
        self.directory = directory
        self.executable = executable
        self._pool = pool
        self.boot()

    def boot(self) -> None:
        """Makes the namespace, in which nothing is mounted yet."""
        for own in OWN_PATHS:
            Path(own).mkdir(parents=True, exist_ok=True)
            (self.directory / own.strip("/")).mkdir(parents=True, exist_ok=True)
        binds = [f"mount --bind {self.directory}{own} {own}" for own in OWN_PATHS]
        if self._pool:
            binds[0] = f"mount --bind {self._pool} {OWN_PATHS[0]}"
        # The machine's system log is not ours.
        binds.append("[ ! -e /dev/log ] || mount --bind /dev/null /dev/log")
        script = (
            "set -e; mount --make-rprivate /; "
            + "; ".join(binds)
            + "; echo ready; read forever || true"
        )
        self._holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout and self._holder.stdout.readline() == "ready\n"
        self.holder_pid = self._holder.pid

    def close(self) -> None:
        assert self._holder.stdin and self._holder.stdout
        self._holder.stdin.close()
        self._holder.wait(10)
        self._holder.stdout.close()

    def path(self, path: str) -> Path:
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def enter(self, *argv: str | bytes, **keywords: Any) -> subprocess.CompletedProcess[bytes]:
        line: list[str | bytes] = ["nsenter", "-t", str(self._holder.pid), "-m", *argv]
        return subprocess.run(line, capture_output=True, timeout=120, check=False, **keywords)

    def start(self, *argv: str, **keywords: Any) -> subprocess.Popen[bytes]:
        line = ["nsenter", "-t", str(self._holder.pid), "-m", *argv]
        return subprocess.Popen(
            line, **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **keywords}
        )

    def run(self, *argv: str) -> dict[str, Any]:
        """Runs a callout as kubelet does. Whatever it was, the answer is one JSON object that keeps
        to its schema, and the status is 0."""
        done = self.enter(*self.executable, *argv, stdin=subprocess.DEVNULL)
        assert done.stderr == b"", done.stderr
        assert done.returncode == 0, done
        reply: dict[str, Any] = json.loads(done.stdout)
        assert schemas.errors(schema_of_reply(argv[0]), reply) == []
        return reply

    def ok(self, *argv: str) -> dict[str, Any]:
        if argv[0] == "delete":
            request = json.loads(argv[1])
            self.until_free(request["kubernetes.io/pvOrVolumeName"], request["pool"])
        reply = self.run(*argv)
        assert reply["status"] == "Success", reply
        return reply

    @contextlib.contextmanager
    def up_for(self, seconds: int) -> Iterator[None]:
        """As if the node had been up for so many seconds more: the kernel's clock since boot is
        ahead in a time namespace. The wall clock is as it is."""
        usual = self.executable
        self.executable = ["unshare", "-T", "--fork", "--boottime", str(seconds), *usual]
        try:
            yield
        finally:
            self.executable = usual

    @contextlib.contextmanager
    def clock_ahead(self, for_python: Path, seconds: int) -> Iterator[None]:
        """As if the wall clock were so many seconds ahead, or behind. It is the clock of one
        program only: that of this machine is not set."""
        usual = self.executable
        ahead = f"real = time.time\ntime.time = lambda: real() + {seconds}"
        target = self.directory / f"clock-{seconds}"
        self.executable = edits.edited(for_python, target, edits.IMPORT_TIME.to(ahead))
        try:
            yield
        finally:
            self.executable = usual

    def fails(self, reason: str, *argv: str) -> str:
        """Runs a callout that must fail for `reason`, and returns its message."""
        reply = self.run(*argv)
        assert (reply["status"], reply.get("reason")) == ("Failure", reason), reply
        message: str = reply["message"]
        return message

    def command(self, *argv: str) -> str:
        """Runs a command for a person, which must succeed."""
        done = self.enter(*self.executable, *argv)
        assert done.returncode == 0, done
        return done.stdout.decode()

    # What the tests are about: volumes, pods and what is left of them.

    def pool_id(self, pool: str = "default") -> str:
        settings = json.loads(self.path(f"/var/lib/flexvol/{pool}/pool.json").read_text())
        identity: str = settings["id"]
        return identity

    def request(
        self,
        volume: str,
        size: int = 64 * MIB,
        fs: str = "ext4",
        also: dict[str, str] | None = None,
        **own: str,
    ) -> str:
        """What the provisioner passes to provision: `own` are class parameters, `also` the reserved
        keys."""
        return json.dumps(
            {
                "kubernetes.io/pvOrVolumeName": volume,
                "kubernetes.io/fsType": fs,
                "requestBytes": str(size),
                "kubernetes.io/pvc.namespace": NAMESPACE,
                "kubernetes.io/pvc.name": "data",
                "kubernetes.io/pvc.uid": UID,
                **(also or {}),
                **own,
            }
        )

    def provision(
        self,
        volume: str = "pvc-1",
        size: int = 64 * MIB,
        fs: str = "ext4",
        also: dict[str, str] | None = None,
        **own: str,
    ) -> dict[str, Any]:
        made: dict[str, Any] = self.ok("provision", self.request(volume, size, fs, also, **own))[
            "volume"
        ]
        return made

    def options(
        self, volume: str = "pvc-1", access: str = "rw", namespace: str = NAMESPACE, **own: str
    ) -> str:
        """What kubelet passes to mount, and to expandfs."""
        place = {"pool": "default", "poolId": self.pool_id(), **own}
        return json.dumps(
            {
                "kubernetes.io/pvOrVolumeName": volume,
                "kubernetes.io/fsType": "",
                "kubernetes.io/readwrite": access,
                "kubernetes.io/pod.namespace": namespace,
                "kubernetes.io/pod.name": "web",
                "kubernetes.io/pod.uid": "u1",
                "kubernetes.io/serviceAccount.name": "default",
                **place,
            }
        )

    def deletion(self, volume: str = "pvc-1", uid: str = UID, **own: str) -> str:
        place = {"pool": "default", "poolId": self.pool_id(), **own}
        return json.dumps(
            {
                "kubernetes.io/pvOrVolumeName": volume,
                "kubernetes.io/pvc.namespace": NAMESPACE,
                "kubernetes.io/pvc.name": "data",
                "kubernetes.io/pvc.uid": uid,
                **place,
            }
        )

    def pod_dir(self, pod: str, volume: str = "pvc-1") -> str:
        """The directory of the pod's volume, made as kubelet makes it."""
        path = f"/var/lib/kubelet/pods/{pod}/volumes/flexvol~loop/{volume}"
        self.path(path).mkdir(parents=True, exist_ok=True, mode=0o750)
        return path

    def mount(self, pod: str, volume: str = "pvc-1", access: str = "rw") -> Path:
        """Mounts for a pod; returns the directory its containers would see."""
        path = self.pod_dir(pod, volume)
        self.ok("mount", path, self.options(volume, access))
        return self.path(path)

    def unmount(self, pod: str, volume: str = "pvc-1") -> None:
        self.ok("unmount", self.pod_dir(pod, volume))

    def image(self, volume: str = "pvc-1", pool: str = "default") -> Path:
        return self.path(f"/var/lib/flexvol/{pool}/{volume}/image")

    def record(self, volume: str = "pvc-1") -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.image(volume).with_name("volume.json").read_text())
        return record

    def mounts(self) -> list[tuple[str, str]]:
        """Mounts of loop devices below the node's own paths: path and flags of the mount itself.
        Elsewhere its namespace shows what another run on this machine had mounted when it was
        made."""
        lines = Path(f"/proc/{self._holder.pid}/mountinfo").read_text(errors="surrogateescape")
        fields = [line.split(" ") for line in lines.splitlines()]
        loops = [words for words in fields if "/dev/loop" in " ".join(words[6:])]
        return [
            (words[4], words[5])
            for words in loops
            if any(words[4].startswith(own) for own in OWN_PATHS)
        ]

    def loop_devices(self) -> list[str]:
        """The loop devices on images of this node, by device and inode."""
        images = {
            (s.st_dev, s.st_ino) for s in (path.stat() for path in self.directory.rglob("image"))
        }
        listed = subprocess.run(
            ["losetup", "-l", "-n", "-O", "NAME,BACK-MAJ:MIN,BACK-INO"],
            capture_output=True,
            text=True,
            check=True,
        )
        rows = [line.split() for line in listed.stdout.splitlines()]
        return [
            # one that goes just now has a name
            name
            for name, device, inode in (row for row in rows if len(row) == 3)
            if (os.makedev(*map(int, device.split(":"))), int(inode)) in images
        ]

    def until_devices(self, number: int) -> None:
        """Waits until it has so many loop devices: one that another process of this machine looks
        at goes later."""
        deadline = time.monotonic() + 10
        while len(self.loop_devices()) != number:
            assert time.monotonic() < deadline, f"not {number} loop devices: {self.loop_devices()}"
            time.sleep(0.05)

    def until_free(self, volume: str = "pvc-1", pool: str = "default") -> None:
        """Waits until no loop device holds the lock on the volume's image: after its last pod, one
        that another process of this machine looks at goes later, and the driver waits two seconds
        for it."""
        image = self.image(volume, pool)
        if not image.exists():
            return
        deadline = time.monotonic() + 20
        with image.open("rb") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    assert time.monotonic() < deadline, f"volume {volume} is in use"
                    time.sleep(0.05)

    def snapshot(self) -> dict[str, tuple[int, bytes]]:
        """Everything in the pools by name, length and, for small files, content; locks apart."""
        root = self.path("/var/lib/flexvol")
        return {
            str(path.relative_to(root)): (
                path.stat().st_size,
                path.read_bytes() if path.stat().st_size < 4096 else b"",
            )
            for path in root.rglob("*")
            if path.is_file() and ".locks" not in path.parts
        }
