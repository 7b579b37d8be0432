"""The tables of status."""

from __future__ import annotations

from typing import Any

import pytest

from node.commands import status


def volume(name: str, pool: str, pods: tuple[str, ...] = ()) -> dict[str, Any]:
    mounts = [{"pod": pod, "path": f"/pods/{pod}", "readOnly": False} for pod in pods]
    return {"name": name, "pool": pool, "mounts": mounts, "image": f"/{pool}/{name}"}


def test_each_volume_has_its_pool_in_its_first_line_only() -> None:
    entries = [volume("pvc-1", "default", ("a", "b")), {"name": "*", "pool": "fast"}]

    heading, *rows = status._volume_table(entries, has_pools=True).splitlines()

    assert heading.split()[:3] == ["VOLUME", "POOL", "CLAIM"]
    assert [row.split()[:2] for row in rows] == [
        ["pvc-1", "default"],
        ["b", "/pods/b"],
        ["*", "fast"],
    ]
    assert rows[1].index("/pods/b") == heading.index("MOUNTED AT")


def test_where_there_is_one_pool_no_column_names_it() -> None:
    assert "POOL" not in status._volume_table([volume("pvc-1", "default")], has_pools=False)


@pytest.mark.parametrize(
    ("pools", "words"),
    [
        pytest.param([{"name": "default", "archives": []}], "", id="no archives"),
        pytest.param([{"name": "away", "error": "x"}], "", id="a pool that is away"),
        pytest.param(
            [{"name": "default", "archives": ["a"]}, {"name": "fast", "archives": ["b", "c"]}],
            "1 in pool default, 2 in pool fast; see them with: loop list",
            id="archives in two pools",
        ),
    ],
)
def test_archives_are_counted_by_pool(pools: list[dict[str, Any]], words: str) -> None:
    sentence = status._archives(pools)

    assert bool(sentence) == bool(words)
    assert sentence.endswith(words)
