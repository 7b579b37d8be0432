"""Events on claims, PVs and nodes, written by a thread of their own: never on the way of the work,
repeated ones are counted, and those of a time when the API server was away are written
afterwards."""

from __future__ import annotations

import datetime
import logging
import queue
import threading
import time
from collections import OrderedDict
from typing import Any

from cluster.controller.api_errors import Refused, Unreachable, pause_seconds
from cluster.controller.cluster import Cluster, in_namespace, path_to

Object = dict[str, Any]
_log = logging.getLogger("events")
_WAITING = 1000
_REMEMBERED = 1000
_MESSAGE_LENGTH = 1024
_NAME_LENGTH = 200  # of the 253 of an event's own
_TRIES = 10  # if the server has trouble of its own; one that does not answer at all is waited for
_TRIES_FORBIDDEN = 3  # as it may also be when it has only just started


class Events:
    """The writer. component: who the events are from."""

    def __init__(self, cluster: Cluster, component: str) -> None:
        self._cluster = cluster
        self._component = component
        self._queue: queue.Queue[Object | None] = queue.Queue(_WAITING)
        self._known: OrderedDict[tuple[str, str, str], Object] = OrderedDict()
        self._closing = threading.Event()
        self._refused = ""
        self._full = False
        self._thread = threading.Thread(target=self._write_all, name="events", daemon=True)
        self._thread.start()

    def normal(self, about: Object, reason: str, message: str) -> None:
        self._put("Normal", about, reason, message)

    def warning(self, about: Object, reason: str, message: str) -> None:
        self._put("Warning", about, reason, message)

    def close(self, seconds: float) -> None:
        """Writes what is waiting, for so long at most."""
        self._closing.set()
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _put(self, kind: str, about: Object, reason: str, message: str) -> None:
        metadata = about["metadata"]
        claim = "namespace" in metadata
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "metadata": {
                "name": f"{metadata['name'][:_NAME_LENGTH].rstrip('-.')}.{time.time_ns():x}"
            },
            "firstTimestamp": now,
            "lastTimestamp": now,
            "type": kind,
            "reason": reason,
            "message": message[:_MESSAGE_LENGTH],
            "involvedObject": {
                "apiVersion": "v1",
                "kind": about.get("kind")
                or ("PersistentVolumeClaim" if claim else "PersistentVolume"),
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
                **({"namespace": metadata["namespace"]} if claim else {}),
            },
        }
        try:
            self._queue.put_nowait(event)
        except queue.Full:  # the log has it too; work is not held up for events
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
                failures = 0
                while error := self._failure(event):
                    failures += 1
                    if failures >= self._tries(error) or self._closing.wait(
                        pause_seconds(failures, error)
                    ):
                        self._say(event, error)
                        break
                else:
                    self._refused = ""
            except Exception:
                _log.exception("bug while writing the event %s", event["reason"])

    def _tries(self, error: Refused | Unreachable) -> float:
        if isinstance(error, Unreachable):
            return float("inf")
        return (
            _TRIES
            if error.passes
            else _TRIES_FORBIDDEN
            if error.lacking and not self._refused
            else 1
        )

    def _failure(self, event: Object) -> Refused | Unreachable | None:
        """Writes the event, or returns why it could not."""
        try:
            self._write(event)
        except (Refused, Unreachable) as error:
            return error
        return None

    def _say(self, event: Object, error: Refused | Unreachable) -> None:
        """That we may not write events is said once."""
        lacking = getattr(error, "lacking", "")
        if not lacking or lacking != self._refused:
            _log.warning("event %s not written: %s", event["reason"], error)
        self._refused = lacking

    def _write(self, event: Object) -> None:
        key = (event["involvedObject"]["uid"], event["reason"], event["message"])
        known = self._known.get(key)
        namespace = event["involvedObject"].get("namespace", "default")
        collection = in_namespace(namespace, "events")
        if known is not None:
            again = {"count": known["count"] + 1, "lastTimestamp": event["lastTimestamp"]}
            if self._cluster.patch(path_to(collection, known["name"]), again) is not None:
                known["count"] += 1
                return
        try:
            self._cluster.create(
                collection, {"source": {"component": self._component}, "count": 1, **event}
            )
        except Refused as error:
            if error.status != 409:  # it was written, and the answer was lost
                raise
        self._known[key] = {"name": event["metadata"]["name"], "count": 1}
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
