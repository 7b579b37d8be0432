"""What the commands of this program ask of the loop driver: each method leads to its module."""

from node.operations import Operations
from shared.protocol import Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Tuple


class LoopOperations(Operations):
    """See node/operations.py for what each method does. A command imports only what it needs."""

    def prepare_node(self, host_root: str) -> "List[str]":
        from node.drivers.loop.by_hand import pool_setup

        return pool_setup.prepare_node(host_root)

    def examine(self) -> "List[Tuple[str, str]]":
        from node.drivers.loop.by_hand import reports

        return reports.examine()

    def status(self) -> Reply:
        from node.drivers.loop.by_hand import reports

        return reports.status()

    def make_pool(
        self, name: str, reserve: str, overcommit: float, replace: bool, unless_removed: bool
    ) -> str:
        from node.drivers.loop.by_hand import pool_setup

        return pool_setup.make(name, reserve, overcommit, replace, unless_removed)

    def remove_pool(self, name: str, away: bool) -> str:
        from node.drivers.loop.by_hand import pool_setup

        return pool_setup.remove(name, away)

    def pool_table(self) -> "List[Dict[str, str]]":
        from node.drivers.loop.by_hand import pool_setup

        return pool_setup.table()

    def cordon_pool(self, name: str, cordoned: bool) -> str:
        from node.drivers.loop.by_hand import pool_setup

        return pool_setup.cordon(name, cordoned)

    def trim(self, pool_name: "Optional[str]") -> "Iterator[Dict[str, Any]]":
        from node.drivers.loop.by_hand import trimming

        return trimming.trim(pool_name)

    def snapshot(
        self, volume: str, name: str, keep: "Optional[int]", pool_name: "Optional[str]"
    ) -> "Iterator[str]":
        from node.drivers.loop.by_hand import snapshots

        return snapshots.make(volume, name, keep, pool_name)

    def delete_snapshot(self, name: str, pool_name: "Optional[str]") -> str:
        from node.drivers.loop.by_hand import snapshots

        return snapshots.delete(name, pool_name)

    def export_volume(
        self,
        name: str,
        pool_name: "Optional[str]",
        out: "BinaryIO",
        begin: int,
        raw: bool,
        move: "Optional[Dict[str, str]]",
    ) -> None:
        from node.drivers.loop.by_hand import streams

        streams.send(pool_name, name, out, begin, raw, move)

    def import_volume(self, pool_name: str, source: "BinaryIO") -> str:
        from node.drivers.loop.by_hand import streams

        return streams.receive(pool_name, source)

    def imported_bytes(self, name: str, pool_name: str, move_id: str) -> int:
        from node.drivers.loop.by_hand import streams

        return streams.arrived(pool_name, name, move_id)

    def forget_import(self, name: str, pool_name: str) -> None:
        from node.drivers.loop.by_hand import streams

        streams.forget(pool_name, name)
