"""Waiting for a state."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# Between two looks at the condition. A look may ask the API server, and the processors are busy
# with what is waited for: what takes long is looked at less and less often.
SHORTEST_SECONDS = 0.05
GROWTH = 1.2
LONGEST_SECONDS = 0.3


def wait_until(what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Waits until `condition` is true and returns it. A failure says what was awaited and what was
    seen last. A condition that finds a field, an object or one of several missing is not true
    yet."""
    deadline = time.monotonic() + seconds
    pause = SHORTEST_SECONDS
    while True:
        seen: Any
        try:
            seen = condition()
            if seen:
                return seen
        except (LookupError, ValueError, TypeError) as lacking:
            seen = lacking
        if time.monotonic() > deadline:
            cause = seen if isinstance(seen, Exception) else None
            raise AssertionError(
                f"after {seconds:g} s still not: {what}; last seen: {seen!r}"
            ) from cause
        time.sleep(pause)
        pause = min(pause * GROWTH, LONGEST_SECONDS)
