"""Reports about a node: `status` shows each volume with its devices, mounts and pods, and `doctor`
all that is wrong with the volumes, the pools and the node, each with a remedy.

Nothing is changed here. What looks wrong is looked at again under the volume's lock before it is
reported, so that a callout at work is not taken for damage."""

from node.drivers.loop import archives, node_pools, pools
from node.drivers.loop.by_hand import findings, node_report, pool_report, volume_report
from node.host import filesystems
from shared.protocol import Failure, Reply, Unavailable, of_volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

    from node.drivers.loop.by_hand.findings import Finding
    from node.drivers.loop.pools import Pool
    from node.host import apart

    Entry = Dict[str, Any]
    # One of the kinds below, and an entry or finding of that kind. The process that looks at a pool
    # sends them as JSON.
    Seen = Tuple[str, Any]

_POOL = "pool"
_VOLUME = "volume"
_FINDING = "finding"
# How long all looks may take on a node with very many volumes that are not well.
_LOOKS_SECONDS = 300
_ALL = "*"  # the name of an entry that is about all volumes of a pool


class _Report:
    """The result of one look at each pool of this node.

    pools: an entry for each pool. volumes: an entry for each volume, and one named "*" for a pool
    of which not all could be seen. findings: about the pools."""

    def __init__(self) -> None:
        self.pools: "List[Entry]" = []
        self.volumes: "List[Entry]" = []
        self.findings: "List[Finding]" = []

    def add(self, name: str, look: "apart.Look") -> None:
        """Adds the look at the pool of that name."""
        pool_entries = [entry for kind, entry in look.entries if kind == _POOL]
        volume_entries = [entry for kind, entry in look.entries if kind == _VOLUME]
        if look.error:
            pool_entries.append(pools.describe_absent(name, Unavailable(look.error)))
            volume_entries.append(_about_all(name, _unseen(look.error, volume_entries)))
        self.pools += pool_entries[:1]
        self.volumes += volume_entries
        for kind, entry in look.entries:
            if kind == _FINDING:
                what, remedy = entry
                self.findings.append((what, remedy))


def _report(
    look_at_pool: "Callable[[Pool], Iterator[Seen]]", also: "Sequence[str]" = ()
) -> _Report:
    """Looks once at each pool of this node, with `look_at_pool`, and then at each volume in it.

    also: as node_pools.look has it."""

    def look_at(name: str) -> "Iterator[Seen]":
        try:
            with pools.open_pool(name) as pool:
                yield from look_at_pool(pool)
                for entry in volume_report.entries(pool):
                    yield _VOLUME, entry
        except (Failure, OSError) as error:
            yield _POOL, pools.describe_absent(name, error)
            yield _VOLUME, _about_all(name, findings.from_sentence(str(error)))

    report = _Report()
    for name, look in node_pools.look(look_at, also, _LOOKS_SECONDS).items():
        report.add(name, look)
    return report


def _about_all(pool_name: str, trouble: "Finding") -> "Entry":
    return {"name": _ALL, "pool": pool_name, "troubles": [trouble]}


def _unseen(error: str, seen: "List[Entry]") -> "Finding":
    """About a pool that stopped answering after the entries of these volumes had come."""
    what, remedy = findings.from_sentence(error, remedy="")
    if not seen:
        return what + "; none of its volumes was seen", remedy
    last = seen[-1]["name"]
    return what + "; the volumes after {} were not seen".format(last), remedy


def status() -> Reply:
    """As Operations.status has it."""
    report = _report(_describe_pool)
    return Reply(volumes=report.volumes, pools=report.pools)


def _describe_pool(pool: "Pool") -> "Iterator[Seen]":
    try:
        entry = pool.describe()
        entry["archives"] = archives.names(pool)
    except (Failure, OSError) as error:
        entry = pools.describe_absent(pool.name, error)
    yield _POOL, entry


def examine() -> "List[Finding]":
    """As Operations.examine has it. Returns a finding about everything that was looked at."""
    try:
        report = _report(_examine_pool)
        has_no_pool = not report.volumes and not report.findings
        if has_no_pool:
            report = _report(_examine_pool, also=(pools.DEFAULT,))
    except Failure as unreadable:  # the node's settings, or its note of the pools
        return [node_report.free_device(), _unreadable_settings(unreadable)]
    used_types = {entry.get("fsType") for entry in report.volumes}
    all_findings = [node_report.free_device()]
    for kind in filesystems.TABLE.values():
        is_used = kind.name in used_types or kind.name == filesystems.DEFAULT
        all_findings.append(node_report.file_system(kind, is_used))
    for entry in report.volumes:
        if entry["name"] == _ALL:
            all_findings += entry["troubles"]
    all_findings += report.findings
    all_findings += _findings_of([entry for entry in report.volumes if entry["name"] != _ALL])
    return all_findings


def _examine_pool(pool: "Pool") -> "Iterator[Seen]":
    try:
        for finding in pool_report.examine(pool):
            yield _FINDING, finding
    except (Failure, OSError) as error:
        yield _FINDING, findings.from_sentence(str(error))


def _unreadable_settings(error: Failure) -> "Finding":
    """About a file in /etc/flexvol, without which no pool can be found."""
    return findings.from_sentence(
        str(error), "mend that file; it is JSON, and every callout for a volume reads it"
    )


def _findings_of(volumes: "List[Entry]") -> "Iterator[Finding]":
    for entry in volumes:
        for what, remedy in entry["troubles"]:
            yield of_volume(entry["name"], what), remedy
        if entry.get("remark"):
            yield findings.remark(entry["remark"])
    mounted = sum(1 for entry in volumes if entry.get("mounts"))
    yield findings.remark("volumes: {}, of them mounted: {}".format(len(volumes), mounted))
