"""Loop devices by ioctl: found by the device and inode of what backs them, attached with a
descriptor we locked.

The inode decides. Only devices that can be on the file are asked for their inode: the kernel
answers from the file's own disk or server, and hangs where that hangs. Which devices cannot be on
the file is known from sysfs, where the path of the file stands as a text. Numbers and structures
are those of include/uapi/linux/loop.h."""

import errno
import fcntl
import os
import stat
import struct
import time

from node.host import config, copy_on_write, files
from shared import children
from shared.protocol import Internal, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterator, List, Optional, Tuple, Union

    from node.host.descriptors import Descriptor

SECTOR_BYTES = 4096

# Of include/uapi/linux/loop.h.
_SET_FD = 0x4C00
_CLR_FD = 0x4C01
_SET_STATUS64 = 0x4C04
_GET_STATUS64 = 0x4C05
_SET_CAPACITY = 0x4C07
_SET_DIRECT_IO = 0x4C08
_SET_BLOCK_SIZE = 0x4C09
_CONFIGURE = 0x4C0A
_ADD = 0x4C80
_REMOVE = 0x4C81
_GET_FREE = 0x4C82
_AUTOCLEAR = 4
_DIRECT_IO = 16
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")  # struct loop_info64
_CONFIG = struct.Struct("=II232s64x")  # struct loop_config
_CONTROL = "/dev/loop-control"
# Others who attach at the same moment are faster a few times in a row, not so many times.
_ATTEMPTS = 64
# For so long others may read a device that is being configured.
_AGAIN_SECONDS = 2
_AGAIN_PAUSE_SECONDS = 0.01
# A disk that is only busy answers a stat within this time.
_ANSWER_SECONDS = 2
_DELETED = " (deleted)"
# Why a device cannot be opened: the device went away, or is not in this container.
_NOT_HERE = (errno.ENOENT, errno.ENXIO, errno.EACCES, errno.EPERM, errno.EROFS)
# Why a free device cannot be opened: this /dev has no node for the device, or we may not use it.
_NOT_USABLE = (errno.ENOENT, errno.EPERM, errno.EACCES, errno.EROFS)
# Somebody else has removed, made or opened the free device meanwhile.
_OTHERS_WERE_FASTER = (errno.ENOENT, errno.ENODEV, errno.EBUSY, errno.EEXIST)
# What a kernel before 5.8 answers to LOOP_CONFIGURE.
_NO_CONFIGURE = (errno.EINVAL, errno.ENOTTY, errno.ENOSYS)


class Loop:
    """An open loop device. path: /dev/loopN. descriptor: keeps the device attached while it is
    open."""

    def __init__(self, path: str, descriptor: "Descriptor") -> None:
        self.path = path
        self.descriptor = descriptor

    def __enter__(self) -> "Loop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the device, which goes away if nobody else has it open or mounted."""
        self.descriptor.close()

    def backing(self) -> "Optional[Tuple[int, int]]":
        """Device and inode number of the file behind the device; None if there is no file."""
        info = self._info()
        if info is None:
            return None
        return info[0], info[1]

    def clears_itself(self) -> bool:
        """Whether the device goes away with its last user. A device that does not was made by hand,
        or by a callout that an old kernel made us do in two steps and that was killed between
        them."""
        info = self._info()
        return info is not None and bool(info[8] & _AUTOCLEAR)

    def _info(self) -> "Optional[Tuple[int, ...]]":
        try:
            answer = fcntl.ioctl(self.descriptor, _GET_STATUS64, bytes(_INFO.size))
            return _INFO.unpack(answer)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise

    def set_clears_itself(self) -> None:
        """Makes the device go away with its last user."""
        fcntl.ioctl(self.descriptor, _SET_STATUS64, _new_info(_AUTOCLEAR))

    def follow_size(self) -> None:
        """Takes on the size that the file behind the device has grown to."""
        fcntl.ioctl(self.descriptor, _SET_CAPACITY, 0)

    def is_mounted(self) -> bool:
        """Whether a file system on the device is mounted, in whatever mount namespace."""
        return is_taken(self.path)

    def detach(self) -> None:
        """Takes the file away from the device, at once or with the last user of the device."""
        fcntl.ioctl(self.descriptor, _CLR_FD)

    def refuse_discard(self) -> None:
        """Makes it impossible to give blocks back through this device, for as long as the device
        exists."""
        with open(_limit(self.path, "discard_max_bytes"), "w") as file:
            file.write("0")


