"""Long work on an image, such as the check of a large ext4, goes on in a process of its own.

That process holds the volume's lock and the image's, and outlives the callout that began it: work
that is killed for taking long would be undone, and begun anew with the next call, for ever. A file
beside the image, work.json, tells the other callouts what is going on and since when, and how the
work ended if nobody waited for that."""

import errno
import os
import time

from node.host import files, log
from shared import children
from shared.protocol import FAILURES, Busy, Failure, Internal, Pending, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Sequence

FILE = "work.json"
FILES = (FILE, "." + FILE + ".new")
# How long a callout waits for the end of the work. Most work takes milliseconds.
_PATIENCE_SECONDS = 30
# Work that began longer ago is reported with its date.
_DAY_SECONDS = 24 * 3600
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class NeedsDecision(Unavailable):
    """A tool found what only a person can decide. The tool would find the same in the same
    image."""


class Site:
    """Where work is done. volume: its name. directory: the open directory of the volume. keep:
    descriptors that the process keeps open as long as it works: the locks, the loop device."""

    def __init__(self, volume: str, directory: int, keep: "Sequence[int]") -> None:
        self.volume = volume
        self.directory = directory
        self.keep = [directory, *keep]


def do(site: Site, doing: str, task: "Callable[[], None]") -> None:
    """Does `task` in a process of its own, and returns when that has ended.

    doing: what goes on, like "its ext4 is being checked". Raises the task's failure; Pending if the
    work goes on when this callout cannot wait any longer."""
    import json

    _raise_earlier(site, doing)
    note = {"doing": doing, "since": int(time.time())}
    _write(site.directory, note)
    answer = children.detached(lambda: _work(site, note, task), site.keep, _PATIENCE_SECONDS)
    if answer is None:
        raise Pending(_sentence(site.volume, note))
    if not answer:
        raise Internal(
            "volume {}: the process in which {} has ended; the next mount begins anew".format(
                site.volume, doing
            )
        )
    outcome = json.loads(answer.decode("ascii"))
    if outcome:
        _remove(site.directory)
        raise FAILURES[outcome["reason"]](outcome["message"])


def _work(site: Site, note: "Dict[str, Any]", task: "Callable[[], None]") -> bytes:
    """The failure of the task as JSON; an empty object if the task succeeded."""
    import json

    began = time.monotonic()
    failure = _failure_of(task)
    if failure is None:
        _remove(site.directory)
        return b"{}"
    outcome = failure.to_dict()
    log.write("loop", "work", site.volume, outcome, time.monotonic() - began)
    state = _image_state(site.directory)
    lasts = isinstance(failure, NeedsDecision)
    _write(site.directory, dict(note, failure=outcome, image=state, lasts=lasts))
    return json.dumps(outcome).encode("ascii")


def _failure_of(task: "Callable[[], None]") -> "Optional[Failure]":
    try:
        task()
        return None
    except Failure as failure:
        return failure
    except OSError as error:
        return Internal("{}: {}".format(error.strerror, error.filename or "the image"))
    except Exception as error:
        return Internal("bug in the driver: {}".format(type(error).__name__))


def _raise_earlier(site: Site, doing: str) -> None:
    """Raises the failure of such work that ended when nobody waited, while the image is as that
    work left it.

    A failure that needs a decision is raised again and again: a check that finds the error after an
    hour would find the same error after an hour again. Any other failure is raised once: a disk
    that stood still may go on, and a full pool have room, which the image does not show."""
    note = _read(site.directory)
    if not _has_failed(note, doing):
        return
    if note.get("lasts") is not True:
        _remove(site.directory)
    if note.get("image") == _image_state(site.directory):
        raise _failure_in(note)


def earlier_failure(directory: int, doing: str) -> "Optional[Failure]":
    """The failure of such work that ended when nobody waited; None if no such work failed. The
    failure is returned once, to whoever asks first."""
    note = _read(directory)
    if not _has_failed(note, doing):
        return None
    _remove(directory)
    return _failure_in(note)


def clear(directory: int) -> None:
    """Removes the note of work that has ended without a word, because it was killed. The caller
    holds the volume's lock, so no work goes on."""
    if files.exists(directory, FILE) and "failure" not in _read(directory):
        _remove(directory)


def going_on(pool_directory: int, volume: str) -> str:
    """A sentence about the work on the volume that is noted and has not failed; "" if no such work
    is noted. The caller found the volume's lock taken; a crash leaves the note, but no lock."""
    try:
        directory = files.open_below(pool_directory, volume)
    except OSError:
        return ""
    with directory:
        note = _read(directory)
    if "doing" not in note or "failure" in note:
        return ""
    return _sentence(volume, note)


def check_idle(pool_directory: int, volume: str) -> None:
    """Raises Busy if work on the volume is noted; the caller found traces of the work."""
    sentence = going_on(pool_directory, volume)
    if sentence:
        raise Busy(sentence)


def _has_failed(note: "Dict[str, Any]", doing: str) -> bool:
    return "failure" in note and note.get("doing") == doing


def _failure_in(note: "Dict[str, Any]") -> Failure:
    outcome = note["failure"]
    kind = FAILURES.get(outcome.get("reason"), Internal)
    return kind(outcome.get("message", ""))


def _sentence(volume: str, note: "Dict[str, Any]") -> str:
    since = note.get("since", 0)
    is_of_today = abs(time.time() - since) < _DAY_SECONDS
    when = time.strftime("%H:%M" if is_of_today else "%Y-%m-%d %H:%M", time.localtime(since))
    return "volume {}: {} since {}; the call succeeds when that is done".format(
        volume, note["doing"], when
    )


def _image_state(directory: int) -> str:
    """Another text after each write to the image."""
    with files.open_file(directory, "image", os.O_RDONLY) as image:
        return "{} {}".format(files.identity(image), os.fstat(image).st_mtime_ns)


def _read(directory: int) -> "Dict[str, Any]":
    import json

    try:
        note = json.loads(files.read(directory, FILE).decode("ascii"))
    except (FileNotFoundError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write(directory: int, note: "Dict[str, Any]") -> None:
    """A pool that is full has no room for the note; the work is done without."""
    import json

    try:
        files.write(directory, FILE, json.dumps(note).encode("ascii"))
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise


def _remove(directory: int) -> None:
    try:
        os.unlink(FILE, dir_fd=directory)
    except FileNotFoundError:
        return
