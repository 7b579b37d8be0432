"""The way from a driver's name and the words of a callout to the driver's answer.

flexvol.py prints that answer for kubelet and the provisioner. Commands that make a callout
themselves call `answer`; those that ask more of a driver call `load`."""

import os
import time

from node.host import log  # early: an update may replace the file we are running from at any time
from shared import children
from shared.options import Options, parse_arguments
from shared.protocol import (
    CALLOUTS,
    FAILURE,
    FAILURES,
    Failure,
    Internal,
    InvalidArgument,
    NotSupported,
    is_name,
    naming,
    shown,
    system_failure,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType, TracebackType
    from typing import Any, Dict, List, Optional

    from node.drivers import Driver

# `build.sh build --driver FILE` writes the name of the driver in FILE into this line.
DEFAULT_DRIVER = "loop"
# Kept of a callout's time limit, to kill a callout that hangs and to answer in its place.
_ANSWER_SECONDS = 5


def driver_name(called: str) -> str:
    """Returns the driver that a program is called by; the default driver for any other name.

    :param called: the program's name or path, as argv[0] has it."""
    name = os.path.basename(called)
    if name.isidentifier() and _has_module(name):
        return name
    return DEFAULT_DRIVER


def load(name: str) -> "Driver":
    """Returns the driver that node/drivers/NAME defines.

    :raises InvalidArgument: if this file has no driver of that name
    :raises Internal: if the module of that name defines no subclass of Driver"""
    from node.drivers import Driver

    module = _module(name)
    if module is None:
        raise InvalidArgument(
            "this file has no driver {}; its own is {}".format(shown(name), DEFAULT_DRIVER)
        )
    for member in vars(module).values():
        if not isinstance(member, type) or not issubclass(member, Driver):
            continue
        if member.__module__ == module.__name__:
            return member()
    raise Internal(
        "node.drivers.{} holds no subclass of Driver; write one, "
        "as in examples/directory.py".format(name)
    )


def _has_module(name: str) -> bool:
    """Whether this file has a module of that name. One that cannot be imported counts: `answer`
    tells what is wrong with it."""
    try:
        return _module(name) is not None
    except BaseException:
        return True


def _module(name: str) -> "Optional[ModuleType]":
    """The module node.drivers.NAME; None if this file has none."""
    path = "node.drivers." + name
    try:
        return __import__(path, fromlist=["Driver"])
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        return None


def bounded_answer(driver: str, callout: str, arguments: "List[str]", out: int) -> bytes:
    """Runs one callout in a child and returns the line to print, within the callout's time limit.

    :param callout: a word of CALLOUTS
    :param out: the descriptor that the line is going to be written to. The child closes its copy:
        kubelet reads to the end, and a child that the kernel does not let die would keep it open"""

    def work() -> bytes:
        os.close(out)
        return to_line(answer(driver, callout, arguments))

    seconds = CALLOUTS[callout].seconds - _ANSWER_SECONDS
    line = children.bounded(work, seconds)
    if line is not None:
        return line
    failure = Internal(
        "{} was killed or did not end within {} s; see whether the pool's disk hangs".format(
            callout, seconds
        )
    )
    reply = failure.to_dict()
    # Other callouts have the volume's name in their options, which may hold secrets.
    subject = "".join(arguments[:1]) if callout == "unmount" else ""
    log.write(driver, callout, subject, reply, seconds)
    return to_line(reply)


def answer(driver: str, callout: str, arguments: "List[str]") -> "Dict[str, Any]":
    """Runs one callout, logs its outcome and returns the object to print, whatever happens.

    :param driver: the driver's name
    :param arguments: the words behind the callout's name"""
    began = time.monotonic()
    parsed: "Dict[str, Any]" = {}
    try:
        parsed = parse_arguments(callout, arguments)
        reply: "Dict[str, Any]" = getattr(load(driver), callout)(**parsed).to_dict()
    except Failure as failure:
        reply = _Subject(callout, parsed).name_in(failure).to_dict()
    except OSError as error:
        reply = system_failure(error, _Subject(callout, parsed).begin()).to_dict()
    except BaseException as error:
        reply = Internal(_bug(error)).to_dict()
    if callout != "init" or reply["status"] == FAILURE:
        subject = _Subject(callout, parsed).in_log()
        log.write(driver, callout, subject, reply, time.monotonic() - began)
    return reply


def to_line(reply: "Dict[str, Any]") -> bytes:
    """The object as kubelet reads it: one line of JSON."""
    import json

    return (json.dumps(reply) + "\n").encode("ascii")


class _Subject:
    """What one callout works on, as its failure and its line in the log name it."""

    def __init__(self, callout: str, arguments: "Dict[str, Any]") -> None:
        """
        :param arguments: as parse_arguments returns them; none if it refused them"""
        options = arguments.get("options")
        self._callout = callout
        self._options = options if isinstance(options, Options) else None
        self._directory: str = arguments.get("mount_dir") or arguments.get("device_dir") or ""
        self._detached: str = arguments.get("volume") or ""
        self._node = " node " + arguments["node"] if "node" in arguments else ""

    def name_in(self, failure: Failure) -> Failure:
        """Returns the failure, whose message names the volume, pool or directory: an event and a
        log line are read where nobody sees the callout's arguments."""
        name = self._volume() or self._directory
        if not name or isinstance(failure, NotSupported):
            return failure
        if failure.message.startswith("pool "):
            return failure
        message = naming(self.begin(), name, failure.message)
        if message == failure.message:
            return failure
        # A subclass of a failure may take other arguments, so its reason tells what to raise.
        return FAILURES[failure.reason](message)

    def begin(self) -> str:
        """The words that a sentence about a failure begins with."""
        volume = self._volume()
        if volume and self._options is not None:
            pool = self._options.own.get("pool", "")
            return "volume {}{}".format(volume, " in pool " + pool if is_name(pool) else "")
        if self._directory:
            return "{} {}".format(self._callout, self._directory)
        return self._callout

    def in_log(self) -> str:
        """The words for the log: the volume and the pod or node, or the directory."""
        if self._options is None:
            return (self._directory or self._detached) + self._node
        try:
            volume = self._options.volume
            pod = self._options.pod
        except Failure:
            return ""
        if pod is None:
            return volume + self._node
        return "{}{} pod {}/{}".format(volume, self._node, pod.namespace, pod.name)

    def _volume(self) -> str:
        """The volume's name; "" if the callout is about no volume, or the name is not allowed."""
        if self._options is None:
            return ""
        try:
            return self._options.volume
        except Failure:
            return ""


def _bug(error: BaseException) -> str:
    """Type and place of an error nobody expected. The text of the error is left out, because it may
    hold secrets."""
    trace = _innermost(error.__traceback__)
    place = "?"
    if trace is not None:
        file = os.path.basename(trace.tb_frame.f_code.co_filename)
        place = "{}:{}".format(file, trace.tb_lineno)
    return "bug in the driver: {} at {}".format(type(error).__name__, place)


def _innermost(trace: "Optional[TracebackType]") -> "Optional[TracebackType]":
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace
