"""A virtual machine for the tests: Debian's kernel under qemu's software emulation, which needs no
rights and no hardware of the host, and a channel to run programs in it.

The root disk forgets what is written to it. A machine that is to remember gets a disk of its own,
which is opened so that a write is on it when the machine's kernel hears so: then ending qemu is a
power cut, and the next machine with the same disk is the one that starts again."""

from __future__ import annotations

import io
import itertools
import json
import queue
import signal
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.vm.image import Image

HERE = Path(__file__).resolve().parent
BOOT_SECONDS = 300  # four are usual on an idle machine; the bound is for a machine that hangs
# One of the first 64-bit processors, with the few newer instructions that programs ask for: what
# programs do with the newest ones is slower where each of them is emulated.
PROCESSOR = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+lahf_lm,+fsgsbase"
MEMORY = "1536"  # MiB; xfs and a demo of 640 MiB need less than half


class Ended(Exception):
    """The machine ended while a program ran in it."""


class Job:
    """A program that runs in the machine."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self.argv = argv
        self.ended = False
        self.lines: list[str] = []
        self._arrived = threading.Condition()
        self._answer: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def take(self, answer: dict[str, Any] | None) -> None:
        """Takes an answer of the agent; None: there will be no more."""
        if answer and "line" in answer:
            with self._arrived:
                self.lines.append(answer["line"])
                self._arrived.notify_all()
        else:
            self.ended = True
            self._answer.put(answer)

    def wait(self, seconds: float) -> subprocess.CompletedProcess[bytes]:
        """Waits for the program's end; raises Ended if the machine ends before, and queue.Empty
        if neither does in time."""
        answer = self._answer.get(timeout=seconds)
        if answer is None:
            raise Ended(f"the machine ended while it ran {self.argv}")
        return subprocess.CompletedProcess(
            self.argv, answer["status"], _encoded(answer["stdout"]), _encoded(answer["stderr"])
        )

    def until_lines(self, number: int, seconds: float = 120) -> None:
        """Waits until the program has written so many lines more."""
        with self._arrived:
            wanted = len(self.lines) + number
            arrived = self._arrived.wait_for(lambda: len(self.lines) >= wanted, seconds)
        assert arrived, f"{self.argv} wrote {len(self.lines)} lines, and not {wanted}"


class Machine:
    """A running machine.

    directory: for its console. files: what lies in /payload there, by name. disk: a file that is
    its /dev/vdc. network: one end of a cable, see cable()."""

    def __init__(
        self,
        image: Image,
        directory: Path,
        files: dict[str, Path],
        disk: Path | None = None,
        network: tuple[str, ...] = (),
    ) -> None:
        directory.mkdir(exist_ok=True)
        self._console = directory / "console"
        payload = directory / "payload.tar"
        _pack(payload, files)
        self._channel, theirs = socket.socketpair()
        line = _line(image, payload, disk, theirs.fileno())
        # The console is appended to: it tells all lives of a machine that starts again.
        with self._console.open("ab") as console:
            self._qemu = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *line, *network],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=[theirs.fileno()],
            )
        theirs.close()
        self._jobs: dict[int, Job] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._ready = threading.Event()
        self._ended = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def wait_until_ready(self) -> None:
        """Waits until programs can be run."""
        if not self._ready.wait(BOOT_SECONDS) or self._ended:
            raise AssertionError(f"the machine did not start:\n{self.console()}")

    def console(self) -> str:
        """The end of what the kernel and the first process wrote."""
        return self._console.read_text(errors="replace")[-4000:]

    def start(self, *argv: str, stdin: bytes = b"", seconds: int = 0, stream: bool = True) -> Job:
        """Starts a program; its output can be read line by line unless `stream` is false.
        seconds: after which the agent ends a program that is not streamed."""
        self.wait_until_ready()
        job = Job(argv)
        number = next(self._numbers)
        request = {
            "id": number,
            "argv": argv,
            "stdin": _text(stdin),
            "seconds": seconds,
            "stream": stream,
        }
        with self._lock:
            if self._ended:
                raise Ended(f"the machine ended before it could run {argv}:\n{self.console()}")
            self._jobs[number] = job
            self._channel.sendall(json.dumps(request).encode() + b"\n")
        return job

    def run(
        self, *argv: str, stdin: bytes = b"", seconds: int = 300
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a program to its end."""
        return self.start(*argv, stdin=stdin, seconds=seconds, stream=False).wait(seconds + 30)

    def must(self, *argv: str, stdin: bytes = b"", seconds: int = 300) -> str:
        """Runs a program that must succeed; returns its output."""
        done = self.run(*argv, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"{done}\n{self.console()}"
        return done.stdout.decode(errors="surrogateescape")

    def shell(self, script: str, seconds: int = 300) -> str:
        """Runs lines of sh, each of which must succeed; returns their output."""
        return self.must("sh", "-e", "-c", script, seconds=seconds)

    def write(self, path: str, content: bytes) -> None:
        """Makes a file there."""
        self.must("sh", "-c", f"cat > '{path}'", stdin=content)

    def freeze(self) -> None:
        """Stops the whole machine, as if its host had stopped it; it does not notice."""
        self._qemu.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen machine go on."""
        self._qemu.send_signal(signal.SIGCONT)

    def cut(self) -> None:
        """Takes its power away."""
        self._qemu.kill()
        self._qemu.wait(30)
        self._listener.join(30)  # it has heard all that was said before

    def _listen(self) -> None:
        for line in _lines(self._channel):
            answer = json.loads(line)
            if "ready" in answer:
                self._ready.set()
                continue
            with self._lock:
                job = self._jobs[answer["id"]]
            job.take(answer)
        with self._lock:
            self._ended = True
            jobs = list(self._jobs.values())
        self._ready.set()
        for job in jobs:
            job.take(None)
        self._channel.close()


def cable(directory: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What two machines are started with to reach each other, as 10.0.0.1 and 10.0.0.2 on eth0.
    Either end may go and come back."""
    ends: list[tuple[str, ...]] = []
    for own, other in ((1, 2), (2, 1)):
        netdev = (
            f"dgram,id=cable,local.type=unix,local.path={directory}/cable-{own},"
            f"remote.type=unix,remote.path={directory}/cable-{other}"
        )
        device = f"virtio-net-pci,netdev=cable,mac=52:54:00:00:00:0{own}"
        ends.append(("-netdev", netdev, "-device", device))
    return ends[0], ends[1]


def _line(image: Image, payload: Path, disk: Path | None, channel: int) -> list[str]:
    """The words that start qemu."""
    words = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-M", "q35"]
    # One processor: a second one would be no faster, because both must run in one thread of qemu.
    # Linux patches its own code, and with a thread for each processor the other one now and then
    # runs half-patched code: the kernel then panics.
    words += ["-accel", "tcg,thread=single", "-cpu", PROCESSOR, "-smp", "1", "-m", MEMORY]
    words += ["-display", "none", "-serial", "stdio", "-no-reboot"]
    words += ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
    # no_timer_check: on a busy host the kernel counts too few interrupts of its timer, and panics
    # with "IO-APIC + timer doesn't work". Under KVM and VMware it leaves that check out by itself.
    kernel = "console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 no_timer_check"
    words += ["-append", kernel]
    words += ["-drive", f"file={image.root},if=virtio,format=raw,snapshot=on"]
    words += ["-drive", f"file={payload},if=virtio,format=raw,readonly=on"]
    if disk:
        # qemu reports a write when the write is in the host's page cache, so a killed qemu loses no
        # reported write. "unsafe" leaves out the flushes, which matter when the host loses power.
        words += ["-drive", f"file={disk},if=virtio,format=raw,cache=unsafe,discard=unmap"]
    words += ["-chardev", f"socket,id=agent,fd={channel}", "-device", "virtio-serial"]
    words += ["-device", "virtserialport,chardev=agent,name=agent"]
    return words


def _pack(target: Path, files: dict[str, Path]) -> None:
    """Writes a tar of the files, padded to whole disk blocks."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, path in files.items():
            tar.add(path, name)
    size = content.tell()
    target.write_bytes(content.getvalue() + bytes(-size % 4096))


def _lines(channel: socket.socket) -> Iterator[bytes]:
    """The lines that come through the channel, until its other end is closed."""
    rest = b""
    while True:
        try:
            received = channel.recv(1 << 16)
        except OSError:  # qemu was killed with something still unread
            return
        if not received:
            return
        *lines, rest = (rest + received).split(b"\n")
        yield from lines


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _encoded(content: str) -> bytes:
    return content.encode("utf-8", "surrogateescape")
