"""Mounts: made complete before they appear, undone until they are gone.

The kernel's mount API of 5.2 lets a mount get its size, owner and flags while the mount is nowhere
and then appear in one step; a callout that is killed leaves nothing of it. Where that API is
missing the mount is prepared in a directory of our own, a stage, and bound from there, since a bind
takes over its source's flags. A stage that a killed callout left is cleared by the next callout of
any volume that mounts or unmounts."""

import binascii
import errno
import os

from node.host import files, loopdev, mount_calls, mount_table
from node.host.descriptors import Descriptor
from node.host.mount_calls import Missing, MountRefused, Superblock
from shared import children
from shared.protocol import Busy, Internal, InvalidArgument, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, Sequence

    from node.host.mount_table import Mount

# A mount that is still there after so many unmounts is being made again and again.
_UNMOUNTS = 64
# To prepare a mount takes milliseconds, and seconds where a journal is replayed.
_STAGE_SECONDS = 20
# To unmount what nobody uses, and has hardly written, takes milliseconds.
_CLEAR_SECONDS = 3
_LOCK_SUFFIX = ".lock"
# So many, that mounts of two shares that are being prepared seldom wait for each other.
_SHARE_STAGES = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class NotShown(Internal):
    """A mount that was made could not be shown at the pod's directory: this node's doing, and not
    that of the disk or the server."""


def check_path(path: str) -> None:
    """Raises InvalidArgument unless `path` is absolute and written as mountinfo writes it. Nothing
    need be there."""
    is_absolute = path.startswith("/")
    if not is_absolute or any(name in ("", ".", "..") for name in path[1:].split("/")):
        raise InvalidArgument(
            "mount directory {} is not a plain absolute path; kubelet names it without . and "
            "..".format(shown(path))
        )


def check_directory(path: str) -> None:
    """Raises InvalidArgument unless `path` is a plain absolute path of a directory."""
    check_path(path)
    if os.path.islink(path) or not os.path.isdir(path):
        raise InvalidArgument(
            "mount directory {} is not a directory; kubelet creates it before it calls".format(path)
        )


def mount(
    device: str,
    fs_type: str,
    options: "Sequence[str]",
    path: str,
    flags: "Sequence[str]",
    prepare: "Callable[[int], None]",
) -> None:
    """Mounts `device` at the directory `path`, complete.

    options: of the file system itself, "FLAG" or "KEY=VALUE"; the superblock is always writable.
    flags: of this one mount, of mount_calls.FLAGS. prepare: called with a descriptor of the mounted
    root before the mount appears at `path`. Raises mount_calls.OptionRefused or Internal if the
    kernel does not mount."""
    superblock = Superblock(device, fs_type, options)
    try:
        _mount_tree(superblock, path, flags, prepare)
    except Missing:
        _mount_staged(superblock, path, flags, prepare)


def _mount_tree(
    superblock: Superblock, path: str, flags: "Sequence[str]", prepare: "Callable[[int], None]"
) -> None:
    writable = [flag for flag in flags if flag != "ro"]
    with mount_calls.new_tree(superblock, writable) as tree:
        with _root_of(tree) as root:
            prepare(root)
        if "ro" not in flags:
            _publish(tree, path)
            return
        # Another mount of the same superblock: to change the flags of a mount takes a call of
        # kernel 5.12.
        with mount_calls.new_tree(superblock, flags) as read_only:
            tree.close()
            _publish(read_only, path)


def _mount_staged(
    superblock: Superblock, path: str, flags: "Sequence[str]", prepare: "Callable[[int], None]"
) -> None:
    with _stage_of(superblock.device).prepared() as stage:
        mount_calls.mount_at(superblock, stage.path)
        with files.open_path(stage.path, _DIRECTORY) as root:
            prepare(root)
        _bind_from(stage.path, stage.path, path, flags)


