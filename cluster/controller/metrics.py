"""The metrics for Prometheus, under the reference library's names where that has one. Nothing here
decides anything.

Names of claims are labels of the *_info metrics only, to join by, and names of volumes of the
metrics about one volume; every other label has few values. Words of drivers and persons are cut and
mapped here, so that nobody can make series without end, and a figure that is no number is left out,
so that one odd entry does not spoil the whole text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import prometheus_client
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.options import ANY

Object = dict[str, Any]
# What each driver listed: its volumes and its pools.
ByDriver = Mapping[str, tuple[list[Object], list[Object]]]
# From a list to a copy of a large volume.
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_BY_CLASS = ("class",)
# The longest name that Kubernetes gives to an object.
_LABEL_LENGTH = 253
# The kinds of object that a claim can be a copy of. Anybody may write any other kind.
_SOURCES = ("", "PersistentVolumeClaim", "VolumeSnapshot")

provisioned = prometheus_client.Counter(
    "controller_persistentvolumeclaim_provision", "Volumes made for claims", ("class", "source")
)
provision_failed = prometheus_client.Counter(
    "controller_persistentvolumeclaim_provision_failed",
    "Attempts to make a volume that failed",
    ("class", "source"),
)
provision_seconds = prometheus_client.Histogram(
    "controller_persistentvolumeclaim_provision_duration_seconds",
    "A successful attempt, from its begin to the PV",
    ("class", "source"),
    buckets=_SECONDS,
)
deleted = prometheus_client.Counter(
    "controller_persistentvolume_delete", "Volumes deleted", _BY_CLASS
)
delete_failed = prometheus_client.Counter(
    "controller_persistentvolume_delete_failed",
    "Attempts to delete a volume that failed",
    _BY_CLASS,
)
delete_seconds = prometheus_client.Histogram(
    "controller_persistentvolume_delete_duration_seconds",
    "One successful deletion",
    _BY_CLASS,
    buckets=_SECONDS,
)
callout_seconds = prometheus_client.Histogram(
    "flexvol_callout_duration_seconds",
    "Calls of a driver by the provisioner",
    ("driver", "callout", "outcome"),
    buckets=_SECONDS,
)
lost = prometheus_client.Gauge(
    "flexvol_volumes_lost",
    "PVs whose storage is gone, with its node or by a new pool in its place",
    ("reason",),
)
orphans = prometheus_client.Gauge(
    "flexvol_orphans",
    "Volumes with neither a PV nor their claim, by why they are left alone",
    ("driver", "reason"),
)
claims_not_taken = prometheus_client.Gauge(
    "flexvol_claims_not_taken",
    "Claims that bind at once and that no node takes; told by the leader of --cluster",
)
leader = prometheus_client.Gauge(
    "flexvol_leader",
    "1 if this instance may work; always so in node mode, where there is no lease",
    ("lease",),
)


class Inventory(Collector):
    """The volumes and pools of this instance, as the drivers last listed them."""

    def __init__(
        self,
        listed: Callable[[], ByDriver],
        waiting: Callable[[], int],
        ages_seconds: Callable[[], Mapping[str, float]] = dict,
    ):
        """listed: by driver, its volumes and pools.

        waiting: how many keys the queue holds.
        ages_seconds: how long ago each driver listed."""
        self._listed = listed
        self._waiting = waiting
        self._ages_seconds = ages_seconds

    def collect(self) -> Iterable[Metric]:
        """As prometheus_client calls it for each text."""
        queue = GaugeMetricFamily(
            "flexvol_queue_depth",
            "Claims and PVs of this instance that wait for their turn or for a retry",
        )
        queue.add_metric((), self._waiting())
        yield queue
        ages = _Family(
            "flexvol_list_age_seconds", "Since the driver listed its volumes and pools", ("driver",)
        )
        for driver, seconds in self._ages_seconds().items():
            ages.add((driver,), seconds)
        yield ages.metric
        listed = self._listed()
        yield from _pool_metrics(listed)
        yield from _volume_metrics(listed)


class _Family:
    """One metric. What cannot be a sample of it is left out: a value that is no number, and a
    second value for the same labels, for which Prometheus would refuse more than that."""

    def __init__(self, name: str, about: str, labels: tuple[str, ...]) -> None:
        self.metric = GaugeMetricFamily(name, about, labels=labels)
        self._added: set[tuple[str, ...]] = set()

    def add(self, labels: tuple[Any, ...], value: Any) -> None:
        texts = tuple(_as_label(label) for label in labels)
        if texts in self._added or not isinstance(value, (int, float)):
            return
        try:
            self.metric.add_metric(texts, float(value))
        except OverflowError:  # An integer that is larger than any number of Prometheus.
            return
        self._added.add(texts)


def _as_label(value: Any) -> str:
    """JSON may have half a character, as \\ud800 alone, which no text in UTF-8 can hold."""
    return str(value)[:_LABEL_LENGTH].encode(errors="replace").decode()


_IN_POOL = ("driver", "pool")
_PER_VOLUME = (*_IN_POOL, "volume")
_OF_CLAIM = ("persistentvolumeclaim_namespace", "persistentvolumeclaim", "class", "fs_type")


class _Figure(NamedTuple):
    """A metric of a pool. key: in the pool's entry. name: the end of the metric's name."""

    key: str
    name: str
    about: str


_POOL_FIGURES = (
    _Figure("capacityBytes", "capacity_bytes", "Size of the pool's disk"),
    _Figure("committedBytes", "committed_bytes", "What its volumes were promised"),
    _Figure("usedBytes", "used_bytes", "What its volumes have taken of the disk"),
    _Figure("reserveBytes", "reserve_bytes", "What is left free of the disk"),
    _Figure("freeBytes", "free_bytes", "What may still be promised to new volumes"),
    _Figure("cordoned", "cordoned", "1 if it takes no new volumes because a person said so"),
)


def _pool_metrics(listed: ByDriver) -> Iterator[Metric]:
    figures = {
        figure.key: _Family(f"flexvol_pool_{figure.name}", figure.about, _IN_POOL)
        for figure in _POOL_FIGURES
    }
    up = _Family(
        "flexvol_pool_up",
        "0 if the pool cannot be used; its disk is not mounted, for example",
        _IN_POOL,
    )
    volumes = _Family("flexvol_volumes", "Volumes in the pool", _IN_POOL)
    for driver, (listed_volumes, listed_pools) in listed.items():
        for pool in listed_pools:
            labels = (driver, pool.get("name", ""))
            is_usable = "error" not in pool
            up.add(labels, is_usable)
            for key, family in figures.items():
                family.add(labels, pool.get(key))
            inside = sum(entry.get("pool") == pool.get("name") for entry in listed_volumes)
            if is_usable or inside:
                volumes.add(labels, inside)
    for family in (*figures.values(), up, volumes):
        yield family.metric


def _volume_metrics(listed: ByDriver) -> Iterator[Metric]:
    size = _Family("flexvol_volume_size_bytes", "The volume's hard limit", _PER_VOLUME)
    used = _Family("flexvol_volume_used_bytes", "What it has taken of the disk", _PER_VOLUME)
    bad = _Family(
        "flexvol_volume_error",
        "1 if the volume cannot be read, or its file system is damaged",
        _PER_VOLUME,
    )
    info = _Family("flexvol_volume_info", "Whose it is; to join by", (*_PER_VOLUME, *_OF_CLAIM))
    for driver, (listed_volumes, _) in listed.items():
        for entry in listed_volumes:
            labels = (driver, entry.get("pool", ""), entry.get("name", ""))
            bad.add(labels, "error" in entry or bool(entry.get("damaged")))
            if "error" in entry:
                continue
            size.add(labels, entry.get("sizeBytes", 0))
            used.add(labels, entry.get("usedBytes", 0))
            info.add((*labels, *_of_claim(entry)), 1)
    for family in (size, used, bad, info):
        yield family.metric


def _of_claim(entry: Object) -> tuple[str, ...]:
    """The values of _OF_CLAIM; "" for what is not known. A snapshot and an archive have the owner
    of the volume that they are of, and the claim has one volume only, or by now one of another
    storage. A volume that waits for whichever claim comes has no claim yet."""
    is_kept = entry.get("kind") == "snapshot" or entry.get("state") == "archived"
    owner = entry.get("owner")
    if is_kept or not isinstance(owner, dict) or owner.get("name") == ANY:
        owner = {}
    values = (owner.get("namespace"), owner.get("name"), entry.get("class"), entry.get("fsType"))
    return tuple(str(value or "") for value in values)


def source(kind: object) -> str:
    """The label for the kind of object that a claim is to be a copy of: one of a few."""
    return str(kind) if kind in _SOURCES else "other"


def show(
    listed: Callable[[], ByDriver],
    waiting: Callable[[], int],
    ages_seconds: Callable[[], Mapping[str, float]],
) -> None:
    """From now on the figures of Inventory, with the same arguments, are part of the text."""
    prometheus_client.REGISTRY.register(Inventory(listed, waiting, ages_seconds))


CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST


def text() -> bytes:
    """All metrics, as Prometheus reads them."""
    return prometheus_client.generate_latest()
