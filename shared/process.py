"""Runs one program within a time limit and a bound on its output, and leaves nothing of it behind.

Nothing here goes through a shell. Every program runs in a process group of its own, which is killed
as a whole, so that no grandchild survives. Importing subprocess costs a callout 12 ms, so the
program is started with posix_spawn (with fork on Python older than 3.8, where a callout is the only
user and has one thread)."""

import _signal as signal  # what the module signal wraps; that one imports enum, 2 ms
import os

from shared import process_table
from shared.deadlines import REAP_SECONDS, Deadline, TimedOut, WhileAtWork, read_output, reap
from shared.protocol import Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Mapping, NoReturn, Optional, Sequence

# No tool of ours prints as much unless it goes round in circles.
_OUTPUT_LIMIT_BYTES = 1 << 20
# How much of a failed program's output a message has.
_WORDS_CHARACTERS = 400
# Tools live in sbin directories, which a kubelet's PATH may lack.
_MORE_DIRECTORIES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
# As a shell has it of a program that cannot be started.
_NOT_STARTED = 127
# Of include/uapi/linux/sched.h and mount.h.
_CLONE_NEWNS = 0x20000
_MS_BIND = 4096
_MS_REC = 0x4000
_MS_SLAVE = 1 << 19
_MNT_DETACH = 2


class Result:
    """What became of a program. argv: its command line. status: its exit status, or minus the
    number of the signal that ended the program. output: stdout, with stderr merged into it in the
    order it was written, as kubelet reads a driver."""

    def __init__(self, argv: "Sequence[str]", status: int, output: bytes) -> None:
        self.argv = argv
        self.status = status
        self.output = output

    @property
    def text(self) -> str:
        """The output as one line, for a message."""
        return " ".join(self.output.decode("utf-8", "replace").split())

    def check(self, *good: int) -> "Result":
        """Returns itself if the exit status is 0 or in `good`. Raises Internal with the program's
        own words otherwise."""
        if self.status != 0 and self.status not in good:
            words = self.text[-_WORDS_CHARACTERS:]
            raise Internal("{} failed with status {}: {}".format(self.argv[0], self.status, words))
        return self


def run(
    argv: "Sequence[str]",
    seconds: float,
    inherit: "Sequence[int]" = (),
    environment: "Optional[Dict[str, str]]" = None,
    output_limit_bytes: int = _OUTPUT_LIMIT_BYTES,
    while_at_work: bool = False,
) -> Result:
    """Runs `argv` (a name is looked up on PATH) and waits for the end of the program and for the
    end of its output.

    seconds: how long the program may take; with while_at_work, how long it may make no progress.
    inherit: descriptors that the program gets beside the standard ones: a lock that must be held as
    long as it lives. Such a program works on a volume, and is shown no mounts: e2fsck and mkfs ask
    each mounted loop device for its file, xfs_repair each mount for its root, and a dead server of
    another volume would keep them for ever. That nobody has the volume mounted is made sure of by
    the volume's locks. environment: all of it; by default ours, with LC_ALL=C so that messages can
    be read.

    Raises TimedOut when the time is over, Internal if the program cannot be started or prints more
    than the limit. Its process group is dead then, except for a process that the kernel will not
    let die, which is not waited for."""
    if environment is None:
        environment = dict(os.environ, LC_ALL="C")
    program = find(argv[0], environment)
    reader, writer = os.pipe()
    try:
        try:
            pid = _spawn(program, list(argv), environment, writer, inherit)
        except OSError as error:
            raise Internal("cannot run {}: {}".format(program, error.strerror)) from None
        finally:
            os.close(writer)
        process_table.awaited.add(pid)
        try:
            limit = WhileAtWork(seconds, pid) if while_at_work else Deadline(seconds)
            return _finish(argv, pid, reader, limit, output_limit_bytes)
        finally:
            process_table.awaited.discard(pid)
    finally:
        os.close(reader)


def _finish(
    argv: "Sequence[str]", pid: int, reader: int, deadline: Deadline, output_limit_bytes: int
) -> Result:
    """The result of the program that runs as `pid`. The program is killed unless it ends."""
    name = argv[0]
    status = None
    try:
        output = read_output(reader, deadline, output_limit_bytes, name)
        status = reap(pid, deadline)
        if status is None:
            raise TimedOut("{} did not end within {:g} s".format(name, deadline.seconds))
        return Result(argv, status, output)
    except TimedOut as error:
        raise TimedOut(error.message, pid) from None
    finally:
        if status is None:
            process_table.kill_group(pid)
            reap(pid, Deadline(REAP_SECONDS))


def find(name: str, environment: "Mapping[str, str]" = os.environ) -> str:
    """The path of the program called `name`. Raises Internal if this node does not have the
    program."""
    if "/" in name:
        return name
    directories = environment.get("PATH", os.defpath).split(":")
    for directory in (*directories, *_MORE_DIRECTORIES):
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
        for descriptor, was_inheritable in before:
            os.set_inheritable(descriptor, was_inheritable)


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
    """In a child: moves the child to a mount namespace of its own, in which the list of mounts is
    empty. Where that is not permitted, as in a container, the mounts of the node are not there."""
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
        words = "cannot run {}: {}".format(program, error.strerror)
        os.write(2, words.encode("utf-8", "replace"))
    finally:
        os._exit(_NOT_STARTED)
