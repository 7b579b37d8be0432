"""What the commands of this program ask of a driver besides its callouts.

A driver that wants `flexvol status`, `pool`, `trim` and so on to work has a subclass of Operations
and returns it from Driver.operations. All methods are optional: the command of a method that the
driver leaves out says that the driver does not have it."""

from shared.protocol import NotSupported, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Tuple


class Operations:
    """Answers NotSupported to everything but `prepare_node` and `examine`, which do nothing.

    A pool name of None means that the person named no pool."""

    def prepare_node(self, host_root: str) -> "List[str]":
        """`flexvol install`: does on a node what the driver needs besides the copied file.

        host_root: where the node's / is. Returns sentences about what was done."""
        return []

    def examine(self) -> "List[Tuple[str, str]]":
        """`flexvol doctor`: looks for what is wrong on this node, and changes nothing.

        Returns a pair for each thing: what was looked at, and the remedy if that is wrong, else
        ""."""
        return []

    def status(self) -> Reply:
        """`flexvol status`: tells what is on this node, and changes nothing.

        Returns a Reply with volumes and pools. volumes: an entry for each volume on this node, with
        name, pool, owner, sizeBytes, usedBytes, fsType, kind, source, thick, image, devices, mounts
        (path, pod, readOnly), fileSystemUsedBytes and fileSystemFreeBytes (as df tells, of a volume
        that is mounted), remark (a sentence about what needs no remedy, or "") and troubles (what,
        remedy); as much of that as can be found out. The name "*" stands for all volumes of a pool
        that cannot be read. pools: as Driver.list has them, with `archives`, the names of those."""
        raise NotSupported("this driver does not tell what is on a node")

    def make_pool(
        self, name: str, reserve: str, overcommit: float, replace: bool, unless_removed: bool
    ) -> str:
        """`flexvol pool init`: makes the pool, unless the pool is there.

        reserve: how much of the disk stays free, in bytes or like "20%". overcommit: how many times
        the disk's size may be promised. replace: also in the place of another pool of that name.
        unless_removed: not if a person has removed the pool. Returns a sentence about the pool."""
        raise NotSupported("this driver has no pools")

    def remove_pool(self, name: str, away: bool) -> str:
        """`flexvol pool remove`: removes an empty pool.

        away: only forgets a pool whose disk will not come back. Returns a sentence about the
        pool."""
        raise NotSupported("this driver has no pools")

    def pool_table(self) -> "List[Dict[str, str]]":
        """`flexvol pool list`: name, id, path and state of each pool of this node, also of one
        whose disk is away."""
        raise NotSupported("this driver has no pools")

    def cordon_pool(self, name: str, cordoned: bool) -> str:
        """`flexvol pool cordon` and `uncordon`: from now on the pool takes no new volumes, or takes
        them again. Returns a sentence about the pool."""
        raise NotSupported("this driver has no pools")

    def trim(self, pool_name: "Optional[str]") -> "Iterator[Dict[str, Any]]":
        """`flexvol trim`: gives back to the pool the blocks that the file systems of its volumes
        have free.

        pool_name: the pool; None for all pools. Yields an entry for each volume: name, pool and
        givenBytes, or why the volume was left out (skipped) or failed (error)."""
        raise NotSupported("this driver has nothing to trim")

    def snapshot(
        self, volume: str, name: str, keep: "Optional[int]", pool_name: "Optional[str]"
    ) -> "Iterator[str]":
        """`flexvol snapshot`: keeps what the volume holds now, and deletes the volume's oldest
        snapshots.

        name: of the snapshot; "" for a name of the driver's choice. keep: how many snapshots of the
        volume stay; None for all. pool_name: where the volume is. Yields sentences about what was
        done."""
        raise NotSupported("this driver makes no snapshots")

    def delete_snapshot(self, name: str, pool_name: "Optional[str]") -> str:
        """`flexvol snapshot --delete` and `flexvol delete`. Returns a sentence about the
        snapshot."""
        raise NotSupported("this driver makes no snapshots")

    def export_volume(
        self,
        name: str,
        pool_name: "Optional[str]",
        out: "BinaryIO",
        begin: int,
        raw: bool,
        move: "Optional[Dict[str, str]]",
    ) -> None:
        """`flexvol export`: writes the volume to `out` as a stream, while no pod uses the volume.

        begin: the position in the image, in bytes, from which a stream that was cut goes on. raw:
        writes the bare image in place of a stream. move: the id of the move and `to`, the node that
        gets the volume, if the volume is being moved: no pod of this node can use it any more."""
        raise NotSupported("this driver does not export or import volumes")

    def import_volume(self, pool_name: str, source: "BinaryIO") -> str:
        """`flexvol import`: makes a volume of a stream when all of the stream has come.

        Returns the volume's name. Raises Unavailable, saying how to go on, if the stream is cut;
        InvalidArgument if the stream is damaged, and then nothing of it is left."""
        raise NotSupported("this driver does not export or import volumes")

    def imported_bytes(self, name: str, pool_name: str, move_id: str) -> int:
        """`flexvol import --arrived`: how many bytes of the volume's stream are here, on disk.

        move_id: the move that the stream must be of. Raises InvalidArgument if the volume is here,
        all of it."""
        raise NotSupported("this driver does not export or import volumes")

    def forget_import(self, name: str, pool_name: str) -> None:
        """`flexvol import --forget`: deletes what has come of the volume's stream, and frees its
        room. Raises Busy if more of the stream is coming."""
        raise NotSupported("this driver does not export or import volumes")
