"""Writes a volume, while no pod uses it, to stdout, as a stream or as a bare image.

flexvol import makes a volume of the stream, on another node or in another pool. No pod can start
with the volume until the export ends. A stream that was cut goes on where flexvol import says."""

import argparse
import os
import threading

from node import callouts
from node.commands import add_driver
from shared.options import integer
from shared.protocol import InvalidArgument

NEEDS_ROOT = True
BUFFER_BYTES = 1 << 20  # of the stream, also in flexvol import


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("volume", metavar="VOLUME", help="as flexvol status names it")
    parser.add_argument(
        "--pool", metavar="NAME", help="the pool (default: the only pool that holds the volume)"
    )
    parser.add_argument(
        "--from",
        dest="begin",
        metavar="BYTES",
        default="0",
        help="how much of the stream flexvol import says it has",
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="write the bare image: a plain file system, for any other storage",
    )
    parser.add_argument(
        "--move", metavar="ID", default="", help="the move; kubectl flexvol move sets this"
    )
    parser.add_argument(
        "--to", metavar="NODE", default="", help="the other node; set along with --move"
    )
    add_driver(parser)


def run(settings: argparse.Namespace) -> int:
    begin = integer("--from", settings.begin)
    if bool(settings.move) != bool(settings.to):
        raise InvalidArgument("--move and --to go together; give both, or none")
    if settings.raw and (begin or settings.move):
        raise InvalidArgument(
            "a bare image is written from its beginning, and is not moved; "
            "leave out --from and --move"
        )
    if os.isatty(1):
        raise InvalidArgument("this is a terminal; write the stream to a file or a program")
    move = None
    if settings.move:
        move = {"id": settings.move, "to": settings.to}
        threading.Thread(target=_end_with_input, daemon=True).start()
    operations = callouts.load(settings.driver).operations()
    with open(1, "wb", buffering=BUFFER_BYTES, closefd=False) as out:
        operations.export_volume(settings.volume, settings.pool, out, begin, settings.raw, move)
    return 0


def _end_with_input() -> None:
    """Ends this process when its stdin ends. The `exec` of a caller that was killed leaves us with
    a full pipe that nobody reads, and with the volume's lock; but stdin, which the caller keeps
    open, ends."""
    while os.read(0, 1):
        continue
    os._exit(1)
