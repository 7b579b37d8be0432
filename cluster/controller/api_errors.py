"""The two errors that any call of the API server can end with, and the pauses after them."""

from __future__ import annotations

import json
import random
import re

_PAUSE_FIRST_SECONDS = 0.5
_PAUSE_LIMIT_SECONDS = 10.0
_DOUBLINGS = 10  # 2.0**10 s are far more than the limit
# After the API server was away, all nodes list anew; they do so within this time.
_SPREAD_SECONDS = 3.0
# A server that asks for a longer pause than this is asked again all the same.
_RETRY_AFTER_LIMIT_SECONDS = 60.0
# The right that a refusal names (k8s.io/apiserver, forbiddenMessage in
# pkg/endpoints/handlers/responsewriters/errors.go).
_RIGHT = re.compile(r'cannot \S+ resource "[^"]+"')
# The client's text for a stream whose handshake was refused (kubernetes.stream.ws_client and
# websocket._handshake): status, headers and body in one.
_HANDSHAKE = re.compile(r"Handshake status (\d+) .* -\+-\+- (.*)", re.DOTALL)
_FORBIDDEN = 403
_TOO_MANY_REQUESTS = 429
_SERVERS_OWN = 500


class Refused(Exception):
    """The API server answered with an error.

    status: the HTTP status of the answer. retry_after_seconds: the pause that the server asked
    for."""

    def __init__(self, status: int, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds

    @property
    def passes(self) -> bool:
        """Whether the trouble is the server's own, and not the request's."""
        return self.status == _TOO_MANY_REQUESTS or self.status >= _SERVERS_OWN

    @property
    def lacking(self) -> str:
        """The right that we lack ('cannot create resource "events"'); "" if that is not why."""
        if self.status != _FORBIDDEN:
            return ""
        right = _RIGHT.search(str(self))
        return right.group() if right else ""


class Unreachable(Exception):
    """The API server did not answer."""


def pause_seconds(failures: int, error: Exception, lists_anew: bool = False) -> float:
    """The pause after so many failures in a row: longer each time, and no less than the server
    asked for.

    lists_anew: whether a whole list comes next, which all nodes may want at once."""
    doubled = _PAUSE_FIRST_SECONDS * 2.0 ** min(failures, _DOUBLINGS)
    pause = min(_PAUSE_LIMIT_SECONDS, doubled)
    pause *= random.uniform(0.75, 1.25)
    asked: float = getattr(error, "retry_after_seconds", 0.0)
    asked *= random.uniform(1.0, 1.25)
    spread = random.uniform(0.0, _SPREAD_SECONDS) if lists_anew else 0.0
    return max(pause, asked) + spread


def translated(error: Exception, request: str) -> Refused | Unreachable:
    """What an error of the official client means: Refused if the API server answered.

    request: what was asked, with which the message begins."""
    status = getattr(error, "status", None)
    body = getattr(error, "body", "")
    handshake = _HANDSHAKE.match(str(getattr(error, "reason", "")))
    if handshake:
        status = int(handshake[1])
        body = handshake[2]
    if not isinstance(status, int) or status == 0:
        return Unreachable(f"{request}: {type(error).__name__}: {error}")
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = getattr(error, "reason", "")
    return Refused(status, f"{request}: {status} {message}", _retry_after_seconds(error))


def _retry_after_seconds(error: Exception) -> float:
    headers = getattr(error, "headers", None) or {}
    asked = str(headers.get("Retry-After", ""))
    if not asked.isdecimal():
        return 0.0
    return min(float(asked), _RETRY_AFTER_LIMIT_SECONDS)
