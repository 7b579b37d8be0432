"""flexvol export and flexvol import: a volume as a stream, from one node or pool to another, or out
of flexvol.

A volume is exported while no pod uses it, and no pod can start with it until that ends. What is
imported appears when all of it has come and its checksum is right. A stream that was cut goes on
where `import` says."""

import argparse
import os
import threading

from node import callouts
from shared.options import integer
from shared.protocol import Internal, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

_BUFFER_BYTES = 1 << 20


def main(words: "List[str]") -> int:
    """words: "export" or "import", and its arguments."""
    parser = argparse.ArgumentParser(prog="flexvol " + words[0], description=__doc__)
    parser.add_argument(
        "--driver", default=callouts.DEFAULT_DRIVER, help="whose volume (default %(default)s)"
    )
    parser.add_argument(
        "--move", metavar="ID", default="", help="what is moved, for kubectl flexvol move"
    )
    (_export if words[0] == "export" else _import)(parser)
    settings = parser.parse_args(words[1:])
    if os.geteuid() != 0:
        raise Internal("only root sees volumes; run it with sudo")
    run = _run_export if words[0] == "export" else _run_import
    return run(settings)


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pool", metavar="NAME", help="where it is (default: the only pool that holds it)"
    )
    parser.add_argument("volume", metavar="VOLUME", help="its name, as flexvol status shows it")
    parser.add_argument(
        "--from", dest="begin", metavar="BYTES", default="0", help="how much import says it has"
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="the bare image: a plain file system, for any other storage",
    )
    parser.add_argument(
        "--to", metavar="NODE", default="", help="where it is moved, for kubectl flexvol move"
    )


def _import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pool", metavar="NAME", default="default", help="which pool (default %(default)s)"
    )
    parser.add_argument(
        "--arrived", metavar="VOLUME", help="only print how much of its stream is here"
    )
    parser.add_argument(
        "--forget", metavar="VOLUME", help="only give up what has come of its stream, and its room"
    )


def _run_export(settings: argparse.Namespace) -> int:
    begin = integer("--from", settings.begin)
    if bool(settings.move) != bool(settings.to):
        raise InvalidArgument("--move and --to go together; give both, or none")
    if settings.raw and (begin or settings.move):
        raise InvalidArgument(
            "a bare image is written from its beginning, and is not moved; leave out --from "
            "and --move"
        )
    if os.isatty(1):
        raise InvalidArgument("this is a terminal; write the stream to a file or a program")
    move = {"id": settings.move, "to": settings.to} if settings.move else None
    if move:
        threading.Thread(target=_end_with_input, daemon=True).start()
    with open(1, "wb", buffering=_BUFFER_BYTES, closefd=False) as out:
        callouts.load(settings.driver).operations().export_volume(
            settings.volume, settings.pool, out, begin, settings.raw, move
        )
    return 0


def _end_with_input() -> None:
    """An `exec` whose caller was killed leaves us with a full pipe that nobody reads, and the
    volume's lock; but our input, which the caller keeps open, ends."""
    while os.read(0, 1):
        continue
    os._exit(1)


def _run_import(settings: argparse.Namespace) -> int:
    operations = callouts.load(settings.driver).operations()
    if settings.arrived is not None:
        print(operations.imported_bytes(settings.arrived, settings.pool, settings.move))
        return 0
    if settings.forget is not None:
        operations.forget_import(settings.forget, settings.pool)
        print(
            "no unfinished stream of volume {} is in pool {} any more".format(
                settings.forget, settings.pool
            )
        )
        return 0
    if os.isatty(0):
        raise InvalidArgument("this is a terminal; give the stream from a file or a program")
    with open(0, "rb", buffering=_BUFFER_BYTES, closefd=False) as source:
        print(
            "imported volume {} into pool {}".format(
                operations.import_volume(settings.pool, source), settings.pool
            )
        )
    return 0
