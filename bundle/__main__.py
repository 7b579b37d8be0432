"""python3 -m bundle WORD ...: what ./build.sh does.

What stops a word for a reason outside the sources is reported as one sentence: a file that is
missing, a right that is missing, a program that fails."""

from __future__ import annotations

import subprocess
import sys

from bundle import words

DEFAULT = "build"
_HELP = ("-h", "--help")
_WRONG_USE = 2


def main(given: list[str]) -> int:
    """:param given: the words of a person
    :returns: the exit status"""
    name, *rest = given or [DEFAULT]
    if name in _HELP:
        name = "help"
    known = {word.name: word for word in words.WORDS}
    if name not in known:
        print(f'build.sh: there is no word "{name}"\n\n{words.text()}', file=sys.stderr)
        return _WRONG_USE
    try:
        words.start(known[name], rest)
    except subprocess.CalledProcessError as error:
        print(f"build.sh {name}: {_of_program(error)}", file=sys.stderr)
        return 1
    except SyntaxError as error:
        place = f"{error.filename}, line {error.lineno}"
        print(f"build.sh {name}: {place}: {error.msg}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"build.sh {name}: {_of_system(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # as a shell has it of a program that SIGINT ended
    return 0


def _of_program(error: subprocess.CalledProcessError) -> str:
    line = error.cmd if isinstance(error.cmd, str) else " ".join(map(str, error.cmd))
    return f"this command failed with status {error.returncode}: {line}"


def _of_system(error: OSError) -> str:
    if error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
