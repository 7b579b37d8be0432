"""The door to drivers: find the executable, call it, and check that its reply is what the contract says."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

import caller
import protocol
from controller import metrics

DRIVERS = ("flexvol/loop",)  # those that are served if nothing is said
PLUGIN_DIRECTORY = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"


class Listed(NamedTuple):
    """The volumes and pools of a driver, each as it describes them."""

    volumes: list[dict[str, Any]]
    pools: list[dict[str, Any]]


class Storage:
    """The drivers in kubelet's plugin directory, by their names ("flexvol/loop")."""

    def __init__(self, plugin_dir: str) -> None:
        self._plugin_dir = plugin_dir

    def provision(self, driver: str, request: protocol.Options) -> dict[str, Any]:
        """Returns the reply's `volume`, checked: options of strings, capacityBytes, fsType. Raises a Failure."""
        made = self._call(driver, "provision", options=request).volume
        if made is None:  # as the scripts for the retired flex-provisioner answer: what was asked was made
            made = {"options": {}, "capacityBytes": request.request_bytes, "fsType": request.fs_type}
        problem = _problem(made, request.request_bytes)
        if problem:
            raise protocol.Internal(f"the driver {driver} answered provision without a usable volume: {problem}")
        return made

    def delete(self, driver: str, request: protocol.Options) -> None:
        """Returns when the storage is gone. Raises a Failure."""
        self._call(driver, "delete", options=request)

    def adopt(self, driver: str, request: protocol.Options) -> None:
        """Returns when the record says whose it is, and that it is not blank. Raises a Failure."""
        self._call(driver, "adopt", options=request)

    def list(self, driver: str) -> Listed:
        """What the driver lists; nothing if it does not know the call. Raises a Failure."""
        try:
            reply = self._call(driver, "list")
        except protocol.NotSupported:
            return Listed([], [])
        volumes, pools = ([one for one in many or [] if isinstance(one, dict)] for many in (reply.volumes, reply.pools))
        return Listed(volumes, pools)

    def _call(self, driver: str, callout: str, **arguments: Any) -> protocol.Reply:
        began, outcome = time.monotonic(), "Success"
        try:
            return caller.call(self._executable(driver), callout, **arguments)
        except protocol.Failure as failure:
            outcome = failure.reason
            raise
        finally:
            metrics.callout_seconds.labels(driver, callout, outcome).observe(time.monotonic() - began)

    def _executable(self, driver: str) -> str:
        path = executable(self._plugin_dir, driver)
        if not os.access(path, os.X_OK):
            raise protocol.Unavailable(f"the driver {driver} is not installed: {path} is missing or not executable")
        return path


def executable(plugin_dir: str, driver: str) -> str:
    return os.path.join(plugin_dir, driver.replace("/", "~"), driver.split("/")[-1])


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
