"""What Prometheus reads of volumes and pools."""

from __future__ import annotations

import re
from typing import Any

import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from cluster.controller import metrics


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


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({"kind": "snapshot"}, id="a snapshot"),
        pytest.param({"state": "archived"}, id="an archive of a volume whose claim is gone"),
        pytest.param(
            {"owner": {"namespace": "*", "name": "*", "uid": "awaited"}},
            id="a static volume that no claim has had",
        ),
    ],
)
def test_what_is_kept_is_nobodys_in_what_joins_volumes_to_claims(kept: dict[str, Any]) -> None:
    """A claim of that name may be of another storage by now."""
    owner = {"namespace": "shop", "name": "data", "uid": "u"}
    found = sample(
        {"flexvol/loop": ([{"name": "before", "pool": "default", "owner": owner, **kept}], [])}
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


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 1 << 1100),
    st.floats(),
    st.text(st.characters(), max_size=300),  # half characters, which JSON can have, too
    st.lists(st.text(max_size=3), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)
KEYS = [
    *("name", "pool", "error", "capacityBytes", "freeBytes", "usedBytes", "sizeBytes"),
    *("cordoned", "damaged", "class", "fsType", "kind", "owner", "state"),
]
ENTRY = st.dictionaries(st.sampled_from(KEYS), ODD)


@settings(deadline=None)
@given(st.lists(ENTRY, max_size=4), st.lists(ENTRY, max_size=4))
def test_no_odd_entry_spoils_what_is_told_of_the_others(
    volumes: list[dict[str, Any]], pools: list[dict[str, Any]]
) -> None:
    sound = {"name": "sound of the test", "freeBytes": 40}
    registry = prometheus_client.CollectorRegistry()
    listed = {"flexvol/a": (volumes, [*pools, sound])}
    registry.register(metrics.Inventory(lambda: listed, lambda: 0))

    text = prometheus_client.generate_latest(registry).decode()

    found = list(text_string_to_metric_families(text))
    samples = [sample for family in found for sample in family.samples]
    keys = [(one.name, tuple(sorted(one.labels.items()))) for one in samples]
    assert len(keys) == len(set(keys))
    assert all(len(value) <= 253 for one in samples for value in one.labels.values())
    free = {
        one.labels["pool"]: one.value for one in samples if one.name == "flexvol_pool_free_bytes"
    }
    assert free["sound of the test"] == 40


def test_half_a_character_in_a_name_does_not_spoil_the_text() -> None:
    found = sample({"flexvol/loop": ([], [{"name": "a\ud800", "freeBytes": 1}, {"name": "b"}])})

    assert found['flexvol_pool_free_bytes{driver="flexvol/loop",pool="a?"}'] == 1
    assert found['flexvol_pool_up{driver="flexvol/loop",pool="b"}'] == 1


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        pytest.param("", "", id="no source"),
        pytest.param("PersistentVolumeClaim", "PersistentVolumeClaim", id="a claim"),
        pytest.param("VolumeSnapshot", "VolumeSnapshot", id="a snapshot of CSI"),
        pytest.param("Kind8a6ad8b3", "other", id="what anybody may write"),
        pytest.param(["x"], "other", id="no text"),
    ],
)
def test_the_source_of_a_claim_is_one_of_a_few(kind: object, label: str) -> None:
    assert metrics.source(kind) == label


def test_how_long_ago_each_driver_listed() -> None:
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics.Inventory(dict, int, lambda: {"flexvol/a": 2.5, "flexvol/b": 700}))

    lines = prometheus_client.generate_latest(registry).decode().splitlines()

    assert [line for line in lines if line.startswith("flexvol_list_age_seconds")] == [
        'flexvol_list_age_seconds{driver="flexvol/a"} 2.5',
        'flexvol_list_age_seconds{driver="flexvol/b"} 700.0',
    ]
