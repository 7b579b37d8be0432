"""The door to drivers: find the executable, call it, and check that its reply is what the contract says."""

from __future__ import annotations

import os
from typing import Any

import caller
import protocol


class Storage:
    """The drivers in kubelet's plugin directory, by their names ("flexvol/loop")."""

    def __init__(self, plugin_dir: str) -> None:
        self._plugin_dir = plugin_dir

    def provision(self, driver: str, request: protocol.Options) -> dict[str, Any]:
        """Returns the reply's `volume`, checked: options of strings, capacityBytes, fsType. Raises a Failure."""
        made = caller.call(self._executable(driver), "provision", options=request).volume
        if made is None:  # as the scripts for the retired flex-provisioner answer: what was asked was made
            made = {"options": {}, "capacityBytes": request.request_bytes, "fsType": request.fs_type}
        problem = _problem(made, request.request_bytes)
        if problem:
            raise protocol.Internal(f"the driver {driver} answered provision without a usable volume: {problem}")
        return made

    def delete(self, driver: str, request: protocol.Options) -> None:
        """Returns when the storage is gone. Raises a Failure."""
        caller.call(self._executable(driver), "delete", options=request)

    def pools(self, driver: str) -> list[dict[str, Any]]:
        """The pools of this node as the driver lists them; none if it has no such thing. Raises a Failure."""
        try:
            listed = caller.call(self._executable(driver), "list").pools
        except protocol.NotSupported:
            return []
        return [pool for pool in listed or [] if isinstance(pool, dict)]

    def _executable(self, driver: str) -> str:
        path = os.path.join(self._plugin_dir, driver.replace("/", "~"), driver.split("/")[-1])
        if not os.access(path, os.X_OK):
            raise protocol.Unavailable(f"the driver {driver} is not installed: {path} is missing or not executable")
        return path


def _problem(made: Any, request_bytes: int) -> str:
    if not isinstance(made, dict):
        return "no object"
    options, size, fs_type = made.get("options"), made.get("capacityBytes"), made.get("fsType")
    if not isinstance(options, dict) or not all(isinstance(value, str) for value in options.values()):
        return "options is not an object of strings"
    reserved = sorted(key for key in options if protocol.is_reserved(key))
    if reserved:
        return f"the option {reserved[0]} is reserved"
    if isinstance(size, bool) or not isinstance(size, int) or size < request_bytes:
        return f"capacityBytes is {size!r}, and {request_bytes} were asked for"
    return "" if isinstance(fs_type, str) else "fsType is not a string"
