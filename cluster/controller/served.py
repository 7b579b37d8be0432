"""Which drivers the nodes serve. The DaemonSets of our namespace say that to their pods, so nobody
has to say it to `provisioner --cluster` again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

from cluster.controller import cluster
from cluster.controller.storage import DRIVERS, provisioner_of
from shared import protocol

Object = dict[str, Any]
# A new DaemonSet is rare, and the list of them is short.
_EVERY_SECONDS = 15.0
_log = logging.getLogger("served")


def drivers_of(daemon_sets: list[Object]) -> dict[str, str]:
    """The drivers that the containers of these DaemonSets serve in node mode, by the name of their
    provisioner."""
    drivers = {}
    for daemon_set in daemon_sets:
        spec = daemon_set["spec"]["template"]["spec"]
        for container in spec.get("containers") or []:
            if option_values(container, "--node"):
                for driver in option_values(container, "--driver") or DRIVERS:
                    drivers.update(_by_provisioner(driver))
    return drivers


def option_values(container: Object, option: str) -> tuple[str, ...]:
    """What the container's program is given for the option, once or several times."""
    return tuple(_values(container, option))


def _values(container: Object, option: str) -> Iterator[str]:
    """Each value stands in the option's own word, behind =, or is the next word."""
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    for number, word in enumerate(words):
        if word.startswith(option + "="):
            yield word.partition("=")[2]
        elif word == option:
            yield from words[number + 1 : number + 2]


def _by_provisioner(driver: str) -> dict[str, str]:
    """vendor/name by name.vendor; nothing for what is no driver, as a variable of the pod."""
    vendor, slash, name = driver.partition("/")
    if not slash or not protocol.is_name(vendor) or not protocol.is_name(name):
        return {}
    return {provisioner_of(driver): driver}


class Served:
    """The drivers of the nodes, as of a few seconds ago."""

    def __init__(self, api: cluster.Cluster, namespace: str, told: dict[str, str]) -> None:
        """namespace: of the DaemonSets. told: what is taken for served while they cannot be read,
        or there are none."""
        self._api = api
        self._path = cluster.in_namespace(namespace, "daemonsets", cluster.APPS)
        self._read_at = float("-inf")
        self._logged = ""
        self.drivers = dict(told)

    def read(self) -> None:
        """Reads the DaemonSets if that was some seconds ago. Raises Unreachable."""
        if time.monotonic() - self._read_at < _EVERY_SECONDS:
            return
        self._read_at = time.monotonic()
        try:
            found = drivers_of(list(self._api.items(self._path)))
        except cluster.Refused as error:
            if str(error) != self._logged:
                _log.warning("cannot see which drivers the nodes serve: %s", error)
            self._logged = str(error)
            return
        self._logged = ""
        if found:
            self.drivers = found
