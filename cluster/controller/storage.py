"""The door to drivers: find the executable, call it, and check that its reply is what the contract
says."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, NamedTuple

from cluster.controller import metrics
from cluster.controller.driver_calls import DriverCalls
from cluster.controller.driver_replies import checked_entries, checked_volume
from shared import caller, protocol
from shared.options import Options

# The drivers that are served if none is named.
DRIVERS = ("flexvol/loop",)
# kubelet's default (--volume-plugin-dir).
PLUGIN_DIRECTORY = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
_PROVISION = "provision"
_REAP_SECONDS = 10.0


class Listed(NamedTuple):
    """The volumes and pools of a driver, each as the driver describes it."""

    volumes: list[dict[str, Any]]
    pools: list[dict[str, Any]]


class Storage:
    """The drivers in kubelet's plugin directory, by their names ("flexvol/loop")."""

    def __init__(self, plugin_dir: str, at_once: int = 4) -> None:
        """at_once: how many calls of one driver may run; see DriverCalls."""
        self._plugin_dir = plugin_dir
        self._at_once = at_once
        self._lock = threading.Lock()
        self._calls: dict[str, DriverCalls] = {}  # by driver

    def provision(self, driver: str, request: Options) -> dict[str, Any]:
        """Makes a volume, or finds the one that was made. Returns the reply's `volume`, checked:
        options of strings, capacityBytes, fsType.

        :raises Failure: as the driver answers; Pending also if too many calls run already."""
        reply = self._counted(driver, _PROVISION, request)
        return checked_volume(driver, reply.volume, request)

    def delete(self, driver: str, request: Options) -> None:
        """Returns when the storage is gone. Raises as `provision`."""
        self._counted(driver, "delete", request)

    def adopt(self, driver: str, request: Options) -> None:
        """Returns when the volume's record names the owner, and says that the volume is not blank.
        Raises as `provision`."""
        self._counted(driver, "adopt", request)

    def list(self, driver: str) -> Listed:
        """What the driver lists; nothing if the driver does not know the call.

        :raises Failure: as the driver answers; Unavailable also while a process of an earlier list
            hangs."""
        try:
            with self._calls_of(driver).alone():
                reply = self._call(driver, "list")
        except protocol.NotSupported:
            return Listed([], [])
        return Listed(checked_entries(reply.volumes), checked_entries(reply.pools))

    def check_makes(self, driver: str) -> None:
        """Checks that a call that makes a volume would begin now.

        :raises Pending: if too many calls run.
        :raises Unavailable: if too many hang."""
        self._calls_of(driver).check(_PROVISION)

    def running(self, driver: str) -> int:
        """How many callouts of the driver run that are no lists."""
        return self._calls_of(driver).running

    def _counted(self, driver: str, callout: str, request: Options) -> protocol.Reply:
        with self._calls_of(driver).counted(callout):
            return self._call(driver, callout, options=request)

    def _call(self, driver: str, callout: str, **arguments: Any) -> protocol.Reply:
        began = time.monotonic()
        outcome = "Success"
        try:
            return caller.call(self._executable(driver), callout, **arguments)
        except protocol.Failure as failure:
            outcome = failure.reason
            if isinstance(failure, caller.Hangs):
                self._calls_of(driver).gave_up(callout, failure.processes)
            raise
        finally:
            seconds = time.monotonic() - began
            metrics.callout_seconds.labels(driver, callout, outcome).observe(seconds)

    def _calls_of(self, driver: str) -> DriverCalls:
        with self._lock:
            return self._calls.setdefault(driver, DriverCalls(driver, self._at_once))

    def _executable(self, driver: str) -> str:
        path = executable(self._plugin_dir, driver)
        if not os.access(path, os.X_OK):
            raise protocol.Unavailable(
                f"the driver {driver} is not installed: {path} is missing or not executable"
            )
        return path


def provisioner_of(driver: str) -> str:
    """The name by which classes ask for the driver: "loop.flexvol" for "flexvol/loop"."""
    vendor, _, name = driver.partition("/")
    return f"{name}.{vendor}"


def executable(plugin_dir: str, driver: str) -> str:
    """The path of the driver "vendor/name" in a plugin directory: vendor~name/name."""
    directory = driver.replace("/", "~")
    name = driver.split("/")[-1]
    return os.path.join(plugin_dir, directory, name)


def reap_strays() -> None:
    """Never returns. In a container we are the first process: what a killed driver leaves behind
    becomes our child, and stays as a zombie until we wait for it."""
    ended: set[int] = set()
    while True:
        ended = caller.reap_strays(ended)
        time.sleep(_REAP_SECONDS)
