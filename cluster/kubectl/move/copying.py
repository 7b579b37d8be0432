"""The second phase: the old copy is streamed to the other node.

Before the first byte the old copy's record says where it goes, and from then on it mounts for no
pod: nothing can be written that is left behind. The new copy appears when its checksum is right; it
has the id of the move, by which the command knows it when run again."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from cluster.controller import cluster
from cluster.kubectl.move.access import Access, NotMoved
from cluster.kubectl.move.plans import Plan
from shared import protocol
from shared.progress import Progress

_PIECES = 256  # on their way between two nodes; each is some ten kilobytes
_FULL_SECONDS = 0.5  # until a full queue looks whether the other node has stopped reading


def copy(access: Access, plan: Plan) -> None:
    """Nothing if the copy is there already. A stream that was cut goes on where it ended."""
    if _is_copied(access, plan):
        return
    begin = int(access.run(plan.to, plan.driver, _words("import", plan, "--arrived", plan.name)))
    exporting = _words("export", plan, "--to", plan.to, "--from", str(begin), plan.name)
    pieces = _Pieces()
    left_bytes = _left_bytes(access, plan, begin)
    thread = threading.Thread(target=_export, args=(access, plan, exporting, pieces), daemon=True)
    thread.start()
    try:
        importing = _words("import", plan)
        with Progress(plan.name, left_bytes) as progress:
            printed = access.run(plan.to, plan.driver, importing, _counted(pieces, progress))
        access.say(printed)
    finally:
        pieces.stop()


def _left_bytes(access: Access, plan: Plan, begin: int) -> int:
    """About how much of the old copy is still to be sent from a position on; 0 if its node does not
    tell. A move must not fail for the sake of its progress."""
    try:
        entry = access.entry(plan.volume, plan.source) or {}
    except (NotMoved, protocol.Failure, cluster.Refused, cluster.Unreachable):
        return 0
    used = entry.get("usedBytes")
    size = entry.get("sizeBytes")
    if not isinstance(used, int) or not isinstance(size, int) or size <= 0:
        return 0
    return used * max(0, size - begin) // size


def _counted(pieces: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    for piece in pieces:
        progress.add(len(piece))
        yield piece


def _is_copied(access: Access, plan: Plan) -> bool:
    """:raises NotMoved: if the other node has another volume of that name."""
    entry = access.entry(plan.volume, plan.to)
    if entry is None:
        return False
    if entry.get("move") != plan.id or entry.get("state"):
        raise NotMoved(
            f"node {plan.to} has a volume {plan.name} that is not of this move; "
            "nothing is overwritten"
        )
    return True


def _words(command: str, plan: Plan, *more: str) -> list[str]:
    return [command, *pool_words(plan), "--move", plan.id, *more]


def pool_words(plan: Plan) -> list[str]:
    """What the driver's commands are told of the pool."""
    _, _, program = plan.driver.partition("/")
    return ["--driver", program, "--pool", plan.volume.pool_name]


def _export(
    access: Access,
    plan: Plan,
    words: list[str],
    pieces: _Pieces,
) -> None:
    ended: Exception | None = None
    try:
        # Its input stays open as long as this command runs.
        access.run(plan.source, plan.driver, words, iter(()), pieces.put)
    except Exception as error:  # raised again where the pieces are read
        ended = error
    pieces.put(ended)


class _Pieces:
    """What one node prints and another node reads, some of it at a time."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | Exception | None] = queue.Queue(_PIECES)
        self._stopped = threading.Event()

    def put(self, piece: bytes | Exception | None) -> None:
        """None is the end. An error is raised where the pieces are read."""
        while not self._stopped.is_set():
            try:
                self._queue.put(piece, timeout=_FULL_SECONDS)
                return
            except queue.Full:
                continue
        if isinstance(piece, bytes):
            raise ConnectionError("the other node takes no more")

    def stop(self) -> None:
        """No more pieces are read: whoever puts one gets an error."""
        self._stopped.set()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = self._queue.get()
        if piece is None:
            raise StopIteration
        if isinstance(piece, Exception):
            raise piece
        return piece
