"""Runs one call of a driver as kubelet does, and keeps what can be seen of the call from outside.

kubelet gives a driver no input, one pipe for stdout and stderr, and kubelet's own environment and
directory; it waits for the end of the program and of the output (pkg/volume/flexvolume/
driver-call.go, and exec.Cmd.CombinedOutput of Go). The runner is the first process of a throw-away
root: it also gets the driver's orphans."""

import contextlib
import errno
import json
import os
import resource
import select
import signal
import time

from node.host import namespaces, tracing
from node.sanity import sandbox
from shared import caller
from shared.protocol import FAILURE, NOT_SUPPORTED, SUCCESS, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import (
        Any,
        Callable,
        Dict,
        Iterator,
        List,
        NoReturn,
        Optional,
        Sequence,
        Set,
        Tuple,
    )

    from shared.protocol import Reply

# What systemd gives kubelet, with a home and a language: checks of their own take these away.
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
# So long after the driver's end a child that still has the output open is believed to keep it.
_HELD_SECONDS = 5
_OUTPUT_LIMIT_BYTES = 4 << 20
_LOOK_SECONDS = 0.01
_NOT_STARTED = 127
# Of a process outside of the root, or of none.
_NO_NUMBER = 0
# Too few for the file of a crash; and for this number alone the kernel does not start the program
# that a machine may have for crashes, which would run outside of the root (fs/coredump.c).
_CORE_BYTES = 1
# How much of an output stands in a message.
_SHOWN_CHARACTERS = 300


class Surroundings:
    """What a call finds around itself; each attribute may be changed for one call.

    environment: all variables but the runner's. directory: the working directory. has_stdin:
    whether stdin is open, and empty. without: capabilities that the driver lacks, by the kernel's
    names without CAP_. is_traced: whether the programs that the driver executes are
    seen."""

    def __init__(self) -> None:
        self.environment = dict(ENVIRONMENT)
        self.directory = ""
        self.has_stdin = True
        self.without: "Tuple[str, ...]" = ()
        self.is_traced = False


