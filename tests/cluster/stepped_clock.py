"""Runs a Python program whose wall clock is wrong by as many seconds as a file says, also when that
changes; all other clocks are right.

    python tests/cluster/stepped_clock.py FILE PROGRAM [WORD ...]"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path


def main(seconds_file: Path, program: str) -> None:
    right = time.time

    def stepped() -> float:
        return right() + float(seconds_file.read_text() or 0)

    time.time = stepped
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    FILE, PROGRAM = sys.argv[1:3]
    del sys.argv[:2]
    main(Path(FILE), PROGRAM)
