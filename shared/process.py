"""Runs one program within a time limit and a bound on its output, and leaves nothing of it behind.

Nothing here goes through a shell. Every program runs in a process group of its own, which is killed
as a whole, so that no grandchild survives. Importing subprocess costs a callout 12 ms, so the
program is started with posix_spawn (with fork on Python older than 3.8, where a callout is the only
user and has one thread)."""

import _signal as signal  # what the module signal wraps; that one imports enum, 2 ms
import os
import select
import sys
import time

from shared.protocol import Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import (
        Callable,
        Dict,
        Iterator,
        List,
        Mapping,
        NoReturn,
        Optional,
        Sequence,
        Set,
        Tuple,
    )

_OUTPUT_LIMIT_BYTES = 1 << 20
_REAP_SECONDS = 2
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_SLAVE, _MNT_DETACH = 0x20000, 4096, 0x4000, 1 << 19, 2
_LOOK_SECONDS = 5  # how often a program is looked at for progress
# The places of some fields of /proc/PID/stat, counted from the state on.
_STATE, _PARENT, _GROUP, _BEGAN = 0, 1, 2, 19
# The children of ours that a `run` waits for.
_awaited: "Set[int]" = set()


class TimedOut(Internal):
    """The program was killed because its time was over. group: the number of its process group, in
    which the kernel may keep a process alive (see `survivors`); 0 if none was made."""

    group = 0


class _Deadline:
    """The time that a program may take."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return self._end - time.monotonic()


class _WhileAtWork(_Deadline):
    """The time for which a program may make no progress: use no processor, read and write
    nothing."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.pid = 0
        self._seen: "List[str]" = []

    def left(self) -> float:
        now = _progress(self.pid) if self.pid else []
        if now != self._seen:
            self._seen = now
            self._end = time.monotonic() + self.seconds
        return super().left()


def _progress(pid: int) -> "List[str]":
    """What grows while the program, or a program that it started, works."""
    figures = []
    for process in [pid, *_descendants(pid)]:
        try:
            with open("/proc/{}/stat".format(process)) as stat:
                figures += stat.read().rpartition(")")[2].split()[11:13]
            with open("/proc/{}/io".format(process)) as counters:
                figures.append(counters.read())
        except OSError:  # it ended, or this container may not read that
            continue
    return figures


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
    while_at_work: bool = False,
) -> Result:
    """Runs `argv` (a name is looked up on PATH) and waits for its end and for the end of its
    output.

    inherit: descriptors it gets beside the standard ones: a lock that must be held as long as it
    lives. Such a program works on a volume, and is shown no mounts: e2fsck and mkfs ask each
    mounted loop device for its file, xfs_repair each mount for its root, and a dead server of
    another volume would keep them for ever. That nobody has the volume mounted is made sure of by
    the volume's locks.
    environment: all of it; by default ours, with LC_ALL=C so that messages can be read.
    while_at_work: `seconds` is how long the program may make no progress, not how long it takes.

    Raises TimedOut after `seconds`, Internal if it cannot be started or prints more than the limit.
    Its process group is dead then, except for a process the kernel will not let die, which is not
    waited for."""
    environment = dict(os.environ, LC_ALL="C") if environment is None else environment
    program = find(argv[0], environment)
    reader, writer = os.pipe()
    limit = _WhileAtWork(seconds) if while_at_work else _Deadline(seconds)
    try:
        try:
            pid = _spawn(program, list(argv), environment, writer, inherit)
        except OSError as error:
            raise Internal("cannot run {}: {}".format(program, error.strerror)) from None
        finally:
            os.close(writer)
        status = None
        _awaited.add(pid)
        if isinstance(limit, _WhileAtWork):
            limit.pid = pid
        try:
            output = _read(reader, limit, output_limit_bytes, argv[0])
            status = _reap(pid, limit)
            if status is None:
                raise TimedOut("{} did not end within {:g} s".format(argv[0], seconds))
        except TimedOut as error:
            error.group = pid
            raise
        finally:
            if status is None:
                kill_group(pid)
                _reap(pid, _Deadline(_REAP_SECONDS))
            _awaited.discard(pid)
    finally:
        os.close(reader)
    return Result(argv, status, output)


