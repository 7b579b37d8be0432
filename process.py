"""Runs one program within a time limit and a bound on its output, and leaves nothing of it behind.

Nothing here goes through a shell. Every program runs in a process group of its own, which is killed
as a whole, so that no grandchild survives. Importing subprocess costs a callout 12 ms, so the
program is started with posix_spawn (with fork on Python older than 3.8, where a callout is the only
user and has one thread)."""

import os
import select
import signal
import sys
import time

from protocol import Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Mapping, NoReturn, Optional, Sequence

_OUTPUT_LIMIT_BYTES = 1 << 20
_REAP_SECONDS = 2


class TimedOut(Internal):
    """The program was killed because its time was over."""


class Result:
    """status: exit status, or minus the number of the signal that ended it. output: stdout, with
    stderr merged into it in the order it was written, as kubelet reads a driver."""

    def __init__(self, argv: "Sequence[str]", status: int, output: bytes) -> None:
        self.argv = argv
        self.status = status
        self.output = output

    @property
    def text(self) -> str:
        """The output as one line, for a message."""
        return " ".join(self.output.decode("utf-8", "replace").split())

    def check(self, *good: int) -> "Result":
        """Itself, or Internal with the program's own words unless the exit status is 0 or in
        `good`."""
        if self.status != 0 and self.status not in good:
            raise Internal(
                "{} failed with status {}: {}".format(self.argv[0], self.status, self.text[-400:])
            )
        return self


def run(
    argv: "Sequence[str]",
    seconds: float,
    inherit: "Sequence[int]" = (),
    environment: "Optional[Dict[str, str]]" = None,
    output_limit_bytes: int = _OUTPUT_LIMIT_BYTES,
) -> Result:
    """Runs `argv` (a name is looked up on PATH) and waits for its end and for the end of its
    output.

    inherit: descriptors it gets beside the standard ones: a lock that must be held as long as it
    lives.
    environment: all of it; by default ours, with LC_ALL=C so that messages can be read. Raises
    TimedOut after `seconds`, Internal if it cannot be started or prints more than the limit. Its
    process group is dead then, except for a process the kernel will not let die, which is not
    waited for."""
    environment = dict(os.environ, LC_ALL="C") if environment is None else environment
    program = find(argv[0], environment)
    reader, writer = os.pipe()
    deadline = time.monotonic() + seconds
    try:
        try:
            pid = _spawn(program, list(argv), environment, writer, inherit)
        except OSError as error:
            raise Internal("cannot run {}: {}".format(program, error.strerror)) from None
        finally:
            os.close(writer)
        status = None
        try:
            output = _read(reader, deadline, output_limit_bytes, argv[0], seconds)
            status = _reap(pid, deadline)
            if status is None:
                raise TimedOut("{} did not end within {:g} s".format(argv[0], seconds))
        finally:
            if status is None:
                kill_group(pid)
                _reap(pid, time.monotonic() + _REAP_SECONDS)
    finally:
        os.close(reader)
    return Result(argv, status, output)


def bounded(work: "Callable[[], bytes]", seconds: float) -> "Optional[bytes]":
    """What `work` returns, done in a child so that a process the kernel will not let die is not
    ours. After `seconds` the child and all that it started are killed, not waited for, and None is
    returned.

    Also None if the child ended without an answer. The child stays in our process group, to be
    killed with us."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            answer = work()
            while answer:
                answer = answer[os.write(writer, answer) :]
            os.close(writer)  # closing the others may hang
        finally:
            os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + seconds
    try:
        return _read(reader, deadline, sys.maxsize, "the callout", seconds) or None
    except TimedOut:
        os.kill(pid, signal.SIGSTOP)  # so that it starts nothing more
        for descendant in _descendants(pid) + [pid]:
            _kill(descendant)
        return None
    finally:
        os.close(reader)
        _reap(pid, time.monotonic() + _REAP_SECONDS)


def _descendants(pid: int) -> "List[int]":
    """The processes that `pid` started, and those that they did."""
    children: "Dict[int, List[int]]" = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/{}/stat".format(name)) as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(name))
    found = list(children.get(pid, []))
    for child in found:  # which grows
        found.extend(children.get(child, []))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_group(pid: int) -> None:
    """Kills the process group that `pid` leads; one that is gone is fine."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def find(name: str, environment: "Mapping[str, str]" = os.environ) -> str:
    """The program's path. Tools live in sbin directories, which a kubelet's PATH may lack. Raises
    Internal."""
    if "/" in name:
        return name
    for directory in environment.get("PATH", os.defpath).split(":") + [
        "/usr/sbin",
        "/sbin",
        "/usr/bin",
        "/bin",
    ]:
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise Internal(
        "the program {} is missing on this node; install the package that has it".format(name)
    )


def _spawn(
    program: str,
    argv: "List[str]",
    environment: "Dict[str, str]",
    out: int,
    inherit: "Sequence[int]",
) -> int:
    before = [(descriptor, os.get_inheritable(descriptor)) for descriptor in inherit]
    try:
        for descriptor in inherit:
            os.set_inheritable(descriptor, True)
        if not hasattr(os, "posix_spawn"):
            return _fork(program, argv, environment, out)
        return os.posix_spawn(
            program,
            argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, out, 1),
                (os.POSIX_SPAWN_DUP2, out, 2),
            ],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGTERM, signal.SIGINT),
        )
    finally:
        for descriptor, was in before:
            os.set_inheritable(descriptor, was)


def _fork(program: str, argv: "List[str]", environment: "Dict[str, str]", out: int) -> int:
    pid = os.fork()
    if pid == 0:
        _exec(program, argv, environment, out)
    return pid


def _exec(program: str, argv: "List[str]", environment: "Dict[str, str]", out: int) -> "NoReturn":
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.execve(program, argv, environment)
    except OSError as error:
        os.write(2, "cannot run {}: {}".format(program, error.strerror).encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _read(reader: int, deadline: float, limit_bytes: int, name: str, seconds: float) -> bytes:
    chunks: "List[bytes]" = []
    size = 0
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimedOut(
                "{} did not end, or did not close its output, within {:g} s".format(name, seconds)
            )
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            return b"".join(chunks)
        size += len(chunk)
        if size > limit_bytes:
            raise Internal("{} printed more than {} bytes".format(name, limit_bytes))
        chunks.append(chunk)


def _reap(pid: int, deadline: float) -> "Optional[int]":
    pause = 0.0005
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
