"""Makes a volume of a stream from stdin, when all of the stream has come.

The stream is written by flexvol export on another node, or for another pool. The volume appears
when its checksum is right. A stream that was cut goes on where this command says."""

import argparse
import os

from node import callouts
from node.commands import add_driver
from node.commands.export import BUFFER_BYTES
from shared.protocol import InvalidArgument

NEEDS_ROOT = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pool", metavar="NAME", default="default", help="the pool (default: %(default)s)"
    )
    parser.add_argument(
        "--arrived",
        metavar="VOLUME",
        help="only print how many bytes of the volume's stream are here",
    )
    parser.add_argument(
        "--forget",
        metavar="VOLUME",
        help="only delete what has come of the volume's stream, and free its room",
    )
    parser.add_argument(
        "--move", metavar="ID", default="", help="the move; kubectl flexvol move sets this"
    )
    add_driver(parser)


def run(settings: argparse.Namespace) -> int:
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
    with open(0, "rb", buffering=BUFFER_BYTES, closefd=False) as source:
        volume = operations.import_volume(settings.pool, source)
    print("imported volume {} into pool {}".format(volume, settings.pool))
    return 0
