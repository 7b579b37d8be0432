"""The agent in the machine: runs programs for the tests, which speak with it through a virtio port.

A request is one line of JSON: id, argv, stdin, seconds, stream. Each is run in a thread of its own,
so that several programs can run at once. The answer is one line too: id, status, stdout, stderr. A
request with "stream" is answered by a line for each line of its output as well: id, line. Such a
line is sent when the program has written it, so what it says was true before the power was cut."""

from __future__ import annotations

import glob
import io
import json
import os
import subprocess
import threading
from typing import Any

TIMED_OUT = -1  # the status of a program that did not end in its time


def main() -> None:
    with open(_port(), "r+b", buffering=0) as port:
        answers = Answers(port)
        answers.send({"ready": True})
        rest = b""
        while True:
            rest += port.read(1 << 16) or b""
            *lines, rest = rest.split(b"\n")
            for line in lines:
                threading.Thread(target=answer, args=(json.loads(line), answers)).start()


def _port() -> str:
    for name in glob.glob("/sys/class/virtio-ports/*/name"):
        with open(name) as file:
            if file.read() == "agent\n":
                return "/dev/" + os.path.basename(os.path.dirname(name))
    raise SystemExit("the machine has no virtio port called agent")


class Answers:
    """The way back to the tests; a line is sent whole."""

    def __init__(self, port: io.FileIO) -> None:
        self._port = port
        self._lock = threading.Lock()

    def send(self, answer: dict[str, Any]) -> None:
        line = json.dumps(answer).encode() + b"\n"
        with self._lock:
            while line:
                line = line[self._port.write(line) :]


def answer(request: dict[str, Any], answers: Answers) -> None:
    """Runs the program of a request and answers it."""
    process = subprocess.Popen(
        request["argv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if request["stream"] else subprocess.PIPE,
        start_new_session=True,
    )
    if request["stream"]:
        assert process.stdout
        for line in process.stdout:
            answers.send({"id": request["id"], "line": text(line)})
        outcome = {"status": process.wait(), "stdout": "", "stderr": ""}
    else:
        outcome = _outcome(process, request)
    answers.send({"id": request["id"], **outcome})


def _outcome(process: subprocess.Popen[bytes], request: dict[str, Any]) -> dict[str, Any]:
    content = request["stdin"].encode("utf-8", "surrogateescape")
    try:
        stdout, stderr = process.communicate(content, request["seconds"])
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        return {"status": TIMED_OUT, "stdout": "", "stderr": "did not end in its time"}
    return {"status": process.returncode, "stdout": text(stdout), "stderr": text(stderr)}


def text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


if __name__ == "__main__":
    main()
