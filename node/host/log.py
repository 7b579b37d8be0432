"""One line a callout: to the system log if the node has one, else to a file that only root reads.
Never on stdout or stderr, never in the plugin directory, never waited for, and never a reason for a
callout to fail."""

import os
import time

from shared.protocol import SUCCESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

DIRECTORY = "/var/log/flexvol"
SOCKET = "/dev/log"
# A file that has grown to this size gets the name .1, in the place of the last one.
_LIMIT_BYTES = 4 << 20
# A message of the contract has 1000 characters at most; the rest is the volume's and pod's names.
_LINE_CHARACTERS = 2000
# Of syslog(3): the facility, in the priority's upper bits, and the severities.
_DAEMON = 3 << 3
_WARNING = 4
_INFO = 6


def write(driver: str, callout: str, subject: str, reply: "Dict[str, Any]", seconds: float) -> None:
    """Notes the callout's outcome.

    subject: what the callout was about. reply: what the callout printed. seconds: how long the
    callout took. A log that cannot be written is done without: the volume matters more, and the
    provisioner's container has a read-only root, where the provisioner logs the same."""
    outcome = "{} {}".format(reply.get("reason", reply["status"]), reply.get("message", "")).strip()
    words = " ".join(filter(None, (driver, callout, subject)))
    text = one_line("{} {:.0f} ms: {}".format(words, seconds * 1000, outcome))
    severity = _INFO if reply["status"] == SUCCESS else _WARNING
    if not _send(severity, text):
        _append(os.path.join(DIRECTORY, driver + ".log"), text)


def one_line(text: str) -> str:
    """The text as one line. No message, whoever had a hand in it, begins a line of its own or
    steers a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:_LINE_CHARACTERS])


def _send(severity: int, text: str) -> bool:
    """Whether the system log took the text. A system log that is not there, dead or behind does
    not, and is not waited for."""
    if not os.path.exists(SOCKET):
        return False
    try:
        import _socket  # what the module socket wraps; that one imports selectors and enum, 20 ms

        sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            sender.setblocking(False)
            sender.connect(SOCKET)
            stamp = time.strftime("%b %e %H:%M:%S")
            line = "<{}>{} flexvol[{}]: {}".format(_DAEMON | severity, stamp, os.getpid(), text)
            sender.send(line.encode("utf-8", "replace"))
            return True
        finally:
            sender.close()
    except (ImportError, OSError):
        return False


def _append(path: str, text: str) -> None:
    line = "{} {}\n".format(time.strftime("%Y-%m-%dT%H:%M:%S%z"), text)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        os.makedirs(DIRECTORY, 0o700, exist_ok=True)
        with open(os.open(path, flags, 0o600), "wb", 0) as file:
            file.write(line.encode("utf-8", "replace"))
            is_full = os.fstat(file.fileno()).st_size >= _LIMIT_BYTES
        if is_full:
            os.rename(path, path + ".1")
    except OSError:
        return
