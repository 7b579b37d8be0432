"""Run with -I -S on a node: imports the built driver once and answers each callout in a forked
child, ten times as fast
as a new interpreter. stdin: a JSON list of words a line. stdout: a JSON list a line: exit status,
stdout and stderr. All strings stand for bytes, as Latin-1. Runs on the oldest Python the driver
runs on."""

import json
import os
import sys
import traceback

sys.path.insert(0, sys.argv[1])
import flexvol
from node import callouts

callouts.load("loop")  # what every callout imports


def _child(words: "list[str]", out: int, err: int) -> None:
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)
        status = flexvol.main(["loop"] + [os.fsdecode(word.encode("latin-1")) for word in words])
    except BaseException:
        os.write(err, traceback.format_exc().encode("ascii", "replace"))
    finally:
        os._exit(status)


def _all(descriptor: int) -> str:
    with open(descriptor, "rb") as file:
        return file.read().decode("latin-1")


while True:
    line = sys.stdin.readline()
    if not line:
        break
    out, child_out = os.pipe()
    err, child_err = os.pipe()
    child = os.fork()
    if child == 0:
        _child(json.loads(line), child_out, child_err)
    os.close(child_out)
    os.close(child_err)
    printed = _all(out), _all(err)  # until no one holds them any more, as kubelet waits
    print(json.dumps([os.waitpid(child, 0)[1], *printed]), flush=True)
