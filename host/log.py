"""One line a callout, in a file that only root reads: never on stdout or stderr, never in the plugin directory, and
never a reason for a callout to fail."""

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict

DIRECTORY = "/var/log/flexvol"
_LIMIT_BYTES = 4 << 20
_LINE_LENGTH = 8192


def write(driver: str, callout: str, subject: str, reply: "Dict[str, Any]", seconds: float) -> None:
    """Appends the callout's outcome. A log that cannot be written is done without: the volume matters more, and the
    provisioner's container has a read-only root, where the provisioner logs the same outcome."""
    outcome = "{} {}".format(reply.get("reason", reply["status"]), reply.get("message", "")).strip()
    text = "{} {} {} {} {:.0f} ms: {}".format(
        time.strftime("%Y-%m-%dT%H:%M:%S%z"), driver, callout, subject, seconds * 1000, outcome
    )
    # Whatever word the callout is, it forges no line and sends no escape to the terminal of who reads the log.
    line = "".join(letter if letter.isprintable() else "?" for letter in text[:_LINE_LENGTH]) + "\n"
    path = os.path.join(DIRECTORY, driver + ".log")
    try:
        os.makedirs(DIRECTORY, 0o700, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, line.encode("utf-8", "replace"))
            full = os.fstat(descriptor).st_size >= _LIMIT_BYTES
        finally:
            os.close(descriptor)
        if full:
            os.rename(path, path + ".1")
    except OSError:
        return
