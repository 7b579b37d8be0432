"""What Prometheus is told, under the reference library's names where it has one. Nothing here
decides anything.

Names of volumes and claims are labels of the *_info metrics only, to join by; every other metric
has few values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import prometheus_client
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Object = dict[str, Any]
# What each driver listed: its volumes and its pools.
ByDriver = Mapping[str, tuple[list[Object], list[Object]]]
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_BY_CLASS = ("class",)
_POOL_KEYS = (
    "capacityBytes",
    "committedBytes",
    "usedBytes",
    "reserveBytes",
    "freeBytes",
    "cordoned",
)

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
    ):
        """listed: by driver, its volumes and pools. waiting: how many keys the queue holds."""
        self._listed, self._waiting = listed, waiting

    def collect(self) -> Iterable[Metric]:
        queue = GaugeMetricFamily(
            "flexvol_queue_depth", "Claims and PVs that wait for their turn or for a retry"
        )
        queue.add_metric((), self._waiting())
        yield queue
        listed = self._listed()
        yield from _pool_metrics(listed)
        yield from _volume_metrics(listed)


_IN_POOL = ("driver", "pool")
_PER_VOLUME = (*_IN_POOL, "volume")
_POOL_METRICS = (
    ("capacity_bytes", "Size of the pool's disk"),
    ("committed_bytes", "What its volumes were promised"),
    ("used_bytes", "What its volumes have taken of the disk"),
    ("reserve_bytes", "What is left free of the disk"),
    ("free_bytes", "What may still be promised to new volumes"),
    ("cordoned", "1 if it takes no new volumes because a person said so"),
    ("up", "0 if the pool cannot be used; its disk is not mounted, for example"),
)


def _pool_metrics(listed: ByDriver) -> Iterator[Metric]:
    pools = [
        GaugeMetricFamily(f"flexvol_pool_{name}", about, labels=_IN_POOL)
        for name, about in _POOL_METRICS
    ]
    volumes = GaugeMetricFamily("flexvol_volumes", "Volumes in the pool", labels=_IN_POOL)
    for driver, (listed_volumes, listed_pools) in listed.items():
        for pool in listed_pools:
            labels = (driver, str(pool.get("name", "")))
            for family, key in zip(pools, _POOL_KEYS, strict=False):
                if key in pool:
                    family.add_metric(labels, pool[key])
            pools[-1].add_metric(labels, "error" not in pool)
            inside = [one for one in listed_volumes if one.get("pool") == pool.get("name")]
            volumes.add_metric(labels, len(inside))
    yield from (*pools, volumes)


def _volume_metrics(listed: ByDriver) -> Iterator[Metric]:
    size = GaugeMetricFamily(
        "flexvol_volume_size_bytes", "The volume's hard limit", labels=_PER_VOLUME
    )
    used = GaugeMetricFamily(
        "flexvol_volume_used_bytes", "What it has taken of the disk", labels=_PER_VOLUME
    )
    bad = GaugeMetricFamily(
        "flexvol_volume_error",
        "1 if the volume cannot be read, or its file system is damaged",
        labels=_PER_VOLUME,
    )
    of_claim = ("persistentvolumeclaim_namespace", "persistentvolumeclaim", "class", "fs_type")
    info = GaugeMetricFamily(
        "flexvol_volume_info", "Whose it is; to join by", labels=(*_PER_VOLUME, *of_claim)
    )
    for driver, (listed_volumes, _) in listed.items():
        for volume in listed_volumes:
            names = (driver, str(volume.get("pool", "")), str(volume.get("name", "")))
            bad.add_metric(names, "error" in volume or bool(volume.get("damaged")))
            if "error" in volume:
                continue
            size.add_metric(names, volume.get("sizeBytes", 0))
            used.add_metric(names, volume.get("usedBytes", 0))
            info.add_metric((*names, *_about(volume)), 1)
    yield from (size, used, bad, info)


def _about(volume: Object) -> tuple[str, ...]:
    """Namespace and name of the volume's claim, its class and its file system; "" for what is not
    known. A snapshot has the owner of its volume, and the claim has one volume only."""
    owner = {} if volume.get("kind") == "snapshot" else volume.get("owner") or {}
    about = (owner.get("namespace"), owner.get("name"), volume.get("class"), volume.get("fsType"))
    return tuple(str(word or "") for word in about)


def show(
    listed: Callable[[], Mapping[str, tuple[list[Object], list[Object]]]],
    waiting: Callable[[], int],
) -> None:
    """From now on Inventory is part of the text."""
    prometheus_client.REGISTRY.register(Inventory(listed, waiting))


CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST


def text() -> bytes:
    """Everything, as Prometheus reads it."""
    return prometheus_client.generate_latest()
