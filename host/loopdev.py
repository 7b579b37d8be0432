"""Loop devices by ioctl: found by the device and inode of what backs them, attached with a
descriptor we locked.

A path is never compared: the kernel cuts it, keeps it after a rename, and it looks alike in other
mount namespaces. Numbers and structures are those of include/uapi/linux/loop.h."""

import errno
import fcntl
import os
import struct
import time

from protocol import Internal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Optional, Tuple, Union

SECTOR_BYTES = 4096

_SET_FD, _CLR_FD, _SET_STATUS64, _GET_STATUS64 = 0x4C00, 0x4C01, 0x4C04, 0x4C05
_SET_CAPACITY, _SET_DIRECT_IO, _SET_BLOCK_SIZE, _CONFIGURE = 0x4C07, 0x4C08, 0x4C09, 0x4C0A
_ADD, _REMOVE, _GET_FREE = 0x4C80, 0x4C81, 0x4C82
_AUTOCLEAR, _DIRECT_IO = 4, 16
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")  # struct loop_info64
_CONFIG = struct.Struct("=II232s64x")  # struct loop_config
_ATTEMPTS = 64
_AGAIN_SECONDS = 2


class Loop:
    """An open loop device. path: /dev/loopN. descriptor: keeps it attached while it is open."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def __enter__(self) -> "Loop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.descriptor)

    def backing(self) -> "Optional[Tuple[int, int]]":
        """Device and inode number of the file behind it; None if it is not attached."""
        info = self._info()
        return None if info is None else (info[0], info[1])

    def clears_itself(self) -> bool:
        """Whether it goes away with its last user. One that does not was made by hand, or by a
        callout that an old kernel made us do in two steps and that was killed between them."""
        info = self._info()
        return info is not None and bool(info[8] & _AUTOCLEAR)

    def _info(self) -> "Optional[Tuple[int, ...]]":
        try:
            return _INFO.unpack(fcntl.ioctl(self.descriptor, _GET_STATUS64, bytes(_INFO.size)))
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise

    def set_clears_itself(self) -> None:
        fcntl.ioctl(self.descriptor, _SET_STATUS64, _INFO.pack(*_NEW_INFO))

    def follow_size(self) -> None:
        """Takes on the size its file has grown to."""
        fcntl.ioctl(self.descriptor, _SET_CAPACITY, 0)

    def is_mounted(self) -> bool:
        """Whether a file system on it is mounted, in whatever mount namespace: it opens the device
        for itself alone."""
        try:
            os.close(os.open(self.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
            return False
        except OSError as error:
            if error.errno == errno.EBUSY:
                return True
            raise

    def refuse_discard(self) -> None:
        """Makes it impossible to give blocks back through this device, for as long as the device
        exists."""
        with open(_limit(self.path, "discard_max_bytes"), "w") as file:
            file.write("0")


_NEW_INFO = (0, 0, 0, 0, 0, 0, 0, 0, _AUTOCLEAR | _DIRECT_IO, b"", b"", b"", 0, 0)


def find(image: int) -> "Optional[Loop]":
    """The open loop device on the file behind the descriptor `image`, or None."""
    status = os.fstat(image)
    wanted = (status.st_dev, status.st_ino)
    for path in attached():
        loop = _open(path)
        if loop is not None:
            if loop.backing() == wanted:
                return loop
            loop.close()
    return None


def attached() -> "Iterator[str]":
    """The paths of all loop devices that have a file."""
    for name in os.listdir("/sys/block"):
        if name.startswith("loop") and os.path.exists("/sys/block/{}/loop".format(name)):
            yield "/dev/" + name


def _open(path: str, access: int = os.O_RDWR) -> "Optional[Loop]":
    """None if it went away, or if this container does not have the machine's devices."""
    try:
        return Loop(path, os.open(path, access | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.EACCES, errno.EPERM):
            return None
        raise


def devices() -> "Iterator[Loop]":
    """Every attached loop device, to look at: udev probes one that is closed after it was open for
    writing."""
    for path in attached():
        loop = _open(path, os.O_RDONLY)
        if loop is not None:
            with loop:
                yield loop


def next_free() -> str:
    """The path of a device that no file is attached to; the kernel makes one if it has none. Raises
    OSError."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        return "/dev/loop{}".format(fcntl.ioctl(control, _GET_FREE))
    finally:
        os.close(control)


def attach(image: int) -> Loop:
    """Attaches the open and locked file `image`. The device keeps this very descriptor's open file,
    so the lock lives exactly as long as the device, whatever becomes of us."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            number = fcntl.ioctl(control, _GET_FREE)
            path = "/dev/loop{}".format(number)
            _renew(control, number, path)
            loop = _open(path)
            if loop is None:
                continue
            try:
                _configure(loop, image)
                return loop
            except OSError as error:
                loop.close()
                if error.errno != errno.EBUSY:  # EBUSY: someone else was faster
                    raise Internal(
                        "cannot attach the image to {}: {}".format(path, error.strerror)
                    ) from None
    finally:
        os.close(control)
    raise Internal(
        "no free loop device after {} attempts; see losetup -l and the max_loop limit".format(
            _ATTEMPTS
        )
    )


def _renew(control: int, number: int, path: str) -> None:
    """Since 6.9 the kernel keeps refuse_discard over the change of a device's file, and takes no
    other value after it; so the free device is removed and made anew."""
    try:
        with open(_limit(path, "discard_max_bytes")) as now, open(
            _limit(path, "discard_max_hw_bytes")
        ) as possible:
            if now.read() == possible.read():
                return
        fcntl.ioctl(control, _REMOVE, number)
        fcntl.ioctl(control, _ADD, number)
    except OSError as error:
        if error.errno not in (
            errno.ENOENT,
            errno.ENODEV,
            errno.EBUSY,
            errno.EEXIST,
        ):  # someone else was faster
            raise


def _limit(path: str, name: str) -> str:
    return "/sys/block/{}/queue/{}".format(os.path.basename(path), name)


def _configure(loop: Loop, image: int) -> None:
    info = _INFO.pack(*_NEW_INFO)
    try:
        _ioctl(loop, _CONFIGURE, _CONFIG.pack(image, SECTOR_BYTES, info))
        return
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.ENOTTY,
            errno.ENOSYS,
        ):  # a kernel before 5.8 does not know it
            raise
    fcntl.ioctl(loop.descriptor, _SET_FD, image)
    try:
        loop.set_clears_itself()
        _ioctl(loop, _SET_BLOCK_SIZE, SECTOR_BYTES)
        _direct_io(loop)
    except OSError:
        fcntl.ioctl(loop.descriptor, _CLR_FD)
        raise


def _ioctl(loop: Loop, request: int, argument: "Union[int, bytes]") -> None:
    """The kernel answers EAGAIN if somebody, udev for one, has read the device since it dropped
    what it had cached."""
    deadline = time.monotonic() + _AGAIN_SECONDS
    while True:
        try:
            fcntl.ioctl(loop.descriptor, request, argument)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)


def _direct_io(loop: Loop) -> None:
    """Where the pool's file system has no direct I/O the device works without, as LOOP_CONFIGURE
    does by itself."""
    try:
        fcntl.ioctl(loop.descriptor, _SET_DIRECT_IO, 1)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
