"""What the node knows of flexvol in /etc/flexvol, where no data disk is: its administrator's
settings, and the pools that were made here.

config.json is the administrator's; without the file every default holds.
{"pools": {"NAME": "/var/lib/flexvol/DIRECTORY"}}: where a pool lies, if not in a directory of its
own name. {"mountFlags": ["nosuid", "nodev"]}: what every volume is mounted with; these two flags
unless the file says otherwise.

pools.json is ours; only `flexvol install` and `flexvol pool` write the file.
{"schema": 1, "pools": {"NAME": {"id": "ID", "path": "DIRECTORY"}}}: the pools of this node, also
while their disks are away. A pool that was made with --replace has "former" too, a list of ids.
{"removed": ["NAME"]}: the pools that a person has removed, which are made again only by a person.
An older flexvol notes that of the pool `default` alone, as {"defaultRemoved": true}."""

import os

from node.host import files
from shared.protocol import Unavailable, check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple

    from node.host.descriptors import Descriptor

DIRECTORY = "/etc/flexvol"
CONFIG = DIRECTORY + "/config.json"
POOLS_FILE = "pools.json"
POOLS = DIRECTORY + "/" + POOLS_FILE
_POOLS_SCHEMA = 1
_REMOVED = "removed"
# An older flexvol, to which a node may go back, reads only this of a pool `default` that a person
# has removed.
_DEFAULT_REMOVED = "defaultRemoved"
# What a person does about a pools.json that cannot be read. The id of a pool is in its pool.json,
# and in the poolId of the PVs of its volumes.
_MEND_POOLS = (
    'mend that file, which holds {"schema": 1, "pools": {"NAME": {"id": "ID of its pool.json", '
    '"path": "DIRECTORY"}}} for each pool of this node; or put it back from a backup; or mount '
    "the disks of all pools, move the file aside, and run: loop install"
)
# Writing pools.json takes milliseconds; whoever holds its lock longer than this hangs.
_LOCK_SECONDS = 20
_DEFAULT = "default"  # the pool that each node has
# Every pool lies in here; other disks are mounted or bound below it.
ROOT = "/var/lib/flexvol"
# What config.json may have in mountFlags, and what holds without it.
MOUNT_FLAGS = ("nosuid", "nodev", "noexec")
_DEFAULT_MOUNT_FLAGS = ("nosuid", "nodev")
_SETTINGS = ("pools", "mountFlags")


def pools() -> "Dict[str, str]":
    """The pools that config.json places, name to directory. Raises Unavailable if config.json
    cannot be understood."""
    placed: "Dict[str, str]" = _settings().get("pools", {})
    is_table = isinstance(placed, dict)
    if not is_table or not all(isinstance(path, str) for path in placed.values()):
        raise Unavailable('{}: expected {{"pools": {{"NAME": "DIRECTORY"}}}}'.format(CONFIG))
    return placed


def mount_flags() -> "List[str]":
    """The flags of every mount, of MOUNT_FLAGS. Raises Unavailable if config.json cannot be
    understood."""
    flags = _settings().get("mountFlags", list(_DEFAULT_MOUNT_FLAGS))
    if not isinstance(flags, list) or not all(flag in MOUNT_FLAGS for flag in flags):
        raise Unavailable(
            '{}: expected {{"mountFlags": [...]}} with {}'.format(CONFIG, ", ".join(MOUNT_FLAGS))
        )
    return flags


