"""A pool's own file, pool.json: its id, and the limits that its administrator gave it.

{"schema": 1, "id": "HEX", "reserve": "20%", "overcommit": 1.0}. `loop pool cordon` adds
"cordoned": true. Other fields are left as they are."""

import binascii
import os

from node.host import files
from shared.protocol import Failure, InvalidArgument, Unavailable, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

FILE = "pool.json"
_SCHEMA = 1
_ID_BYTES = 8  # random, so no two pools of a cluster ever have the same id
# The default pool shares the root disk with kubelet, which deletes images from 85 % use on and
# evicts pods when 15 % are left for images (imageGCHighThresholdPercent, imagefs.available). A full
# pool must leave more than that.
DEFAULT_RESERVE = "20%"
DEFAULT_OVERCOMMIT = 1.0
_LEAST_OVERCOMMIT = 0.1
_MOST_OVERCOMMIT = 100


class Damaged(Unavailable):
    """The pool is there, and its pool.json is not as flexvol wrote it. The pool's volumes may be
    whole, so nothing takes the place of this pool."""


class PoolSettings:
    """What pool.json says of its pool.

    id: of the pool, which is also in the PVs of its volumes. reserve: what stays free on the disk,
    "20%" or a number of bytes. overcommit: the factor by which more is promised than there is.
    cordoned: whether the pool takes no new volumes."""

    def __init__(self, pool_id: str, reserve: str, overcommit: float, cordoned: bool) -> None:
        self.id = pool_id
        self.reserve = reserve
        self.overcommit = overcommit
        self.cordoned = cordoned


def make(directory: int, reserve: str, overcommit: float) -> None:
    """Writes the pool.json of a new pool, with an id of its own, into the open directory."""
    settings = {
        "schema": _SCHEMA,
        "id": binascii.hexlify(os.urandom(_ID_BYTES)).decode(),
        "overcommit": overcommit,
        "reserve": reserve,
    }
    _write(directory, settings)


def read(directory: int, path: str, known_id: "Optional[str]") -> PoolSettings:
    """Reads the pool.json in the open directory.

    path: of the directory, for messages. known_id: the id that the node has noted of this pool, or
    None. Raises FileNotFoundError if there is no such file, Damaged if it cannot be understood, and
    InvalidArgument if its limits are impossible."""
    try:
        settings = _read(directory)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Damaged(
            "{}/{} cannot be read ({}); see the disk, and dmesg, first; {}".format(
                path, FILE, error.strerror, _written_anew(known_id)
            )
        ) from None
    except (Failure, ValueError, RecursionError) as error:
        raise _damaged(path, "cannot be read: {}".format(error), known_id) from None
    return _checked(settings, path, known_id)


def _checked(settings: "Any", path: str, known_id: "Optional[str]") -> PoolSettings:
    schema = settings.get("schema") if isinstance(settings, dict) else None
    if schema is None:
        raise _damaged(path, "is not what flexvol wrote", known_id)
    if schema != _SCHEMA:
        raise Damaged(
            "{}/{} has a schema other than {}; use a newer flexvol".format(path, FILE, _SCHEMA)
        )
    check_limits(settings.get("reserve"), settings.get("overcommit"))
    pool_id = settings.get("id")
    if not isinstance(pool_id, str):
        raise _damaged(path, "has no id", known_id)
    return PoolSettings(
        pool_id,
        str(settings["reserve"]),
        float(settings["overcommit"]),
        settings.get("cordoned") is True,
    )


def id_in(directory: int) -> "Optional[str]":
    """Returns the id in the pool.json of the open directory; None if that file cannot be read, for
    which `read` has the reason."""
    try:
        return str(_read(directory)["id"])
    except (Failure, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def set_cordoned(directory: int, cordoned: bool) -> bool:
    """Writes into the pool.json whether the pool takes no new volumes. Returns whether that is
    new. The caller holds the pool's lock."""
    settings = _read(directory)
    if cordoned == (settings.get("cordoned") is True):
        return False
    settings["cordoned"] = cordoned
    _write(directory, settings)
    return True


def _read(directory: int) -> "Any":
    import json

    return json.loads(files.read(directory, FILE).decode("utf-8"))


def _write(directory: int, settings: "Dict[str, Any]") -> None:
    import json

    files.write(directory, FILE, json.dumps(settings, indent=1).encode())


def _damaged(path: str, why: str, known_id: "Optional[str]") -> Damaged:
    return Damaged("{}/{} {}; {}".format(path, FILE, why, _written_anew(known_id)))


def _written_anew(known_id: "Optional[str]") -> str:
    """How a person puts a pool.json right."""
    pool_id = "ID"
    source_of_id = " with the poolId that the PVs of its volumes have"
    if known_id:
        pool_id = shown(known_id).strip("'")
        source_of_id = ""
    return (
        "the pool's volumes are left as they are: put the file back from a backup, or, if the "
        'disk is the right one, write the file anew{}: {{"schema": {}, "id": "{}", '
        '"reserve": "{}", "overcommit": {}}}'
    ).format(source_of_id, _SCHEMA, pool_id, DEFAULT_RESERVE, DEFAULT_OVERCOMMIT)


def check_limits(reserve: "Any", overcommit: "Any") -> None:
    """Raises InvalidArgument unless `reserve` is a number of bytes or per cent, and `overcommit` a
    factor within its limits."""
    reserve_bytes(reserve, 0)
    is_number = isinstance(overcommit, (int, float)) and not isinstance(overcommit, bool)
    if not is_number or not _LEAST_OVERCOMMIT <= overcommit <= _MOST_OVERCOMMIT:
        raise InvalidArgument(
            "overcommit is {!r}; it is a factor of {} to {}".format(
                overcommit, _LEAST_OVERCOMMIT, _MOST_OVERCOMMIT
            )
        )


def reserve_bytes(reserve: "Any", capacity_bytes: int) -> int:
    """Returns how many bytes the reserve of a pool is: "20%" of its capacity, or a number of bytes.
    Raises InvalidArgument if it is neither."""
    text = str(reserve)
    is_per_cent = text.endswith("%")
    number = text[:-1] if is_per_cent else text
    if not number.isdecimal() or (is_per_cent and int(number) > 100):
        raise InvalidArgument(
            'reserve is {}; it is a number of bytes or per cent, like "20%"'.format(shown(text))
        )
    if is_per_cent:
        return capacity_bytes * int(number) // 100
    return int(number)
