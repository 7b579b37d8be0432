"""A disk that takes requests and never answers: who waits for it cannot be killed.

It is a FUSE file system whose server reads each request and does nothing. A process waits for such
a request until it is answered, or until the server is gone, whatever signal comes
(fs/fuse/dev.c, request_wait_answer)."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from pathlib import Path

_INIT = 26
_REQUEST = struct.Struct("<IIQ")  # of its header: length, opcode, number
_ANSWER = struct.Struct("<IiQ")  # its header: length, error, number
_INIT_ANSWER = struct.Struct("<IIIIHHIIHHI28x")
_VERSION = (7, 31)
_WRITE_BYTES = 1 << 16
_BUFFER_BYTES = 1 << 18
_MNT_DETACH = 2


class DeadDisk:
    """Mounted at `path`, a directory of a test's own, until it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._server = os.open("/dev/fuse", os.O_RDWR)
        self._libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self._server},rootmode=40000,user_id=0,group_id=0"
        done = self._libc.mount(b"dead", bytes(path), b"fuse", 0, options.encode())
        assert done == 0, os.strerror(ctypes.get_errno())
        self._serve_once()
        self._gone = threading.Event()
        self._reader = threading.Thread(target=self._swallow, daemon=True)
        self._reader.start()

    def _serve_once(self) -> None:
        """The kernel's first request, after which it sends others."""
        _, opcode, number = _REQUEST.unpack_from(os.read(self._server, _BUFFER_BYTES))
        assert opcode == _INIT
        answer = _INIT_ANSWER.pack(*_VERSION, 0, 0, 16, 12, _WRITE_BYTES, 1, 0, 0, 0)
        os.write(
            self._server,
            _ANSWER.pack(_ANSWER.size + len(answer), 0, number) + answer,
        )

    def _swallow(self) -> None:
        while not self._gone.wait(0.02):
            while select.select([self._server], [], [], 0)[0]:
                os.read(self._server, _BUFFER_BYTES)

    def go(self) -> None:
        """Whoever waits gets an error now, and so does whoever comes after that."""
        self._gone.set()
        self._reader.join()
        if self._server >= 0:
            os.close(self._server)
            self._server = -1

    def close(self) -> None:
        self.go()
        done = self._libc.umount2(bytes(self.path), _MNT_DETACH)
        assert done == 0, os.strerror(ctypes.get_errno())