def bind(source: str, path: str, flags: "Sequence[str]", must_be_mount: bool = False) -> None:
    """Shows the directory `source` at the directory `path` too, with flags of its own.

    flags: of mount_calls.FLAGS. must_be_mount: raises FileNotFoundError if `source` is no mount
    point (any more). An unmount waits for no lock, and the directory below, on the node's own disk,
    would then be shown."""
    try:
        _bind_tree(source, path, flags, must_be_mount)
    except Missing:
        try:
            _mount_beside(source, path, flags)
        except Missing:
            _bind_staged(source, path, flags, must_be_mount)


def _bind_tree(source: str, path: str, flags: "Sequence[str]", must_be_mount: bool) -> None:
    with mount_calls.clone_tree(source, follow=True) as tree:
        mount_calls.set_flags(tree, flags)
        if must_be_mount:
            _check_mounted(source)
        _publish(tree, path)


def _mount_beside(source: str, path: str, flags: "Sequence[str]") -> None:
    """Another mount of the superblock that is mounted at `source`. The mount has flags of its own
    from the beginning, which takes no call of kernel 5.12. Raises Missing if `source` is no mount
    of a whole file system on a loop device."""
    mounted = mount_table.at(source)
    if mounted is None or mounted.root != "/" or not shows_image(mounted):
        raise Missing("a superblock")
    superblock = Superblock(mounted.source, mounted.fs_type, ())
    with mount_calls.new_tree(superblock, flags) as tree:
        # If `source` was unmounted meanwhile, this is a superblock without the volume's options.
        _check_mounted(source)
        _publish(tree, path)


def _bind_staged(source: str, path: str, flags: "Sequence[str]", must_be_mount: bool) -> None:
    mounted = mount_table.at(source)
    beside = _Stage(source.strip("/").replace("/", "-")[-200:])
    if mounted is not None:
        beside = _stage_of(mounted.source)
    with beside.prepared() as stage:
        mount_calls.bind_at(source, stage.path)
        if must_be_mount:
            _check_mounted(source)
        _bind_from(stage.path, stage.path, path, flags)


def _bind_from(stage: str, source: str, path: str, flags: "Sequence[str]") -> None:
    """Binds `source`, which is in the mount at the stage, to `path`. The mount gets the flags, and
    the bind takes them over."""
    mount_calls.set_flags_at(stage, flags)
    with files.open_path(stage, _DIRECTORY) as root:
        mount_calls.check_flags(root, flags)
    try:
        mount_calls.bind_at(source, path)
    except (OSError, MountRefused) as error:
        raise _not_shown(path, error) from None


def _publish(tree: int, path: str) -> None:
    try:
        mount_calls.publish(tree, path)
    except OSError as error:
        raise _not_shown(path, error) from None


def _not_shown(path: str, error: Exception) -> NotShown:
    words = str(error)
    if isinstance(error, OSError):
        words = str(error.strerror)
    return NotShown(
        "the mount is made, and this node does not let it appear at {}: {}; see that the "
        "directory is still there, and what a security module forbids".format(path, words)
    )


def _check_mounted(source: str) -> None:
    if mount_table.at(source) is None:
        raise FileNotFoundError(errno.ENOENT, "not mounted any more", source)


def replay(superblock: Superblock) -> None:
    """Has the kernel replay the log of the file system, which the kernel does at each mount."""
    mount_unseen(superblock, lambda _root: None)


def mount_unseen(superblock: Superblock, work: "Callable[[int], None]") -> None:
    """Mounts the file system where nobody sees the mount, calls `work` with a descriptor of the
    root, and unmounts."""
    with open_unseen(superblock) as unseen:
        work(unseen.root)


class Unseen:
    """A mount that nobody sees. The end of the `with` takes the mount away.

    root: a descriptor of its root."""

    def __init__(self, root: Descriptor) -> None:
        self.root = root

    def __enter__(self) -> "Unseen":
        return self

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    def show(self, directory: int, path: str, flags: "Sequence[str]") -> None:
        """Makes an open directory of the mount appear at `path`, in one step and with exactly these
        flags: that very directory, whatever its name leads to by now."""
        raise NotImplementedError


