"""The door to drivers: find the executable, call it, and check that its reply is what the contract
says."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cluster.controller import metrics
from shared import caller, protocol
from shared.options import Options, is_reserved

DRIVERS = ("flexvol/loop",)  # those that are served if nothing is said
PLUGIN_DIRECTORY = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
_LIST = "list"
_PROVISION = "provision"
_REAP_SECONDS = 10.0


class Listed(NamedTuple):
    """The volumes and pools of a driver, each as it describes them."""

    volumes: list[dict[str, Any]]
    pools: list[dict[str, Any]]


class _Hanging(NamedTuple):
    """A call that was given up, and of which a process hangs in the kernel."""

    callout: str
    call: caller.Hangs

    def __str__(self) -> str:
        processes = ", ".join(map(str, self.call.processes()))
        return f"{self.callout} in process {processes}"


class Storage:
    """The drivers in kubelet's plugin directory, by their names ("flexvol/loop")."""

    def __init__(self, plugin_dir: str, at_once: int = 4) -> None:
        """at_once: how many calls of one driver that make volumes may run, and how many that make
        none, so that one that hangs does not stop the others. At most one more run together: long
        copies do not keep deletions waiting, nor long deletions claims."""
        self._plugin_dir, self._at_once = plugin_dir, at_once
        # By driver, and by whether they make volumes.
        self._running: defaultdict[str, Counter[bool]] = defaultdict(Counter)
        self._hanging: defaultdict[str, list[_Hanging]] = defaultdict(list)
        self._lists: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()

    def provision(self, driver: str, request: Options) -> dict[str, Any]:
        """Returns the reply's `volume`, checked: options of strings, capacityBytes, fsType. Raises
        a Failure."""
        made = self._counted(driver, _PROVISION, request).volume
        if made is None:
            # So the scripts for the retired flex-provisioner answer: what was asked was made.
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

    def delete(self, driver: str, request: Options) -> None:
        """Returns when the storage is gone. Raises a Failure."""
        self._counted(driver, "delete", request)

    def adopt(self, driver: str, request: Options) -> None:
        """Returns when the record says whose it is, and that it is not blank. Raises a Failure."""
        self._counted(driver, "adopt", request)

    def list(self, driver: str) -> Listed:
        """What the driver lists; nothing if it does not know the call. Raises a Failure, also
        while a process of an earlier list hangs, so that such processes do not become more and
        more."""
        try:
            with self._alone(driver):
                reply = self._call(driver, _LIST)
        except protocol.NotSupported:
            return Listed([], [])
        return Listed(_checked_all(reply.volumes), _checked_all(reply.pools))

    def check_makes(self, driver: str) -> None:
        """Whether a call that makes a volume would begin now. Raises Pending or Unavailable."""
        hanging = self._hanging_calls(driver)
        with self._lock:
            self._check_limits(driver, True, hanging)

    def _counted(self, driver: str, callout: str, request: Options) -> protocol.Reply:
        makes = callout == _PROVISION
        hanging = self._hanging_calls(driver)
        with self._lock:
            self._check_limits(driver, makes, hanging)
            self._running[driver][makes] += 1
        try:
            return self._call(driver, callout, options=request)
        finally:
            with self._lock:
                self._running[driver][makes] -= 1

    def _hanging_calls(self, driver: str) -> tuple[_Hanging, ...]:
        """Those of the driver that are no lists."""
        return tuple(one for one in self._still_hanging(driver) if one.callout != _LIST)

    def _check_limits(self, driver: str, makes: bool, hanging: Sequence[_Hanging]) -> None:
        """Raises Pending or Unavailable if the driver has too many calls already for one more that
        makes a volume, or makes none. hanging: its calls that hang. The caller holds the lock."""
        if len(hanging) >= self._at_once:
            raise protocol.Unavailable(
                f"{len(hanging)} calls of the driver {driver} were killed and hang in the "
                f"kernel, the first of them {hanging[0]}; see the disks of the driver, and "
                "dmesg"
            )
        running = self._running[driver]
        alike = sum((one.callout == _PROVISION) == makes for one in hanging) + running[makes]
        everything = len(hanging) + running.total()
        if alike >= self._at_once or everything > self._at_once:
            raise protocol.Pending(f"{everything} calls of the driver {driver} run already")

    def _call(self, driver: str, callout: str, **arguments: Any) -> protocol.Reply:
        began, outcome = time.monotonic(), "Success"
        try:
            return caller.call(self._executable(driver), callout, **arguments)
        except protocol.Failure as failure:
            outcome = failure.reason
            if isinstance(failure, caller.Hangs):
                with self._lock:
                    self._hanging[driver].append(_Hanging(callout, failure))
            raise
        finally:
            metrics.callout_seconds.labels(driver, callout, outcome).observe(
                time.monotonic() - began
            )

    @contextlib.contextmanager
    def _alone(self, driver: str) -> Iterator[None]:
        """While no other list of the driver runs or hangs. Raises Unavailable."""
        lock = self._lists[driver]
        if not lock.acquire(timeout=protocol.CALLOUTS[_LIST].seconds):
            raise protocol.Unavailable(f"another list of the driver {driver} runs already")
        try:
            for hanging in self._still_hanging(driver):
                if hanging.callout == _LIST:
                    raise protocol.Unavailable(
                        f"the driver {driver} is not asked for its list: {hanging} was killed "
                        "and hangs in the kernel; see the disks of the driver, and dmesg"
                    )
            yield
        finally:
            lock.release()

    def _still_hanging(self, driver: str) -> tuple[_Hanging, ...]:
        """The calls of the driver that were given up, of which a process is there still."""
        with self._lock:
            self._hanging[driver] = [
                hanging for hanging in self._hanging[driver] if hanging.call.processes()
            ]
            return tuple(self._hanging[driver])

    def _executable(self, driver: str) -> str:
        path = executable(self._plugin_dir, driver)
        if not os.access(path, os.X_OK):
            raise protocol.Unavailable(
                f"the driver {driver} is not installed: {path} is missing or not executable"
            )
        return path