def _read(path: str) -> "Optional[Dict[str, Any]]":
    """The JSON object in the file; None if there is no file."""
    import json

    try:
        with open(path, "rb") as file:
            content: "Any" = json.loads(file.read().decode("utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror or "no reason is known") from None
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from None
    if not isinstance(content, dict):
        raise _unreadable(path, "expected one JSON object")
    return content


def _unreadable(path: str, why: str) -> Unavailable:
    """The sentence about a file whose content cannot be known; nothing is made in its place."""
    sentence = "{} cannot be read: {}".format(path, why)
    if path == POOLS:
        sentence += "; " + _MEND_POOLS
    return Unavailable(sentence)


def _settings() -> "Dict[str, Any]":
    settings = _read(CONFIG) or {}
    unknown = sorted(set(settings) - set(_SETTINGS))
    if unknown:
        raise Unavailable(
            "{}: {} is no setting; there are pools and mountFlags".format(CONFIG, unknown[0])
        )
    return settings


class Remembered:
    """What the node notes of a pool that was made here. id: of its pool.json. path: its directory.
    former: the ids of the pools of this name that the pool has replaced."""

    def __init__(self, pool_id: str, path: str, former: "List[str]") -> None:
        self.id = pool_id
        self.path = path
        self.former = former

    def is_one_of_its_ids(self, pool_id: str) -> bool:
        """Whether a pool with that id was made on this node under this name. A disk that comes back
        after its replacement is not a stranger's."""
        return pool_id == self.id or pool_id in self.former


def remembered() -> "Dict[str, Remembered]":
    """The pools that were made on this node, by name, there or away. Raises Unavailable if
    pools.json cannot be understood."""
    return {
        name: Remembered(entry["id"], entry["path"], entry.get("former", []))
        for name, entry in _memory()["pools"].items()
    }


def known_names() -> "Set[str]":
    """The names of the pools that the node has noted or that config.json places. A file that cannot
    be read counts as empty: the names are only shown to a person."""
    known: "Set[str]" = set()
    for read in (pools, remembered):
        try:
            known.update(read())
        except Unavailable:
            continue  # every call that needs the file says so
    return known


def below_root() -> "List[str]":
    """What lies in the directory of the pools; no disk below it is asked."""
    try:
        return os.listdir(ROOT)
    except OSError:
        return []


def is_removed(name: str) -> bool:
    """Whether a person has removed the pool, and nobody has made it again. Raises Unavailable if
    pools.json cannot be understood."""
    memory = _memory()
    if name == _DEFAULT and memory.get(_DEFAULT_REMOVED) is True:
        return True
    return name in memory.get(_REMOVED, [])


def remember(name: str, pool_id: str, path: str) -> bool:
    """Notes that the pool is one of this node's. Returns whether anything was new. The id that the
    pool of this name had until now stays known as a former one."""
    with _locked_pools() as pools_file:
        memory = pools_file.content
        before = memory["pools"].get(name, {})
        former = [known for known in before.get("former", []) if known != pool_id]
        if before and before["id"] != pool_id:
            former.append(before["id"])
        entry: "Dict[str, Any]" = {"id": pool_id, "path": path}
        if former:
            entry["former"] = former
        memory["pools"][name] = entry
        _set_removed(memory, name, removed=False)
        return bool(before != entry)


def forget(name: str) -> None:
    """Takes the pool out of the notes, as if it had never been made."""
    with _locked_pools() as pools_file:
        pools_file.content["pools"].pop(name, None)


def note_removed(name: str) -> None:
    """Notes that a person has removed the pool, so that nothing makes it again by itself."""
    with _locked_pools() as pools_file:
        memory = pools_file.content
        memory["pools"].pop(name, None)
        _set_removed(memory, name, removed=True)


def _set_removed(memory: "Dict[str, Any]", name: str, removed: bool) -> None:
    names = set(memory.pop(_REMOVED, []))
    names.discard(name)
    if removed:
        names.add(name)
    if names:
        memory[_REMOVED] = sorted(names)
    if name == _DEFAULT:
        memory.pop(_DEFAULT_REMOVED, None)
        if removed:
            memory[_DEFAULT_REMOVED] = True


def check_writable() -> None:
    """Raises Unavailable if no pool can be noted, before a pool is made."""
    try:
        os.makedirs(DIRECTORY, 0o755, exist_ok=True)
    except OSError as error:
        raise _unwritable(error) from None
    if not os.access(DIRECTORY, os.W_OK):
        raise _unwritable(OSError(0, "it is read-only"))


def _locked_pools() -> "_LockedPools":
    """Opens pools.json under its lock. Raises Unavailable if pools.json cannot be read or written,
    Busy if somebody else has the lock for long."""
    try:
        os.makedirs(DIRECTORY, 0o755, exist_ok=True)
        directory = files.open_path(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unwritable(error) from None
    with directory:
        directory.lock(DIRECTORY, _LOCK_SECONDS)
        memory = _memory()
        return _LockedPools(directory.kept_open(), memory)


class _LockedPools:
    """pools.json under its lock, to be changed. content: as in the file; written at the end of the
    `with` if anything in it has changed, unless that ended with an exception."""

    def __init__(self, directory: "Descriptor", content: "Dict[str, Any]") -> None:
        self.content = content
        self._directory = directory
        self._before = _text(content)

    def __enter__(self) -> "_LockedPools":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._directory:
            text = _text(self.content)
            if kind is None and text != self._before:
                self._write(text)

    def _write(self, text: str) -> None:
        try:
            if text == _text(_nothing()):
                os.unlink(POOLS_FILE, dir_fd=self._directory)
            else:
                files.write(self._directory, POOLS_FILE, text.encode("ascii"))
        except OSError as error:
            raise _unwritable(error) from None


def _text(memory: "Dict[str, Any]") -> str:
    import json

    return json.dumps(memory, indent=1, sort_keys=True) + "\n"


def _unwritable(error: OSError) -> Unavailable:
    return Unavailable(
        "{} cannot be written ({}); the node's pools are noted there, so that a pool whose disk "
        "is away is missed: make {} writable".format(POOLS, error.strerror, DIRECTORY)
    )


def _nothing() -> "Dict[str, Any]":
    return {"schema": _POOLS_SCHEMA, "pools": {}}


def _memory() -> "Dict[str, Any]":
    memory = _read(POOLS)
    if memory is None:
        return _nothing()
    if memory.get("schema") not in (None, _POOLS_SCHEMA):
        raise Unavailable(
            "{} has a schema other than {}; use a newer flexvol".format(POOLS, _POOLS_SCHEMA)
        )
    pools = memory.get("pools")
    is_whole = isinstance(pools, dict) and all(map(_is_entry, pools.values()))
    is_whole = is_whole and _are_words(memory.get(_REMOVED, []))
    if memory.get("schema") is None or not is_whole:
        raise Unavailable(
            "{} is damaged: it is not what flexvol wrote; {}".format(POOLS, _MEND_POOLS)
        )
    return memory


def _is_entry(entry: "Any") -> bool:
    if not isinstance(entry, dict):
        return False
    words = [entry.get("id"), entry.get("path")]
    return _are_words(words) and _are_words(entry.get("former", []))


def _are_words(words: "Any") -> bool:
    return isinstance(words, list) and all(isinstance(word, str) for word in words)


def known_pool(name: str, has_id: bool) -> "Optional[Remembered]":
    """What the node notes of the pool `name`; None if the node notes nothing.

    has_id: the caller has the pool's id from the PV, which proves that a pool is the right one;
    notes that cannot be read then keep no pod from its data. Without has_id, raises Unavailable if
    the notes cannot be read."""
    try:
        return remembered().get(name)
    except Unavailable:
        if not has_id:
            raise
        return None


def locate(name: str, has_id: bool) -> "Tuple[str, Optional[Remembered]]":
    """The directory of the pool `name`, as pool_directory has it, and what the node notes of the
    pool; each file is read once. has_id: as known_pool has it."""
    check_name("pool name", name)
    placed = pools().get(name)
    known = known_pool(name, has_id)
    return _directory(name, placed, known), known


def pool_directory(name: str) -> str:
    """The directory of the pool `name`: always below ROOT, never through '..'. The administrator's
    config.json decides, then where the pool was made."""
    check_name("pool name", name)
    placed = pools().get(name)
    if placed is not None:
        return _directory(name, placed, None)
    return _directory(name, None, remembered().get(name))


def _directory(name: str, placed: "Optional[str]", known: "Optional[Remembered]") -> str:
    file = CONFIG
    path = placed
    if path is None:
        path = known.path if known else ROOT + "/" + name
        file = POOLS
    if not path.startswith(ROOT + "/") or ".." in path.split("/"):
        raise Unavailable(
            "{}: pool {} is at {}; a pool lies below {}".format(file, name, path, ROOT)
        )
    return path
