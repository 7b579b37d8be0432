"""A program that runs in a pod, as `kubectl exec` runs one: its input, its output and its end.
cluster.py opens the stream to the program."""

from __future__ import annotations

import contextlib
import json
import select
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import websocket

from cluster.controller.api_errors import Refused, Unreachable

# What is raised while a stream is read or written.
BROKEN = (websocket.WebSocketException, OSError, ValueError)
# The channels of the stream (k8s.io/kubelet, pkg/cri/streaming/remotecommand/websocket.go).
_STDOUT = 1
_STDERR = 2
_ENDING = 3
# A program that prints more than this is given up. A list of ten thousand volumes has about 4 MB.
_PRINTED_BYTES = 64 << 20
_CLOSE = websocket.ABNF.OPCODE_CLOSE


class Program:
    """One program that was started, for one `run`."""

    def __init__(self, stream: Any, take: Callable[[bytes], None] | None) -> None:
        """stream: the client's, from which nothing was read yet.

        take: what is done with what the program prints, as it comes; None to keep it."""
        self._printed = bytearray()
        self._errors = bytearray()
        self._ending = bytearray()
        self._channels: dict[int, Callable[[bytes], None]] = {
            _STDOUT: take or self._printed.extend,
            _STDERR: self._errors.extend,
            _ENDING: self._ending.extend,
        }
        self._stream = stream
        # The client's own loop polls the connection, and does not see what TLS has read already.
        self._connection = stream.sock

    def run(self, feed: Iterable[bytes], silence_seconds: float) -> None:
        """Feeds the program and reads what it prints until it ends.

        silence_seconds: how long neither side may say anything.
        :raises BROKEN: if the connection breaks or the program prints too much."""
        with contextlib.ExitStack() as after:
            after.callback(self._connection.shutdown)
            self._connection.settimeout(silence_seconds)
            if self._feed(feed):
                self._read_to_end()

    def _feed(self, feed: Iterable[bytes]) -> bool:
        """Returns whether the program still runs when it was fed everything."""
        for piece in feed:
            self._stream.write_stdin(piece)
            while self._has_news():
                if not self._receive():
                    return False  # The program has ended; its ending says why.
        return True

    def _read_to_end(self) -> None:
        while self._receive():
            if len(self._printed) + len(self._errors) > _PRINTED_BYTES:
                raise ValueError(f"it printed more than {_PRINTED_BYTES} bytes")

    def _has_news(self) -> bool:
        """Whether something can be read at once."""
        connection = self._connection.sock
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True
        readable, _, _ = select.select([connection], [], [], 0)
        return bool(readable)

    def _receive(self) -> bool:
        """Gives one frame to the channel that it is for. Returns False after the last one."""
        kind, frame = self._connection.recv_data_frame()
        if kind == _CLOSE:
            return False
        if frame.data:
            channel = frame.data[0]
            self._channels.get(channel, len)(frame.data[1:])
        return True

    def ended(self, request: str) -> tuple[int, bytes, str]:
        """The exit status, what was printed and not taken, and the errors. Raises as exit_status.

        request: as exit_status has it."""
        status = exit_status(bytes(self._ending), request)
        return status, bytes(self._printed), self._errors.decode(errors="replace")


def exit_status(ending: bytes, request: str) -> int:
    """The exit status of a program, from what the API server says at its end.

    request: what was asked, with which the message of an error begins.
    :raises Refused: if the program was never started.
    :raises Unreachable: if the connection ended before the program."""
    try:
        end = json.loads(ending)
        if end["status"] == "Success":
            return 0
        details = end.get("details") or {}
        causes = {
            cause.get("reason"): cause.get("message") for cause in details.get("causes") or []
        }
        if "ExitCode" in causes:
            return int(causes["ExitCode"])
        refused = Refused(int(end.get("code", 500)), f"{request}: {end['message']}")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unreachable(f"{request}: the connection ended before the program did") from None
    raise refused