def _new_info(flags: int) -> bytes:
    return _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, b"", b"", b"", 0, 0)


def find(image: int, path: str) -> "Optional[Loop]":
    """The loop device on the image of a volume; None if there is no such device.

    image: the image, open for reading. path: of the image."""
    return next(of_image(image, path, backing_paths()), None)


def open_existing(device: str) -> "Optional[Loop]":
    """The loop device of that path; None if the device, or its node, is not here."""
    return _open(device)


def backing_paths() -> "Dict[str, Optional[str]]":
    """The backing path of each loop device that has a file, as `backing_path` gives it."""
    return {device: backing_path(device) for device in attached()}


def of_image(image: int, path: str, by_path: "Dict[str, Optional[str]]") -> "Iterator[Loop]":
    """All loop devices that `find` could give, of those in `by_path`."""
    status = os.fstat(image)
    wanted = (status.st_dev, status.st_ino)
    sure = []
    doubtful = []
    for device, backing in by_path.items():
        if backing == path:
            sure.append(device)
        elif _may_be(backing, path):
            doubtful.append(device)
    for device in sure + _answering(doubtful):
        loop = _open(device, os.O_RDONLY)  # udev probes a device that was open for writing
        if loop is None:
            continue
        if loop.backing() == wanted:
            yield loop
        else:
            loop.close()


def attached() -> "List[str]":
    """The paths of all loop devices that have a file."""
    names = [name for name in os.listdir("/sys/block") if name.startswith("loop")]
    return ["/dev/" + name for name in names if os.path.exists(_in_sysfs(name, "loop"))]


def backing_path(device: str) -> "Optional[str]":
    """The path of the file behind the device /dev/loopN, as the kernel writes the path from memory:
    as this process's root has it, or from the root of another mount namespace; "" if no file is
    there (any more); None if the path is too long to be written."""
    try:
        with open(_in_sysfs(device, "loop/backing_file"), "rb") as file:
            path = os.fsdecode(file.read().rstrip(b"\n"))
    except OSError as error:
        return None if error.errno == errno.ENAMETOOLONG else ""
    # The kernel also calls a file deleted of which it has dropped the name, as on NFS and FUSE.
    if path.endswith(_DELETED):
        return path[: -len(_DELETED)]
    return path


def is_taken(device: str) -> bool:
    """Whether the kernel has a file system on the device, which it opens for itself alone."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        return False
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise


def is_on_image(device: str) -> bool:
    """Whether the device is a loop device on the image of a volume, as far as the kernel tells: a
    device that goes away at this moment has nothing behind it, and a container may not see the
    machine's devices. An image that was renamed is still in its pool; the path of an image whose
    disk was unmounted here begins at that disk."""
    if not device.startswith("/dev/loop") or not device[9:].isdecimal():
        return False
    backing = backing_path(device)
    if not backing or backing.startswith(config.ROOT + "/"):
        return True
    return backing.endswith("/image")


def _may_be(backing: "Optional[str]", path: str) -> bool:
    """Whether a device with the backing path can be on the volume's image at `path`, though the two
    differ. A mount namespace may have the pool in another directory. Where a mount namespace has
    the pool in our directory, the volume's directory and the image still have the same names."""
    if backing is None:
        return True
    directory, name = os.path.split(backing)
    if name != os.path.basename(path):
        return name != "" and _is_bound_image(backing)
    if os.path.basename(directory) == os.path.basename(os.path.dirname(path)):
        return True
    return not backing.startswith(config.ROOT + "/")  # that is another volume of this node


