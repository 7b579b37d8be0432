"""What Prometheus is told, under the reference library's names where it has one. Nothing here
decides anything.

Names of volumes and claims are labels of the *_info metrics only, to join by; every other metric
has few values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import prometheus_client
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Object = dict[str, Any]
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
        listed: Callable[[], Mapping[str, tuple[list[Object], list[Object]]]],
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
        in_pool, per_volume = ("driver", "pool"), ("driver", "pool", "volume")
        pools = [
            GaugeMetricFamily(f"flexvol_pool_{name}", about, labels=in_pool)
            for name, about in (
                ("capacity_bytes", "Size of the pool's disk"),
                ("committed_bytes", "What its volumes were promised"),
                ("used_bytes", "What its volumes have taken of the disk"),
                ("reserve_bytes", "What is left free of the disk"),
                ("free_bytes", "What may still be promised to new volumes"),
                ("cordoned", "1 if it takes no new volumes because a person said so"),
                ("up", "0 if the pool cannot be used; its disk is not mounted, for example"),
            )
        ]
        volumes = GaugeMetricFamily("flexvol_volumes", "Volumes in the pool", labels=in_pool)
        size = GaugeMetricFamily(
            "flexvol_volume_size_bytes", "The volume's hard limit", labels=per_volume
        )
        used = GaugeMetricFamily(
            "flexvol_volume_used_bytes", "What it has taken of the disk", labels=per_volume
        )
        bad = GaugeMetricFamily(
            "flexvol_volume_error",
            "1 if the volume cannot be read, or its file system is damaged",
            labels=per_volume,
        )
        info = GaugeMetricFamily(
            "flexvol_volume_info",
            "Whose it is; to join by",
            labels=(
                *per_volume,
                "persistentvolumeclaim_namespace",
                "persistentvolumeclaim",
                "class",
                "fs_type",
            ),
        )
        for driver, (listed_volumes, listed_pools) in listed.items():
            for pool in listed_pools:
                labels = (driver, str(pool.get("name", "")))
                for family, key in zip(pools, _POOL_KEYS, strict=False):
                    if key in pool:
                        family.add_metric(labels, pool[key])
                pools[-1].add_metric(labels, "error" not in pool)
                volumes.add_metric(
                    labels, sum(1 for one in listed_volumes if one.get("pool") == pool.get("name"))
                )
            for volume in listed_volumes:
                names = (driver, str(volume.get("pool", "")), str(volume.get("name", "")))
                bad.add_metric(names, "error" in volume or bool(volume.get("damaged")))
                if "error" in volume:
                    continue
                size.add_metric(names, volume.get("sizeBytes", 0))
                used.add_metric(names, volume.get("usedBytes", 0))
                owner = (
                    volume.get("kind") != "snapshot" and volume.get("owner")
                ) or {}  # its claim has one volume
                about = (
                    owner.get("namespace"),
                    owner.get("name"),
                    volume.get("class"),
                    volume.get("fsType"),
                )
                info.add_metric((*names, *(str(word or "") for word in about)), 1)
        yield from (*pools, volumes, size, used, bad, info)


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