def _checked_all(entries: Any) -> list[dict[str, Any]]:
    """Without what is no object; no entry at all if the driver lists something else."""
    if not isinstance(entries, list):
        return []
    return [_checked(entry) for entry in entries if isinstance(entry, dict)]


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """A volume or a pool that a driver lists; one that cannot be as it says is an error with a
    name."""
    sizes = {key: value for key, value in entry.items() if key.endswith("Bytes")}
    odd = [key for key, value in sizes.items() if not _is_size(key, value)]
    if not isinstance(entry.get("name"), str):
        odd.append("name")
    if not isinstance(entry.get("owner"), (dict, type(None))):
        odd.append("owner")
    if not odd:
        return entry
    said = ", ".join(f"{key} {protocol.shown(str(entry.get(key)))}" for key in odd)
    return {"name": str(entry.get("name")), "error": f"its driver lists it with {said}"}


def _is_size(key: str, value: Any) -> bool:
    """Whether what a driver lists under a key that ends with Bytes can be: a number, and for the
    smallest volume one for each kind of file system."""
    if key == "minimumVolumeBytes" and isinstance(value, dict):
        return all(_is_size("", one) for one in value.values())
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def provisioner_of(driver: str) -> str:
    """The name by which classes ask for the driver: "loop.flexvol" for "flexvol/loop"."""
    vendor, _, name = driver.partition("/")
    return f"{name}.{vendor}"


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
    reserved = sorted(key for key in options if is_reserved(key))
    if reserved:
        return f"the option {reserved[0]} is reserved"
    if isinstance(size, bool) or not isinstance(size, int) or size < request_bytes:
        return f"capacityBytes is {size!r}, and {request_bytes} were asked for"
    return "" if isinstance(fs_type, str) else "fsType is not a string"


def reap_strays() -> None:
    """Never returns. In a container we are the first process: what a killed driver leaves behind
    becomes our child, and stays as a zombie until we wait for it."""
    ended: set[int] = set()
    while True:
        ended = caller.reap_strays(ended)
        time.sleep(_REAP_SECONDS)
