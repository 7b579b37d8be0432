"""Events on claims, PVs and nodes, written by a thread of their own: never on the way of the work, and counted where
they repeat."""

from __future__ import annotations

import datetime
import logging
import queue
import threading
from collections import OrderedDict
from typing import Any

from controller.cluster import Cluster, Refused, Unreachable

Object = dict[str, Any]
_log = logging.getLogger("events")
_WAITING = 1000
_REMEMBERED = 1000
_MESSAGE_LENGTH = 1024


class Events:
    """The writer. component: who the events are from."""

    def __init__(self, cluster: Cluster, component: str) -> None:
        self._cluster = cluster
        self._component = component
        self._queue: queue.Queue[Object | None] = queue.Queue(_WAITING)
        self._known: OrderedDict[tuple[str, str, str], Object] = OrderedDict()
        self._thread = threading.Thread(target=self._write_all, name="events", daemon=True)
        self._thread.start()

    def normal(self, about: Object, reason: str, message: str) -> None:
        self._put("Normal", about, reason, message)

    def warning(self, about: Object, reason: str, message: str) -> None:
        self._put("Warning", about, reason, message)

    def close(self, seconds: float) -> None:
        """Writes what is waiting, for so long at most."""
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _put(self, kind: str, about: Object, reason: str, message: str) -> None:
        metadata = about["metadata"]
        claim = "namespace" in metadata
        event = {
            "type": kind,
            "reason": reason,
            "message": message[:_MESSAGE_LENGTH],
            "involvedObject": {
                "apiVersion": "v1",
                "kind": about.get("kind") or ("PersistentVolumeClaim" if claim else "PersistentVolume"),
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
                **({"namespace": metadata["namespace"]} if claim else {}),
            },
        }
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            return  # the log has it too; work is not held up for events

    def _write_all(self) -> None:
        while True:
            event = self._queue.get()
            if event is None:
                return
            try:
                self._write(event)
            except (Refused, Unreachable) as error:
                _log.warning("event %s not written: %s", event["reason"], error)
            except Exception:
                _log.exception("bug while writing the event %s", event["reason"])

    def _write(self, event: Object) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        key = (event["involvedObject"]["uid"], event["reason"], event["message"])
        known = self._known.get(key)
        namespace = event["involvedObject"].get("namespace", "default")
        collection = f"/api/v1/namespaces/{namespace}/events"
        if known is not None:
            known["count"] += 1
            again = {"count": known["count"], "lastTimestamp": now}
            if self._cluster.patch(f"{collection}/{known['name']}", again) is not None:
                return
        created = self._cluster.create(collection, {
            "metadata": {"generateName": event["involvedObject"]["name"] + ".", "namespace": namespace},
            "source": {"component": self._component},
            "firstTimestamp": now, "lastTimestamp": now, "count": 1, **event,
        })  # fmt: skip
        self._known[key] = {"name": created["metadata"]["name"], "count": 1}
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