def bounded(work: "Callable[[], bytes]", seconds: float) -> "Optional[bytes]":
    """What `work` returns, or None. The work runs in a child, so that a system call that hangs in
    the kernel (D state) hangs the child and not the callout. After `seconds` the child and all that
    it started are killed, not waited for, and None is returned.

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
    limit = _Deadline(seconds)
    try:
        return _read(reader, limit, sys.maxsize, "the callout") or None
    except TimedOut:
        kill_tree(pid)
        return None
    finally:
        os.close(reader)
        _reap(pid, _Deadline(_REAP_SECONDS))


def detached(
    work: "Callable[[], bytes]", keep: "Sequence[int]", seconds: float
) -> "Optional[bytes]":
    """What `work` returns, done in a process that is none of our descendants, and in no group or
    session of ours, so that it outlives us whatever ends us. None if it goes on after `seconds`;
    empty if it ended without an answer.

    keep: the descriptors that it has of ours; it has no others, since whoever reads what we print
    waits for the end of all who could write there."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _keep_only(*keep, writer)
                _tell(writer, work())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    try:
        return _read(reader, _Deadline(seconds), sys.maxsize, "the work")
    except TimedOut:
        return None
    finally:
        os.close(reader)


def _tell(writer: int, answer: bytes) -> None:
    try:
        while answer:
            answer = answer[os.write(writer, answer) :]
    except BrokenPipeError:
        return  # nobody waits any more


class Answer:
    """What came of one work of `side_by_side`. output: what the work gave. complete: whether the
    work ended by itself, and without an exception."""

    def __init__(self, output: bytes, complete: bool) -> None:
        self.output = output
        self.complete = complete


class _Child:
    """A process that does one work, and what it has given until now."""

    def __init__(self, pid: int, reader: int, deadline: float) -> None:
        self.pid = pid
        self.reader = reader
        self.deadline = deadline
        self.output = b""


def side_by_side(
    works: "Sequence[Callable[[], Iterator[bytes]]]", quiet_seconds: float, seconds: float
) -> "List[Answer]":
    """Does each work in a child of its own, all at the same time, so that one that hangs keeps no
    other. What a work yields is its output.

    A child is killed when nothing has come from it for `quiet_seconds`, and when `seconds` are
    over. A child that the kernel does not let die is not waited for. It has none of our
    descriptors, so that it holds no lock, and nobody waits for the end of its output."""
    end = time.monotonic() + seconds
    children = []
    for work in works:
        pid, reader = _start(work)
        children.append(_Child(pid, reader, min(end, time.monotonic() + quiet_seconds)))
    _gather(children, quiet_seconds, end)
    for child in children:
        if child.reader >= 0:
            os.close(child.reader)
            kill_tree(child.pid)
    reaped_by = _Deadline(_REAP_SECONDS)
    return [
        Answer(child.output, _reap(child.pid, reaped_by) == 0 and child.reader < 0)
        for child in children
    ]


def _gather(children: "List[_Child]", quiet_seconds: float, end: float) -> None:
    """Reads what the children give until each has closed its output, which sets its reader to -1,
    or has let its deadline pass."""
    poll = select.poll()
    open_ones = {child.reader: child for child in children}
    for reader in open_ones:
        poll.register(reader, select.POLLIN)
    while open_ones:
        now = time.monotonic()
        for reader in [reader for reader, child in open_ones.items() if child.deadline <= now]:
            poll.unregister(reader)
            del open_ones[reader]
        left = [child.deadline - now for child in open_ones.values()]
        for reader, _ in poll.poll(min(left) * 1000) if left else []:
            child = open_ones[reader]
            chunk = os.read(reader, 1 << 16)
            child.output += chunk
            child.deadline = min(end, time.monotonic() + quiet_seconds)
            if not chunk:
                poll.unregister(reader)
                del open_ones[reader]
                os.close(reader)
                child.reader = -1


def _start(work: "Callable[[], Iterator[bytes]]") -> "Tuple[int, int]":
    """The child that does the work, and the descriptor from which its output is read."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid != 0:
        os.close(writer)
        return pid, reader
    status = 1
    try:
        _keep_only(writer)
        for piece in work():
            while piece:
                piece = piece[os.write(writer, piece) :]
        status = 0
    finally:
        os._exit(status)


def _keep_only(*descriptors: int) -> None:
    """Closes all other descriptors; those of the standard streams lead nowhere then."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    for number in map(int, os.listdir("/proc/self/fd")):
        if number > 2 and number not in descriptors:
            try:
                os.close(number)
            except OSError:  # the one with which the directory was read
                continue


