"""Work that is done while the file system of a volume in use is frozen: all that its pods wrote is
then on the image, and no change is half done."""

import errno
import os
import select
import signal

from node.host import files, freezing
from shared.protocol import Busy, Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from node.host.descriptors import Descriptor

_FROZEN_SECONDS = 30  # pods wait for so long at most; to share blocks takes far less
# The messages of the child: first that the file system is frozen, or the number of the error with
# which the freeze failed; at the end whether the file system was frozen until then.
_MESSAGE_BYTES = 16
_IS_FROZEN = b"0"
_IN_TIME = b"in time"
_LATE = b"late"


def while_frozen(path: str, work: "Callable[[], bool]") -> bool:
    """Does the work while the file system at `path` is frozen, and returns what the work returns.

    A child freezes the file system. It thaws it when the work is done, when this process has ended
    in whatever way, or when the time is over. Raises PermissionError if this process may not
    freeze, and Busy if the file system is frozen by somebody else, was unmounted, or did not stay
    frozen."""
    with files.open_path(path, os.O_RDONLY | os.O_DIRECTORY) as root:
        _check_mounted(root, path)
        # So that others see who has frozen it. The child keeps the lock for as long as it does.
        root.try_lock()
        child = _Child(root)
        try:
            child.check_frozen(path)
            done = work()
        finally:
            is_in_time = child.end()
    if not is_in_time:
        raise Busy(
            "the file system at {} did not stay frozen: {} s are the most".format(
                path, _FROZEN_SECONDS
            )
        )
    return done


def _check_mounted(root: int, path: str) -> None:
    """Raises Busy if the volume was unmounted meanwhile: then the open directory is on the disk
    below, which must not be frozen."""
    above = os.stat(os.path.dirname(path))
    if os.fstat(root).st_dev == above.st_dev:
        raise Busy("the volume was unmounted from {} just now; try again".format(path))


class _Child:
    """The process that freezes the file system of the open directory `root`."""

    def __init__(self, root: "Descriptor") -> None:
        self._root = root
        orders, self._orders = os.pipe()
        self._messages, messages = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            try:
                os.close(self._orders)
                os.close(self._messages)
                _freeze_until(root, orders, messages)
            finally:
                os._exit(1)
        os.close(orders)
        os.close(messages)

    def check_frozen(self, path: str) -> None:
        """Waits until the file system is frozen. Raises if it cannot be."""
        message = os.read(self._messages, _MESSAGE_BYTES)
        if message != _IS_FROZEN:
            code = int(message.decode() or errno.EIO)
            raise _not_frozen(path, code)

    def end(self) -> bool:
        """Has the child thaw the file system and end. Returns whether the file system was frozen
        until now."""
        os.close(self._orders)
        message = os.read(self._messages, _MESSAGE_BYTES)
        os.close(self._messages)
        _, status = os.waitpid(self._process, 0)
        if status != 0:
            freezing.thaw(self._root)  # the child was killed
        return message == _IN_TIME


def _not_frozen(path: str, code: int) -> Exception:
    if code == errno.EPERM:
        return PermissionError(code, os.strerror(code))
    if code == errno.EBUSY:
        return Busy(
            "the file system at {0} is frozen by somebody else; unless a backup is at work on "
            "it, thaw it with: fsfreeze -u {0}".format(path)
        )
    return Internal("the file system at {} cannot be frozen: {}".format(path, os.strerror(code)))


def _freeze_until(root: int, orders: int, messages: int) -> None:
    """In the child: freezes until the parent closes the other end of `orders`, and writes its
    messages to `messages`. A signal that ends the parent does not end the child."""
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        freezing.freeze(root)
    except OSError as error:
        os.write(messages, str(error.errno).encode())
        os._exit(0)
    try:
        os.write(messages, _IS_FROZEN)
        ready, _, _ = select.select([orders], [], [], _FROZEN_SECONDS)
    finally:
        freezing.thaw(root)
    os.write(messages, _IN_TIME if ready else _LATE)
    os._exit(0)