def named_like(path: str) -> str:
    """The device whose file is an image of the volume of that name, in whatever mount namespace; ""
    if there is no such device. path: of the image."""
    wanted = _last_two(path)
    for device, backing in backing_paths().items():
        if backing and _last_two(backing) == wanted:
            return device
    return ""


def _last_two(path: str) -> "Tuple[str, str]":
    """The volume's directory and the image's name."""
    directory, name = os.path.split(path)
    return os.path.basename(directory), name


def _is_bound_image(path: str) -> bool:
    """Whether the file at `path` is an image that was bound there, under another name."""
    wanted = os.fsencode(path)
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            fields = line.split(b" ", 5)
            if fields[4] == wanted and os.path.basename(fields[3]) == b"image":
                return True
    return False


def _answering(devices: "List[str]") -> "List[str]":
    """The devices whose file answers. A child asks each device, since the file may be another
    pool's, whose server is dead. A file that does not answer is not the volume's image, which has
    just answered."""
    if not devices:
        return []
    works = [_question(device) for device in devices]
    answers = children.side_by_side(works, _ANSWER_SECONDS, _ANSWER_SECONDS)
    return [device for device, answer in zip(devices, answers) if answer.output]


def _question(device: str) -> "Callable[[], Iterator[bytes]]":
    def ask() -> "Iterator[bytes]":
        loop = _open(device, os.O_RDONLY)
        if loop is not None and loop.backing() is not None:
            yield b"answers"

    return ask


def _open(path: str, access: int = os.O_RDWR) -> "Optional[Loop]":
    """None if the device went away, or if this container does not have the machine's devices."""
    try:
        return _open_node(path, access)
    except Unavailable:  # what has its name in this /dev is something else
        return None
    except OSError as error:
        if error.errno in _NOT_HERE:
            return None
        raise


def _open_node(path: str, access: int) -> Loop:
    """Opens the device, whose node is made where /dev is a copy of the machine's: the kernel puts
    the node of a new device into its own /dev only. Raises OSError."""
    number = _number(path)
    try:
        node = files.open_path(path, access)
    except FileNotFoundError:
        if number is None or not os.path.exists(_CONTROL):
            raise  # no loop devices are meant to be used here
        _make_node(path, number)
        node = files.open_path(path, access)
    with node:
        status = os.fstat(node)
        is_device = stat.S_ISBLK(status.st_mode) and status.st_rdev == number
        if number is not None and not is_device:
            raise Unavailable(
                "{0} is not the device that the kernel has by that name; /dev is a copy: replace "
                "it, rm {0} && {1}".format(path, _mknod(path, number))
            )
        return Loop(path, node.kept_open())


def _number(path: str) -> "Optional[int]":
    """The device number that the kernel gave the device; None if the kernel has no such device, or
    no /sys is here."""
    try:
        with open(_in_sysfs(path, "dev")) as file:
            major, minor = file.read().split(":")
    except FileNotFoundError:
        return None
    return os.makedev(int(major), int(minor))


def _make_node(path: str, number: int) -> None:
    try:
        os.mknod(path, stat.S_IFBLK | 0o660, number)
    except FileExistsError:  # another callout made it at the same moment
        return


def _mknod(path: str, number: int) -> str:
    """The command that makes the node."""
    return "mknod -m 660 {} b {} {}".format(path, os.major(number), os.minor(number))


def can_make_node() -> bool:
    """Whether a node that is missing in /dev is made when its device is used."""
    return os.path.exists(_CONTROL) and os.access("/dev", os.W_OK)


def next_free() -> str:
    """The path of a device that no file is attached to; the kernel makes a device if all have
    files. Raises OSError."""
    with files.open_path(_CONTROL, os.O_RDWR) as control:
        return "/dev/loop{}".format(fcntl.ioctl(control, _GET_FREE))


