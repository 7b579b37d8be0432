"""The door to drivers: find the executable, call it, and check that its reply is what the contract
says."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
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

    def __init__(self, plugin_dir: str, at_once: int = 4) -> None:
        """at_once: how many calls of one driver may run, so that one that hangs does not stop the
        others."""
        self._plugin_dir, self._at_once = plugin_dir, at_once
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    def provision(self, driver: str, request: protocol.Options) -> dict[str, Any]:
        """Returns the reply's `volume`, checked: options of strings, capacityBytes, fsType. Raises
        a Failure."""
        made = self._counted(driver, "provision", request).volume
        if (
            made is None
        ):  # as the scripts for the retired flex-provisioner answer: what was asked was made
            made = {
                "options": {},
                "capacityBytes": request.request_bytes,
                "fsType": request.fs_type,
            }
        problem = _problem(made, request.request_bytes)
        if problem:
            raise protocol.Internal(
                f"the driver {driver} answered provision without a usable volume: {problem}"
            )
        return made

    def delete(self, driver: str, request: protocol.Options) -> None:
        """Returns when the storage is gone. Raises a Failure."""
        self._counted(driver, "delete", request)

    def adopt(self, driver: str, request: protocol.Options) -> None:
        """Returns when the record says whose it is, and that it is not blank. Raises a Failure."""
        self._call(driver, "adopt", options=request)

    def list(self, driver: str) -> Listed:
        """What the driver lists; nothing if it does not know the call. Raises a Failure."""
        try:
            reply = self._call(driver, "list")
        except protocol.NotSupported:
            return Listed([], [])
        volumes, pools = (
            [_checked(one) for one in many or [] if isinstance(one, dict)]
            for many in (reply.volumes, reply.pools)
        )
        return Listed(volumes, pools)

    def _counted(self, driver: str, callout: str, request: protocol.Options) -> protocol.Reply:
        with self._lock:
            if self._running[driver] >= self._at_once:
                raise protocol.Pending(f"{self._at_once} calls of the driver {driver} run already")
            self._running[driver] += 1
        try:
            return self._call(driver, callout, options=request)
        finally:
            with self._lock:
                self._running[driver] -= 1

    def _call(self, driver: str, callout: str, **arguments: Any) -> protocol.Reply:
        began, outcome = time.monotonic(), "Success"
        try:
            return caller.call(self._executable(driver), callout, **arguments)
        except protocol.Failure as failure:
            outcome = failure.reason
            raise
        finally:
            metrics.callout_seconds.labels(driver, callout, outcome).observe(
                time.monotonic() - began
            )

    def _executable(self, driver: str) -> str:
        path = executable(self._plugin_dir, driver)
        if not os.access(path, os.X_OK):
            raise protocol.Unavailable(
                f"the driver {driver} is not installed: {path} is missing or not executable"
            )
        return path


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """A volume or a pool that a driver lists; one that cannot be as it says is an error with a
    name."""
    sizes = {key: value for key, value in entry.items() if key.endswith("Bytes")}
    odd = [
        key
        for key, value in sizes.items()
        if isinstance(value, bool) or not isinstance(value, int) or value < 0
    ]
    odd += ["name"] * (not isinstance(entry.get("name"), str))
    odd += ["owner"] * (not isinstance(entry.get("owner"), (dict, type(None))))
    if not odd:
        return entry
    said = ", ".join(f"{key} {protocol.shown(str(entry.get(key)))}" for key in odd)
    return {"name": str(entry.get("name")), "error": f"its driver lists it with {said}"}


def executable(plugin_dir: str, driver: str) -> str:
    return os.path.join(plugin_dir, driver.replace("/", "~"), driver.split("/")[-1])


def _problem(made: Any, request_bytes: int) -> str:
    if not isinstance(made, dict):
        return "no object"
    options, size, fs_type = made.get("options"), made.get("capacityBytes"), made.get("fsType")
    if not isinstance(options, dict) or not all(
        isinstance(value, str) for value in options.values()
    ):
        return "options is not an object of strings"
    reserved = sorted(key for key in options if protocol.is_reserved(key))
    if reserved:
        return f"the option {reserved[0]} is reserved"
    if isinstance(size, bool) or not isinstance(size, int) or size < request_bytes:
        return f"capacityBytes is {size!r}, and {request_bytes} were asked for"
    return "" if isinstance(fs_type, str) else "fsType is not a string"
