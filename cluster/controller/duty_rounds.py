"""One round of the duties of no single node: what is known in it, and what was reported before."""

from __future__ import annotations

from cluster.controller import cluster, lost_storage
from cluster.controller.objects import Node, Object

_REPORT_AGAIN_SECONDS = 600.0


class Round:
    """What one round knows of the nodes, and what it reads live: each object once."""

    def __init__(
        self,
        api: cluster.Cluster,
        nodes: list[Node],
        now: float,
    ) -> None:
        """nodes: as the watch reports them.

        now: when the round began, in seconds of a monotonic clock."""
        self.now = now
        self.node_names = {node.name for node in nodes}
        self.labels = [node.labels for node in nodes]
        # The hostnames of the nodes that pods cannot go to, which leave a claim to another node
        # with room.
        self.passed_over = frozenset(node.hostname for node in nodes if not node.takes_pods)
        self._api = api
        self._read: dict[str, Object | None] = {}

    def get(self, path: str) -> Object | None:
        """The object at the path, read live once; None if it is not there."""
        if path not in self._read:
            self._read[path] = self._api.get(path)
        return self._read[path]

    def node_exists(self, name: str) -> bool:
        """By a live read."""
        return lost_storage.node_exists(self.get, name)


class Reports:
    """Which report was made of each object, so that the same one is repeated only now and then."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, float]] = {}

    def is_due(self, uid: str, kind: str, now: float) -> bool:
        """Whether to report this of the object with that uid, which then counts as done."""
        last_kind, at = self._last.get(uid, ("", 0.0))
        if last_kind == kind and now - at < _REPORT_AGAIN_SECONDS:
            return False
        self._last[uid] = (kind, now)
        return True

    def forget(self, uid: str) -> None:
        """The next report of the object is made at once."""
        self._last.pop(uid, None)

    def keep(self, uids: set[str]) -> None:
        """Forgets all objects but those with these uids."""
        self._last = {uid: last for uid, last in self._last.items() if uid in uids}
