"""Events on claims, PVs and nodes, written by a thread of their own, so that the work never waits
for them. Repeated events are counted, and those of a time when the API server was away are written
afterwards."""

from __future__ import annotations

import datetime
import logging
import queue
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from cluster.controller.api_errors import Refused, Unreachable, pause_seconds
from cluster.controller.cluster import Cluster, in_namespace, path_to
from cluster.controller.objects import ApiObject, Object

# So many events may wait to be written; further ones are dropped, as the log has them too.
_WAITING = 1000
# So many events are known again when they are repeated.
_REMEMBERED = 1000
# The limit of events.k8s.io (noteLengthLimit in pkg/apis/core/validation/events.go).
_MESSAGE_LENGTH = 1024
# Of the 253 characters of an event's own name the rest is for the time.
_NAME_LENGTH = 200
# How often an event is tried to be written if the server has trouble of its own. A server that does
# not answer at all is waited for.
_TRIES = 10
# The same if we lack the right to write events, as may be when the server has only just started.
_TRIES_FORBIDDEN = 3
_CONFLICT = 409
_log = logging.getLogger("events")


@dataclass
class _Known:
    """An event that was written. count: how often it happened."""

    name: str
    count: int


class Events:
    """The writer. All methods may be called by any thread."""

    def __init__(self, cluster: Cluster, component: str) -> None:
        """component: who the events are from."""
        self._cluster = cluster
        self._component = component
        self._queue: queue.Queue[Object | None] = queue.Queue(_WAITING)
        # By the uid of what the event is about, its reason and its message.
        self._known: OrderedDict[tuple[str, str, str], _Known] = OrderedDict()
        self._closing = threading.Event()
        self._lacking = ""  # the right that was logged as lacking
        self._full = False
        self._thread = threading.Thread(
            target=self._write_all,
            name="events",
            daemon=True,
        )
        self._thread.start()

    def normal(self, about: Object, reason: str, message: str) -> None:
        """An event about a claim, a PV or a node. reason: one word, in CamelCase."""
        self._put("Normal", about, reason, message)

    def warning(self, about: Object, reason: str, message: str) -> None:
        """As `normal`, about something that went wrong."""
        self._put("Warning", about, reason, message)

    def close(self, seconds: float) -> None:
        """Writes the events that wait, for so long at most."""
        self._closing.set()
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _put(self, kind: str, about: Object, reason: str, message: str) -> None:
        thing = ApiObject(about)
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        stem = thing.name[:_NAME_LENGTH].rstrip("-.")
        event = {
            "metadata": {"name": f"{stem}.{time.time_ns():x}"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "type": kind,
            "reason": reason,
            "message": message[:_MESSAGE_LENGTH],
            "involvedObject": _reference(thing),
        }
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            if not self._full:
                _log.warning("%s events wait to be written; no more are kept", _WAITING)
            self._full = True
        else:
            self._full = False

    def _write_all(self) -> None:
        while True:
            event = self._queue.get()
            if event is None:
                return
            try:
                self._write_or_drop(event)
            except Exception:
                _log.exception("bug while writing the event %s", event["reason"])

    def _write_or_drop(self, event: Object) -> None:
        """Tries to write the event until it is written, its tries are used up, or the end has
        come."""
        failures = 0
        while True:
            error = self._failure(event)
            if error is None:
                self._lacking = ""
                return
            failures += 1
            if failures >= self._tries(error):
                break
            if self._closing.wait(pause_seconds(failures, error)):
                break
        self._log_failure(event, error)

    def _tries(self, error: Refused | Unreachable) -> float:
        if isinstance(error, Unreachable):
            return float("inf")
        if error.passes:
            return _TRIES
        if error.lacking and not self._lacking:
            return _TRIES_FORBIDDEN
        return 1

    def _failure(self, event: Object) -> Refused | Unreachable | None:
        """Writes the event, or returns why it could not."""
        try:
            self._write(event)
        except (Refused, Unreachable) as error:
            return error
        return None

    def _log_failure(self, event: Object, error: Refused | Unreachable) -> None:
        """A right that we lack is logged once."""
        lacking = getattr(error, "lacking", "")
        if not lacking or lacking != self._lacking:
            _log.warning("event %s not written: %s", event["reason"], error)
        self._lacking = lacking

    def _write(self, event: Object) -> None:
        about = event["involvedObject"]
        key = (about["uid"], event["reason"], event["message"])
        collection = in_namespace(about.get("namespace", "default"), "events")
        known = self._known.get(key)
        if known is not None:
            again = {"count": known.count + 1, "lastTimestamp": event["lastTimestamp"]}
            if self._cluster.patch(path_to(collection, known.name), again) is not None:
                known.count += 1
                return
        source = {"component": self._component}
        try:
            self._cluster.create(collection, {"source": source, "count": 1, **event})
        except Refused as error:
            # If it exists, it was written, and the answer was lost.
            if error.status != _CONFLICT:
                raise
        self._known[key] = _Known(event["metadata"]["name"], 1)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _reference(thing: ApiObject) -> Object:
    """thing: a claim if it has a namespace; else a PV, unless it says what it is."""
    kind = "PersistentVolumeClaim" if thing.namespace else "PersistentVolume"
    reference = {
        "apiVersion": "v1",
        "kind": thing.json.get("kind") or kind,
        "name": thing.name,
        "uid": thing.uid,
        "resourceVersion": thing.resource_version,
    }
    if thing.namespace:
        reference["namespace"] = thing.namespace
    return reference
