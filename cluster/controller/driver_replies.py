"""The replies of a driver, which are believed only as far as the contract goes."""

from __future__ import annotations

from typing import Any

from shared import protocol
from shared.options import Options, is_reserved

# The pool's smallest volume: one size, or one for each kind of file system.
_MINIMUM = "minimumVolumeBytes"


def checked_volume(driver: str, volume: Any, request: Options) -> dict[str, Any]:
    """The volume that the driver made: options of strings, capacityBytes, fsType.

    volume: as it stands in the reply to `provision`.
    :raises Internal: if that is no volume such as was asked for."""
    if volume is None:
        # The scripts for the retired flex-provisioner answer so when they made what was asked for.
        return {
            "options": {},
            "capacityBytes": request.request_bytes,
            "fsType": request.fs_type,
        }
    problem = _problem(volume, request.request_bytes)
    if problem:
        raise protocol.Internal(
            f"the driver {driver} answered provision without a usable volume: {problem}"
        )
    checked: dict[str, Any] = volume
    return checked


def _problem(volume: Any, request_bytes: int) -> str:
    if not isinstance(volume, dict):
        return "no object"
    options = volume.get("options")
    if not isinstance(options, dict):
        return "options is not an object of strings"
    if not all(isinstance(value, str) for value in options.values()):
        return "options is not an object of strings"
    reserved = sorted(filter(is_reserved, options))
    if reserved:
        return f"the option {reserved[0]} is reserved"
    size = volume.get("capacityBytes")
    if not isinstance(size, int) or not _is_size(size) or size < request_bytes:
        return f"capacityBytes is {size!r}, and {request_bytes} were asked for"
    if not isinstance(volume.get("fsType"), str):
        return "fsType is not a string"
    return ""


def checked_entries(entries: Any) -> list[dict[str, Any]]:
    """The volumes or pools of the reply to `list`. Entries that are no objects are left out; a
    reply that is no list has no entries."""
    if not isinstance(entries, list):
        return []
    return [checked_entry(entry) for entry in entries if isinstance(entry, dict)]


def checked_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """A volume or a pool that a driver lists. An entry with an impossible value becomes an error
    with the name of the entry."""
    odd = [key for key, value in entry.items() if not _can_be(key, value)]
    if not isinstance(entry.get("name"), str):
        odd.append("name")
    if not isinstance(entry.get("owner"), (dict, type(None))):
        odd.append("owner")
    if not odd:
        return entry
    wrong = ", ".join(f"{key} {protocol.shown(str(entry.get(key)))}" for key in odd)
    return {"name": str(entry.get("name")), "error": f"its driver lists it with {wrong}"}


def _can_be(key: str, value: Any) -> bool:
    """Whether a value can stand under its key. Only sizes are looked at here."""
    if not key.endswith("Bytes"):
        return True
    if key == _MINIMUM and isinstance(value, dict):
        return all(map(_is_size, value.values()))
    return _is_size(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