class _UnseenTree(Unseen):
    """A mount that is nowhere."""

    def __init__(self, tree: Descriptor, root: Descriptor) -> None:
        super().__init__(root)
        self._tree = tree

    def __exit__(self, *_: object) -> None:
        with self._tree:
            self.root.close()

    def show(self, directory: int, path: str, flags: "Sequence[str]") -> None:
        # Before 6.15 the kernel shows a part of a mount elsewhere only while the mount is attached
        # somewhere.
        with _stage_of(path).prepared() as stage:
            try:
                _publish(self._tree, stage.path)
            except Missing as missing:  # a filter that lets us mount, and not show the mount
                raise _not_shown(path, missing) from None
            try:
                _bind_from(stage.path, _path_of(directory), path, flags)
            finally:
                mount_calls.detach_at(stage.path)


class _UnseenStage(Unseen):
    """A mount at a stage, which root alone can look into."""

    def __init__(self, stage: "_PreparedStage", root: Descriptor) -> None:
        super().__init__(root)
        self._stage = stage

    def __exit__(self, *_: object) -> None:
        with self._stage:
            self.root.close()

    def show(self, directory: int, path: str, flags: "Sequence[str]") -> None:
        _bind_from(self._stage.path, _path_of(directory), path, flags)


def open_unseen(superblock: Superblock) -> Unseen:
    """Mounts the file system where nobody sees the mount. Raises as mount_calls.new_tree does."""
    try:
        tree = mount_calls.new_tree(superblock, ())
    except Missing:
        return _open_staged(superblock)
    with tree:
        root = _root_of(tree)
        return _UnseenTree(tree.kept_open(), root)


def _open_staged(superblock: Superblock) -> Unseen:
    with _stage_of(superblock.device).prepared() as stage:
        mount_calls.mount_at(superblock, stage.path)
        root = files.open_path(stage.path, _DIRECTORY)
        return _UnseenStage(stage.kept(), root)


def _path_of(descriptor: int) -> str:
    """A path that leads to the open file itself, and through no name."""
    return "/proc/self/fd/{}".format(int(descriptor))


def _root_of(tree: int) -> Descriptor:
    """The root of the tree, opened so that its file system can be asked and changed."""
    return Descriptor(os.open(".", _DIRECTORY | os.O_CLOEXEC, dir_fd=tree))


def open_root(path: str) -> Descriptor:
    """Opens the root of the file system that is mounted at `path`.

    The way leads through a mount of our own that is nowhere, so that whoever unmounts `path`
    meanwhile need not wait; before kernel 5.2 through `path` itself. Raises FileNotFoundError if
    nothing is mounted at `path` (any more): `path` is then a directory of the disk below."""
    with _tree_at(path) as tree:
        root = _root_of(tree)
    with root:
        if os.fstat(root).st_dev == os.stat(os.path.dirname(path)).st_dev:
            raise FileNotFoundError(errno.ENOENT, "not mounted any more", path)
        return root.kept_open()


def _tree_at(path: str) -> Descriptor:
    try:
        return mount_calls.clone_tree(path, follow=False)
    except Missing:
        pass
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: `path` is in another mount namespace
            raise
    return files.open_path(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)


def unmount(path: str, is_ours: "Callable[[Mount], bool]") -> None:
    """Unmounts `path` until nothing is mounted there.

    is_ours: whether the driver may take that mount away; `shows_image` for the driver of images.
    Raises InvalidArgument if a mount there is not ours, Busy while something in the mount is in
    use."""
    clear_stages()
    _unmount(path, is_ours)