class Survivor:
    """A process that was killed and has not died. It waits in the kernel, for a dead disk for
    example."""

    def __init__(self, pid: int, began: str) -> None:
        self.pid = pid
        self._began = began

    def lives(self) -> bool:
        """Whether it is there still. Another process of the same number began at another time."""
        fields = _stat(self.pid)
        return bool(fields) and fields[_STATE] != "Z" and fields[_BEGAN] == self._began


def survivors(group: int) -> "List[Survivor]":
    """The processes of a killed process group that are alive."""
    found = []
    for pid in _processes():
        fields = _stat(pid)
        if fields and fields[_GROUP] == str(group) and fields[_STATE] != "Z":
            found.append(Survivor(pid, fields[_BEGAN]))
    return found


def reap_strays(ended_before: "Set[int]") -> "Set[int]":
    """Reaps the children that have ended and that nobody waits for. The first process of a
    container gets as its children all whose own parent has ended.

    ended_before: what the last call returned. A child is reaped when two calls have found it ended,
    because whoever has only just started it may not wait for it yet. Returns the children that have
    ended and were not reaped."""
    ended = set()
    for pid in _processes():
        fields = _stat(pid)
        if fields and fields[_STATE] == "Z" and fields[_PARENT] == str(os.getpid()):
            ended.add(pid)
    strays = (ended & ended_before) - _awaited
    for pid in strays:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # whoever had started it waited for it now
            continue
    return ended - strays


def _processes() -> "List[int]":
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> "List[str]":
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        with open("/proc/{}/stat".format(pid)) as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return []


def kill_tree(pid: int) -> None:
    """Kills the process and all that it has started."""
    os.kill(pid, signal.SIGSTOP)  # so that it starts nothing more
    for descendant in _descendants(pid) + [pid]:
        _kill(descendant)


def _descendants(pid: int) -> "List[int]":
    """The processes that `pid` started, and those that they did."""
    children: "Dict[int, List[int]]" = {}
    for process in _processes():
        fields = _stat(process)
        if fields:
            children.setdefault(int(fields[_PARENT]), []).append(process)
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
        if inherit or not hasattr(os, "posix_spawn"):
            return _fork(program, argv, environment, out, bool(inherit))
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


def _fork(
    program: str, argv: "List[str]", environment: "Dict[str, str]", out: int, is_alone: bool
) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            if is_alone:
                _hide_mounts()
        finally:
            _exec(program, argv, environment, out)
    return pid


def _hide_mounts() -> None:
    """In a child: moves it to a mount namespace of its own, in which the list of mounts is empty.
    Where that is not permitted, as in a container, the mounts of the node are not there."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        return
    # What is unmounted on the node is unmounted here too. Where the node's mounts are private, the
    # namespace would keep the volumes of pods mounted until the program ends.
    libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None)
    with open("/proc/self/mounts", "rb") as lines:
        paths = [line.split(b" ")[1] for line in lines if line.startswith(b"/dev/loop")]
    for path in paths:
        if b"/pods/" in path and b"/volumes/" in path:
            libc.umount2(path, _MNT_DETACH)
    for name in (b"mounts", b"mountinfo"):
        libc.mount(b"/dev/null", b"/proc/self/" + name, None, ctypes.c_ulong(_MS_BIND), None)


def _exec(program: str, argv: "List[str]", environment: "Dict[str, str]", out: int) -> "NoReturn":
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.execve(program, argv, environment)
    except OSError as error:
        os.write(2, "cannot run {}: {}".format(program, error.strerror).encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _read(reader: int, limit: _Deadline, limit_bytes: int, name: str) -> bytes:
    chunks: "List[bytes]" = []
    size = 0
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    while True:
        left = limit.left()
        if left <= 0:
            raise TimedOut(
                "{} did not end, or did not close its output, within {:g} s".format(
                    name, limit.seconds
                )
            )
        if not poll.poll(min(left, _LOOK_SECONDS) * 1000):
            continue
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            return b"".join(chunks)
        size += len(chunk)
        if size > limit_bytes:
            raise Internal(
                "{} printed more than {} bytes and was stopped; run it by hand to see why".format(
                    name, limit_bytes
                )
            )
        chunks.append(chunk)


def _reap(pid: int, limit: _Deadline) -> "Optional[int]":
    pause = 0.0005
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if limit.left() <= 0:
            return None
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
