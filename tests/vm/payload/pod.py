"""A pod that writes numbered files, each with fsync, and says so: pod.py write DIRECTORY FIRST.
And the one that reads them again: pod.py check DIRECTORY NUMBER ...; it names those that are not
whole. What is in a file follows from its number."""

from __future__ import annotations

import os
import sys

LARGEST = 96 << 10
NUMBERS = 400  # then the first names are used again


def content(number: int) -> bytes:
    """The bytes of a file: of many lengths, none of them whole blocks."""
    line = b"%d of pod\n" % number
    length = number * 7919 % LARGEST + 1
    return (line * (length // len(line) + 1))[:length]


def write(directory: str, first: int) -> None:
    number = first
    while True:
        aside = os.path.join(directory, ".aside")
        with open(aside, "wb") as file:
            file.write(content(number))
            file.flush()
            os.fsync(file.fileno())
        os.rename(aside, os.path.join(directory, "file-%d" % number))
        entry = os.open(directory, os.O_RDONLY)
        os.fsync(entry)
        os.close(entry)
        print("fsynced", number, flush=True)
        number += 1
        # A volume is small: what is long written makes room, and is not asked for again.
        old = os.path.join(directory, "file-%d" % (number - NUMBERS))
        if os.path.exists(old):
            os.unlink(old)


def check(directory: str, numbers: list[str]) -> None:
    lost = []
    for number in numbers:
        path = os.path.join(directory, "file-%s" % number)
        try:
            with open(path, "rb") as file:
                whole = file.read() == content(int(number))
        except OSError as error:
            lost.append("%s: %s" % (path, error))
            continue
        if not whole:
            lost.append(path + ": other bytes")
    print("\n".join(lost) if lost else "whole", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]))
    else:
        check(sys.argv[2], sys.argv[3:])