def _unmount(path: str, is_ours: "Callable[[Mount], bool]") -> None:
    for _ in range(_UNMOUNTS):
        top = mount_table.at(path)
        if top is None:
            return
        if not is_ours(top):
            raise InvalidArgument(
                "{} is a mount of {} ({}), not of a flexvol volume; it is left alone".format(
                    path, top.source, top.fs_type
                )
            )
        code = mount_calls.unmount_at(path)
        if code not in (0, errno.EINVAL):  # EINVAL: somebody else has unmounted it just now
            kind = Busy if code == errno.EBUSY else Internal
            raise kind("cannot unmount {}: {}".format(path, os.strerror(code)))
    raise Internal(
        "{0} is still mounted after {1} unmounts; see what mounts it again and again, in: "
        "findmnt {0}".format(path, _UNMOUNTS)
    )


def shows_image(mount: "Mount") -> bool:
    """Whether the mount is of a loop device on the image of a volume, as far as the kernel
    tells."""
    return loopdev.is_on_image(mount.source)


class _Stage:
    """A directory of our own in which a mount is prepared."""

    def __init__(self, name: str) -> None:
        self.path = os.path.join(mount_table.STAGES, os.path.basename(name))

    def prepared(self) -> "_PreparedStage":
        """Makes the directory, locked, and clears what a killed callout left there. Raises NotShown
        if the node has no room for a stage."""
        try:
            os.makedirs(mount_table.STAGES, 0o700, exist_ok=True)
            lock = self._open_lock()
        except OSError as error:
            raise NotShown(
                "no mount can be prepared in {}: {}; see that root may write there".format(
                    mount_table.STAGES, error.strerror
                )
            ) from None
        with lock:
            lock.lock(self.path, _STAGE_SECONDS)
            self.clear()
            os.mkdir(self.path, 0o700)
            return _PreparedStage(self, lock.kept_open())

    def clear(self) -> None:
        """Unmounts the stage and removes the directory. The caller holds the lock.

        Every mount there is ours. A driver without images binds a directory, not an image."""
        _unmount(self.path, mount_table.Mount.is_staged)
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            return

    def clear_if_left(self) -> "Iterator[bytes]":
        """Clears the stage unless a callout prepares a mount there now: a work for
        children.side_by_side."""
        with self._open_lock() as lock:
            if lock.try_lock():
                self.clear()
                yield b"cleared"

    def _open_lock(self) -> Descriptor:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        return Descriptor(os.open(self.path + _LOCK_SUFFIX, flags, 0o600))


def _stage_of(source: str) -> _Stage:
    """The stage for a mount of `source`: a device has its own. What a server exports has one of a
    few, because the lock of a stage stays until the node starts again."""
    if source.startswith("/dev/"):
        return _Stage(source)
    return _Stage("share-{}".format(binascii.crc32(source.encode()) % _SHARE_STAGES))


class _PreparedStage:
    """A stage whose lock we hold; the end of the `with` clears the stage and gives up the lock."""

    def __init__(self, stage: _Stage, lock: Descriptor) -> None:
        self.path = stage.path
        self._stage = stage
        self._lock = lock
        self._is_kept = False

    def __enter__(self) -> "_PreparedStage":
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_kept:
            return
        with self._lock:
            self._stage.clear()

    def kept(self) -> "_PreparedStage":
        """The same stage for whoever takes it over: the end of our own `with` leaves it alone."""
        self._is_kept = True
        return _PreparedStage(self._stage, self._lock)


def clear_stages() -> None:
    """Clears the stages that killed callouts left, of whatever volume: the volume's own next
    callout may never come. A mount that is being prepared now is left alone."""
    try:
        names = os.listdir(mount_table.STAGES)
    except FileNotFoundError:
        return  # this kernel has never needed a stage since the boot
    stages = [_Stage(name) for name in names if not name.endswith(_LOCK_SUFFIX)]
    works = [stage.clear_if_left for stage in stages]
    # A volume whose disk hangs keeps only its own stage.
    children.side_by_side(works, _CLEAR_SECONDS, _CLEAR_SECONDS)