def attach(image: int) -> Loop:
    """Attaches the open and locked file `image`. The device keeps this very descriptor's open file,
    so the lock lives exactly as long as the device, whatever becomes of us."""
    with files.open_path(_CONTROL, os.O_RDWR) as control:
        for _ in range(_ATTEMPTS):
            loop = _attach_free(control, image)
            if loop is not None:
                return loop
    raise Internal(
        "no free loop device after {} attempts; see losetup -l and the max_loop limit".format(
            _ATTEMPTS
        )
    )


def _attach_free(control: int, image: int) -> "Optional[Loop]":
    """Attaches the file to the next free device; None if somebody else was faster."""
    number = fcntl.ioctl(control, _GET_FREE)
    path = "/dev/loop{}".format(number)
    _renew(control, number, path)
    loop = _open_free(path)
    if loop is None:
        return None
    try:
        _configure(loop, image)
        return loop
    except OSError as error:
        loop.close()
        if error.errno == errno.EBUSY:
            return None
        raise Internal("cannot attach the image to {}: {}".format(path, error.strerror)) from None


def _open_free(path: str) -> "Optional[Loop]":
    """Opens the free device; None if the device went away again. Raises Unavailable, saying what is
    missing, if the device cannot be used here."""
    try:
        return _open_node(path, os.O_RDWR)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno not in _NOT_USABLE:
            raise
        number = _number(path)
        if number is None:
            return None
        if os.path.exists(path):
            raise Unavailable(
                "cannot open the free loop device {}: {}; the container in which kubelet runs may "
                "not use the machine's devices: run it privileged".format(path, error.strerror)
            ) from None
        raise Unavailable(
            "the kernel has the free loop device {0}, but /dev here is a copy without a node for "
            "it, and none can be made ({1}); give kubelet the machine's /dev, or run there: "
            "{2}".format(path, error.strerror, _mknod(path, number))
        ) from None


def _renew(control: int, number: int, path: str) -> None:
    """Since 6.9 the kernel keeps refuse_discard over the change of a device's file, and takes no
    other value after it; so the free device is removed and made anew."""
    try:
        if _read_limit(path, "discard_max_bytes") == _read_limit(path, "discard_max_hw_bytes"):
            return
        fcntl.ioctl(control, _REMOVE, number)
        fcntl.ioctl(control, _ADD, number)
    except OSError as error:
        if error.errno not in _OTHERS_WERE_FASTER:
            raise


def _read_limit(device: str, name: str) -> str:
    with open(_limit(device, name)) as file:
        return file.read()


def _limit(device: str, name: str) -> str:
    return _in_sysfs(device, "queue/" + name)


def _in_sysfs(device: str, name: str) -> str:
    """The path of what the kernel tells of the device."""
    return "/sys/block/{}/{}".format(os.path.basename(device), name)


def _configure(loop: Loop, image: int) -> None:
    direct = copy_on_write.may_have_direct_io(image)
    info = _new_info(_AUTOCLEAR | (_DIRECT_IO if direct else 0))
    try:
        _ioctl(loop, _CONFIGURE, _CONFIG.pack(image, SECTOR_BYTES, info))
        return
    except OSError as error:
        if error.errno not in _NO_CONFIGURE:
            raise
    fcntl.ioctl(loop.descriptor, _SET_FD, image)
    try:
        loop.set_clears_itself()
        _ioctl(loop, _SET_BLOCK_SIZE, SECTOR_BYTES)
        if direct:
            _direct_io(loop)
    except OSError:
        fcntl.ioctl(loop.descriptor, _CLR_FD)
        raise


def _ioctl(loop: Loop, request: int, argument: "Union[int, bytes]") -> None:
    """The ioctl, which the kernel answers with EAGAIN if somebody, udev for example, has read the
    device since the kernel dropped what it had cached of the device."""
    deadline = time.monotonic() + _AGAIN_SECONDS
    while True:
        try:
            fcntl.ioctl(loop.descriptor, request, argument)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_AGAIN_PAUSE_SECONDS)


def _direct_io(loop: Loop) -> None:
    """Where the pool's file system has no direct I/O the device works without, as LOOP_CONFIGURE
    does by itself."""
    try:
        fcntl.ioctl(loop.descriptor, _SET_DIRECT_IO, 1)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
