"""The node's own settings, /etc/flexvol/config.json; without the file every default holds.

{"pools": {"NAME": "/var/lib/flexvol/DIRECTORY"}}: where a pool lies, if not in a directory of its
own name. {"mountFlags": ["nosuid", "nodev"]}: what every volume is mounted with; these two unless
the file says otherwise."""

from protocol import Unavailable, check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

CONFIG = "/etc/flexvol/config.json"
# Every pool lies in here; other disks are mounted or bound below it.
ROOT = "/var/lib/flexvol"


MOUNT_FLAGS = ("nosuid", "nodev", "noexec")


def pools() -> "Dict[str, str]":
    """The pools that the file places, name to directory. Raises Unavailable if it cannot be
    understood."""
    placed = _settings().get("pools", {})
    if not isinstance(placed, dict) or not all(isinstance(path, str) for path in placed.values()):
        raise Unavailable('{}: expected {{"pools": {{"NAME": "DIRECTORY"}}}}'.format(CONFIG))
    return placed


def mount_flags() -> "List[str]":
    """The flags of every mount, of MOUNT_FLAGS. Raises Unavailable if the file cannot be
    understood."""
    flags = _settings().get("mountFlags", ["nosuid", "nodev"])
    if not isinstance(flags, list) or not all(flag in MOUNT_FLAGS for flag in flags):
        raise Unavailable(
            '{}: expected {{"mountFlags": [...]}} with {}'.format(CONFIG, ", ".join(MOUNT_FLAGS))
        )
    return flags


def _settings() -> "Dict[str, Any]":
    import json

    try:
        with open(CONFIG, "rb") as file:
            settings: "Any" = json.loads(file.read().decode("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise Unavailable("{} cannot be read: {}".format(CONFIG, error)) from None
    if not isinstance(settings, dict):
        raise Unavailable("{}: expected one JSON object".format(CONFIG))
    unknown = sorted(set(settings) - {"pools", "mountFlags"})
    if unknown:
        raise Unavailable(
            "{}: {} is no setting; there are pools and mountFlags".format(CONFIG, unknown[0])
        )
    return settings


def pool_directory(name: str) -> str:
    """The directory of the pool `name`: always below ROOT, never through '..'."""
    check_name("pool name", name)
    path = pools().get(name, ROOT + "/" + name)
    if not path.startswith(ROOT + "/") or ".." in path.split("/"):
        raise Unavailable(
            "{}: pool {} is at {}; a pool lies below {}".format(CONFIG, name, path, ROOT)
        )
    return path
