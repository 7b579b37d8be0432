"""Which drivers the nodes serve. The DaemonSets of our namespace name the drivers to their pods, so
nobody has to name them to `provisioner --cluster` again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from cluster.controller import cluster
from cluster.controller.objects import ApiObject, Object, items, table
from cluster.controller.storage import DRIVERS, provisioner_of
from shared import protocol

# How often the DaemonSets are read at most: a new one is rare, and the list is short.
_EVERY_SECONDS = 15.0
_log = logging.getLogger("served")


def drivers_of(daemon_sets: list[Object]) -> dict[str, str]:
    """The drivers that the containers of these DaemonSets serve in node mode, by the name of their
    provisioner."""
    drivers: dict[str, str] = {}
    for container in _containers(daemon_sets):
        if not option_values(container, "--node"):
            continue
        for driver in option_values(container, "--driver") or DRIVERS:
            drivers.update(_by_provisioner(driver))
    return drivers


def _containers(daemon_sets: list[Object]) -> Iterator[Object]:
    for daemon_set in daemon_sets:
        template = ApiObject(table(ApiObject(daemon_set).spec.get("template")))
        yield from items(template.spec.get("containers"))


def option_values(container: Object, option: str) -> tuple[str, ...]:
    """The values that the container's program gets for the option, which may stand several
    times."""
    return tuple(_values(container, option))


def _values(container: Object, option: str) -> Iterator[str]:
    """Each value stands in the option's own word, behind =, or is the next word."""
    words = [*items(container.get("command")), *items(container.get("args"))]
    following = [*words[1:], None]
    for word, next_word in zip(words, following, strict=False):
        name, equals, value = word.partition("=")
        if name != option:
            continue
        if equals:
            yield value
        elif next_word is not None:
            yield next_word


def _by_provisioner(driver: str) -> dict[str, str]:
    """vendor/name by name.vendor; nothing for a word that is no driver, as a variable of the
    pod."""
    vendor, slash, name = driver.partition("/")
    if not slash or not protocol.is_name(vendor) or not protocol.is_name(name):
        return {}
    return {provisioner_of(driver): driver}


class Served:
    """The drivers of the nodes, as of a few seconds ago."""

    def __init__(
        self,
        api: cluster.Cluster,
        namespace: str,
        default: dict[str, str],
    ) -> None:
        """namespace: of the DaemonSets.

        default: the drivers while the DaemonSets cannot be read, or there are none."""
        self._api = api
        self._path = cluster.in_namespace(namespace, "daemonsets", cluster.APPS)
        self._read_at = float("-inf")
        self._logged = ""
        self.drivers = dict(default)

    def read(self) -> None:
        """Reads the DaemonSets, unless they were read only just now.

        :raises Unreachable: by the API server."""
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
