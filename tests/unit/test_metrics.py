"""What Prometheus reads of volumes and pools."""

from __future__ import annotations

import re
from typing import Any

import prometheus_client

from controller import metrics


def sample(
    listed: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]], waiting: int = 0
) -> dict[str, float]:
    """Every line by its name and labels."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics.Inventory(lambda: listed, lambda: waiting))
    lines = prometheus_client.generate_latest(registry).decode().splitlines()
    return {
        key: float(value)
        for key, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def test_pools_volumes_and_the_queue() -> None:
    pool = {
        "name": "default",
        "capacityBytes": 100,
        "committedBytes": 60,
        "usedBytes": 7,
        "reserveBytes": 15,
        "freeBytes": 40,
        "cordoned": True,
    }
    volume = {
        "name": "pvc-1",
        "pool": "default",
        "sizeBytes": 60,
        "usedBytes": 7,
        "class": "fast",
        "fsType": "xfs",
        "owner": {"namespace": "shop", "name": "data", "uid": "u"},
    }
    found = sample(
        {"flexvol/loop": ([volume, {**volume, "name": "pvc-2", "damaged": True}], [pool])}, 3
    )

    place = 'driver="flexvol/loop",pool="default"'
    assert found["flexvol_queue_depth"] == 3
    assert found[f"flexvol_pool_free_bytes{{{place}}}"] == 40
    assert found[f"flexvol_pool_reserve_bytes{{{place}}}"] == 15
    assert found[f"flexvol_pool_cordoned{{{place}}}"] == 1
    assert found[f"flexvol_pool_up{{{place}}}"] == 1
    assert found[f"flexvol_volumes{{{place}}}"] == 2
    assert found[f'flexvol_volume_size_bytes{{{place},volume="pvc-1"}}'] == 60
    assert found[f'flexvol_volume_error{{{place},volume="pvc-1"}}'] == 0
    assert found[f'flexvol_volume_error{{{place},volume="pvc-2"}}'] == 1
    info = (
        f'flexvol_volume_info{{class="fast",{place.split(",")[0]},fs_type="xfs",persistentvolumeclaim="data",'
        f'persistentvolumeclaim_namespace="shop",{place.split(",")[1]},volume="pvc-1"}}'
    )
    assert found[info] == 1


def test_a_snapshot_is_nobodys_in_what_joins_volumes_to_claims() -> None:
    owner = {"namespace": "shop", "name": "data", "uid": "u"}
    found = sample(
        {
            "flexvol/loop": (
                [{"name": "before", "pool": "default", "kind": "snapshot", "owner": owner}],
                [],
            )
        }
    )

    (info,) = [key for key in found if key.startswith("flexvol_volume_info")]
    assert 'volume="before"' in info and 'persistentvolumeclaim=""' in info and "shop" not in info


def test_a_pool_that_is_away_and_a_volume_that_cannot_be_read() -> None:
    found = sample(
        {
            "flexvol/loop": (
                [{"name": "pvc-1", "pool": "default", "error": "no record"}],
                [{"name": "default", "error": "not mounted"}],
            )
        }
    )

    place = 'driver="flexvol/loop",pool="default"'
    assert found[f"flexvol_pool_up{{{place}}}"] == 0
    assert found[f'flexvol_volume_error{{{place},volume="pvc-1"}}'] == 1
    assert not any(key.startswith("flexvol_pool_free_bytes") for key in found)


def test_without_pools_there_is_the_queue_alone() -> None:
    assert sample({"flexvol/nfs": ([], [])}) == {"flexvol_queue_depth": 0}


def test_the_names_of_the_reference_library_with_its_labels() -> None:
    """As dashboards that are there already ask for them; the first three also by `source`."""
    prefix = "controller_persistentvolume"
    expected = {
        f"{prefix}claim_provision_total": ("counter", ("class", "source")),
        f"{prefix}claim_provision_failed_total": ("counter", ("class", "source")),
        f"{prefix}claim_provision_duration_seconds": ("histogram", ("class", "source")),
        f"{prefix}_delete_total": ("counter", ("class",)),
        f"{prefix}_delete_failed_total": ("counter", ("class",)),
        f"{prefix}_delete_duration_seconds": ("histogram", ("class",)),
    }
    metrics.provisioned.labels("fast", "").inc()
    metrics.provision_failed.labels("fast", "").inc()
    metrics.provision_seconds.labels("fast", "").observe(1)
    metrics.deleted.labels("fast").inc()
    metrics.delete_failed.labels("fast").inc()
    metrics.delete_seconds.labels("fast").observe(1)

    lines = metrics.text().decode().splitlines()
    kinds = dict(line.split()[2:4] for line in lines if line.startswith(f"# TYPE {prefix}"))
    assert {name: kind for name, kind in kinds.items() if not name.endswith("_created")} == {
        name: kind for name, (kind, _) in expected.items()
    }
    for name, (kind, labels) in expected.items():
        sample = name + ("_count" if kind == "histogram" else "")
        (line,) = [
            line for line in lines if line.startswith(sample + "{") and 'class="fast"' in line
        ]
        assert tuple(re.findall(r'([a-z]+)="', line)) == labels