class Call:
    """One call that has ended, or was given up.

    callout, words: the word and its arguments. status: the exit status, or minus the number of a
    signal; None if the driver did not end. output: stdout and stderr. seconds: from start to end.
    is_held: whether a child kept the output open behind the driver's end, so that kubelet would
    hang. done_by_kubelet: whether kubelet does the work itself, as the driver has no such call.
    executed: the programs that ran, if they were traced. passed_on: those of them that other
    processes than the driver's own executed. moments: "NAME began" and "NAME ended" for
    each program that a traced driver ran, in their order."""

    def __init__(self, callout: str, words: "Sequence[str]") -> None:
        self.callout = callout
        self.words = list(words)
        self.status: "Optional[int]" = None
        self.output = b""
        self.seconds = 0.0
        self.is_held = False
        self.executed: "List[List[str]]" = []
        self.passed_on: "List[List[str]]" = []
        self.moments: "List[str]" = []
        self.done_by_kubelet = False
        self.reply: "Optional[Reply]" = None
        self.failure: "Optional[Failure]" = None

    def read(self) -> None:
        """Reads the answer as kubelet does, which sets `reply` or `failure`."""
        try:
            status = 0 if self.status is None else self.status
            self.reply = caller.parse(self.callout, self.output, status)
        except Failure as failure:
            self.failure = failure

    @property
    def succeeded(self) -> bool:
        """Whether kubelet takes the call for a success."""
        return self.done_by_kubelet or (self.reply is not None and not self.hangs)

    @property
    def is_in_form(self) -> bool:
        """Whether the answer is one that kubelet can read, and that says what the driver means. The
        checks of answers.py name what is wrong with another one."""
        if self.hangs or isinstance(self.failure, caller.Garbled):
            return False
        if self.word() not in (SUCCESS, FAILURE, NOT_SUPPORTED):
            return False
        return self.word() != SUCCESS or self.reply is not None

    @property
    def hangs(self) -> bool:
        """Whether kubelet would still wait."""
        return self.status is None or self.is_held

    @property
    def is_unsupported(self) -> bool:
        """Whether the driver answered that it has no such call."""
        return not self.hangs and self.word() == NOT_SUPPORTED

    @property
    def is_proper_failure(self) -> bool:
        """Whether the driver said itself, in the form of the contract, that the call failed."""
        return not self.hangs and self.word() == FAILURE

    def document(self) -> "Optional[Dict[str, Any]]":
        """The one JSON object of the output; None if the output is anything else."""
        try:
            document = json.loads(self.output.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
        return document if isinstance(document, dict) else None

    def spoiled_document(self) -> "Optional[Dict[str, Any]]":
        """The JSON object of the output, also if other text stands before or behind the object, so
        that kubelet cannot read it."""
        text = self.output.decode("utf-8", "replace")
        begin = text.find("{")
        while begin >= 0:
            try:
                document, _ = json.JSONDecoder().raw_decode(text, begin)
            except (ValueError, RecursionError):
                begin = text.find("{", begin + 1)
                continue
            return document if isinstance(document, dict) else None
        return None

    def word(self) -> str:
        """The status word, whatever the case of its key; "" if there is none."""
        for key, value in (self.document() or {}).items():
            if key.lower() == "status" and isinstance(value, str):
                return value
        return ""

    def told(self) -> str:
        """The call and its outcome as words for a person."""
        begin = "{}: ".format(self.callout)
        if self.status is None:
            return begin + "did not end within {:.0f} s".format(self.seconds)
        if self.is_held:
            return begin + "the driver ended, but a child of it keeps stdout or stderr open"
        output = ascii(self.output.decode("utf-8", "replace").strip())
        if len(output) > _SHOWN_CHARACTERS:
            output = output[:_SHOWN_CHARACTERS] + "..."
        return begin + "status {}, output {}".format(self.status, output)


class Running:
    """A call that has begun."""

    def __init__(self, runner: "Runner", call: Call, pid: int, reader: int) -> None:
        self.call = call
        self.pid = pid
        self._runner = runner
        self._reader = reader
        self._began = time.monotonic()
        self._ended: "Optional[float]" = None
        self._is_open = True
        self._is_silent = True

    def finish(self) -> Call:
        """Waits for the end as kubelet does, but not for ever. Kills everything in the root if the
        driver does not end."""
        while not self.step():
            continue
        return self.call

    def step(self, seconds: float = _LOOK_SECONDS) -> bool:
        """Reads a little, and returns whether the call is over.

        seconds: how long to wait if nothing happens"""
        self._read(seconds)
        self._runner.reap()
        self._runner.on_step()
        self._note_end()
        now = time.monotonic()
        if self._ended is not None and not self._is_open:
            return self._close()
        if self._ended is not None and self._is_silent and now - self._ended > _HELD_SECONDS:
            self.call.is_held = True
            return self._close()
        if now - self._began > self._runner.seconds:
            self.call.seconds = now - self._began
            self.call.is_held = self._ended is not None
            self._runner.end_all()
            return self._close()
        return False

    def kill(self) -> None:
        """Kills the driver and all other processes of the root, as the restart of kubelet's control
        group does."""
        self._runner.end_all()
        self._note_end()
        self._close()

    def kill_after(self, seconds: float) -> None:
        """Kills the call so many seconds after its beginning, unless it ends before."""
        left = seconds
        while left > 0:
            if self.step(min(left, _LOOK_SECONDS)):
                return
            left = self._began + seconds - time.monotonic()
        self.kill()

    def kill_at(self, moment: str, number: int = 1) -> None:
        """Kills a traced call at a moment, unless the call ends before.

        moment: as of Call.moments. number: 1 for the first moment of that name"""
        self._runner.deadly_moment = (moment, number)
        while self.call.moments.count(moment) < number:
            if self.step():
                break
        else:
            self.kill()
        self._runner.deadly_moment = None

    @property
    def was_killed(self) -> bool:
        """Whether a kill has hit the driver: it had not ended before."""
        return self.call.status == -signal.SIGKILL

    def _note_end(self) -> None:
        """Takes note of the driver's end, if the driver has ended."""
        if self._ended is None and self.pid in self._runner.ended:
            self._ended = time.monotonic()
            self.call.status = self._runner.ended.pop(self.pid)
            self.call.seconds = self._ended - self._began

    def _close(self) -> bool:
        os.close(self._reader)
        self.call.read()
        return True

    def _read(self, seconds: float) -> None:
        readers = [self._reader] if self._is_open else []
        ready = self._runner.bell.wait(readers, seconds)
        self._is_silent = not ready
        if not ready:
            return
        chunk = os.read(self._reader, 1 << 16)
        if not chunk or len(self.call.output) > _OUTPUT_LIMIT_BYTES:
            self._is_open = False
        self.call.output += chunk


class _Bell:
    """Rings when a child has stopped or ended, so that whoever waits for output, too, need not look
    again and again."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def listen(self) -> None:
        """From now on this bell rings, and no other one."""
        signal.signal(signal.SIGCHLD, _go_on)
        signal.set_wakeup_fd(self._writer)

    def wait(self, readers: "List[int]", seconds: float) -> "List[int]":
        """Those of the readers that can be read; none if the bell rings, or after the seconds."""
        ready, _, _ = select.select([self._reader, *readers], [], [], seconds)
        if self._reader in ready:
            os.read(self._reader, 1 << 16)
        return [reader for reader in ready if reader != self._reader]


def _go_on(number: int, frame: "Any") -> None:
    """For a signal that only has to ring the bell."""


class Runner:
    """Runs calls of the driver in this root.

    executable: the driver's path. seconds: how long one call may take. calls: all calls so far.
    ended: statuses of processes that have ended, by number. variables: what each call has in its
    environment besides, as kubelet's service may set it. directory: the working directory of
    calls that are given none; "" for the driver's own. on_executed: called whenever a traced
    driver, which waits meanwhile, has executed a program. on_step: called again and again during a
    call. deadly_moment: the name and the number, as of kill_at, of the moment at which all
    processes of the driver are killed, if it is traced."""

    def __init__(self, executable: str, seconds: float) -> None:
        self.executable = executable
        self.seconds = seconds
        self.calls: "List[Call]" = []
        self.ended: "Dict[int, int]" = {}
        self.variables: "Dict[str, str]" = {}
        self.directory = ""
        self.on_executed: "Callable[[], None]" = _do_nothing
        self.on_step: "Callable[[], None]" = _do_nothing
        self.deadly_moment: "Optional[Tuple[str, int]]" = None
        self.bell = _Bell()
        self._pid = 0
        self._kept: "Set[int]" = set()
        self._kept_sessions: "Set[int]" = set()
        self._tracer = tracing.Tracer(self._note_executed, self._note_exiting)
        self._programs: "Dict[int, str]" = {}
        self._gate: "Optional[Tuple[int, int]]" = None

    def run(
        self, callout: str, words: "Sequence[str]", around: "Optional[Surroundings]" = None
    ) -> Call:
        """One call from its beginning to its end."""
        return self.start(callout, words, around).finish()

    def start(
        self, callout: str, words: "Sequence[str]", around: "Optional[Surroundings]" = None
    ) -> Running:
        """Begins a call."""
        call = Call(callout, words)
        self.calls.append(call)
        self.bell.listen()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._await_others()
            line = [self.executable, callout, *words]
            around = around or Surroundings()
            around.environment = dict(around.environment, **self.variables)
            _become(line, around, self.directory, writer)
        os.close(writer)
        self._pid = pid
        return Running(self, call, pid, reader)

    @contextlib.contextmanager
    def at_once(self) -> "Iterator[None]":
        """The calls that are started in this context begin when the context ends."""
        reader, writer = os.pipe()
        self._gate = (reader, writer)
        try:
            yield
        finally:
            self._gate = None
            os.close(writer)
            os.close(reader)

    def _await_others(self) -> None:
        """In a child: waits for the end of `at_once`, if there is one."""
        if self._gate is not None:
            reader, writer = self._gate
            os.close(writer)
            os.read(reader, 1)

    def reap(self) -> None:
        """Takes note of all processes that have ended, and lets traced ones go on."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | tracing.WAIT_ALL)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                self._tracer.go_on(pid, status)
            elif os.WIFSIGNALED(status):
                self.ended[pid] = -os.WTERMSIG(status)
            else:
                self.ended[pid] = os.WEXITSTATUS(status)

    def keep(self) -> None:
        """Takes the processes that are in the root now, and those that they start, for none of the
        driver's."""
        self._kept = set(self._others())
        self._kept_sessions = {_place(pid)[1] for pid in self._kept} - {_NO_NUMBER}

    def end_all(self, also_kept: bool = False) -> None:
        """Kills all processes of the driver, and waits for their end.

        also_kept: also those that were there before the driver, as the end of the node does"""
        if also_kept:
            self._kept = set()
            self._kept_sessions = set()
        deadline = time.monotonic() + self.seconds
        others = self._others()
        while others and time.monotonic() < deadline:
            self._kill(others)
            time.sleep(_LOOK_SECONDS)
            others = self._others()

    def left(self) -> "List[str]":
        """The command lines of the driver's processes that are in the root."""
        return [" ".join(_argv(pid)) or "process {}".format(pid) for pid in self._others()]

    def _others(self) -> "List[int]":
        """The processes of the root besides this one and the kept ones, when all that ended have
        been reaped."""
        self.reap()
        return self._listed()

    def _kill(self, pids: "List[int]") -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _listed(self) -> "List[int]":
        numbers = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        numbers -= self._kept | {os.getpid()}
        return sorted(pid for pid in numbers if not self._is_of_kept(pid))

    def _is_of_kept(self, pid: int) -> bool:
        """Whether a kept process has started this one, as a server does for a connection. Each call
        of the driver has a session of its own."""
        while pid not in (_NO_NUMBER, os.getpid()):
            if pid in self._kept:
                return True
            pid, session = _place(pid)
            if session in self._kept_sessions:
                return True
        return False

    def _note_executed(self, pid: int) -> None:
        argv = _argv(pid)
        is_driver = False
        if self.calls:
            is_driver = not self.calls[-1].executed
            self.calls[-1].executed.append(argv)
            if pid != self._pid:
                self.calls[-1].passed_on.append(argv)
        self.on_executed()
        if argv and not is_driver:
            self._programs[pid] = os.path.basename(argv[0])
            self._note_moment(self._programs[pid] + " began")

    def _note_exiting(self, pid: int) -> None:
        name = self._programs.pop(pid, None)
        if name is not None:
            self._note_moment(name + " ended")

    def _note_moment(self, name: str) -> None:
        if not self.calls:
            return
        moments = self.calls[-1].moments
        moments.append(name)
        if (name, moments.count(name)) == self.deadly_moment:
            # Without waiting: a process that stands at its own end goes on only when we return.
            self._kill(self._listed())


def _do_nothing() -> None:
    """Where nobody wants to be called."""


def _argv(pid: int) -> "List[str]":
    try:
        with open("/proc/{}/cmdline".format(pid), "rb") as file:
            line = file.read()
    except OSError:  # the process has ended
        return []
    return [os.fsdecode(word) for word in line.split(b"\0")[:-1]]


def _place(pid: int) -> "Tuple[int, int]":
    """The numbers of the process's parent and of its session; _NO_NUMBER if it has ended."""
    try:
        with open("/proc/{}/stat".format(pid), "rb") as file:
            # The name, which stands before, may have any characters.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return (_NO_NUMBER, _NO_NUMBER)
    return (int(fields[1]), int(fields[3]))


def _become(line: "List[str]", around: Surroundings, directory: str, writer: int) -> "NoReturn":
    """In a child: becomes the driver. Until then the child has the memory, the program and the
    files of the first process, and is as hidden as that one (namespaces.hide_process)."""
    try:
        os.setsid()
        _set_standard(around.has_stdin, writer)
        os.chdir(around.directory or directory or os.path.dirname(line[0]))
        resource.setrlimit(resource.RLIMIT_CORE, (_CORE_BYTES, _CORE_BYTES))
        most = sandbox.memory_bytes() // 2
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        namespaces.drop_capabilities(around.without)
        if around.is_traced:
            tracing.begin()
        os.execve(line[0], [os.fsencode(word) for word in line], around.environment)
    except OSError as error:
        os.write(2, _why_not(line[0], error).encode("utf-8", "replace"))
    finally:
        os._exit(_NOT_STARTED)


def _why_not(path: str, error: OSError) -> str:
    """Why an executable cannot be run, as words for a person."""
    words = "cannot run {}: {}".format(path, error.strerror)
    if error.filename not in (None, path) or error.errno not in (errno.ENOENT, errno.ENOEXEC):
        return words
    with open(path, "rb") as file:
        first_line = file.readline(_SHOWN_CHARACTERS).decode("utf-8", "replace").rstrip("\n")
    if error.errno == errno.ENOENT:
        return "{}: the program in the first line, {}, is missing".format(words, ascii(first_line))
    if first_line.startswith("\x7fELF"):
        return words + ": the program is for another kind of processor"
    return "{}: the first line is {}, and has to be #! and the path of an interpreter".format(
        words, ascii(first_line)
    )


def _set_standard(has_stdin: bool, writer: int) -> None:
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    if has_stdin:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    else:
        os.close(0)
