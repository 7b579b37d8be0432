"""The tables of status."""

from __future__ import annotations

from typing import Any

import pytest

from node.commands import status


def volume(name: str, pool: str, pods: tuple[str, ...] = ()) -> dict[str, Any]:
    mounts = [{"pod": pod, "path": f"/pods/{pod}", "readOnly": False} for pod in pods]
    return {"name": name, "pool": pool, "mounts": mounts, "image": f"/{pool}/{name}"}


def table(
    capsys: pytest.CaptureFixture[str], *volumes: dict[str, Any], pools: int = 1
) -> list[str]:
    """The lines of the table of these volumes."""
    status._print_volumes(list(volumes), has_pools=pools > 1, wide=True)
    return capsys.readouterr().out.splitlines()


def test_each_volume_has_its_pool_in_its_first_line_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    entries = [volume("pvc-1", "default", ("a", "b")), {"name": "*", "pool": "fast"}]

    heading, *rows = table(capsys, *entries, pools=2)

    assert heading.split()[:3] == ["VOLUME", "POOL", "CLAIM"]
    assert [row.split()[:2] for row in rows] == [
        ["pvc-1", "default"],
        ["b", "/pods/b"],
        ["*", "fast"],
    ]
    assert rows[1].index("/pods/b") == heading.index("MOUNTED AT")


def test_where_there_is_one_pool_no_column_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert "POOL" not in table(capsys, volume("pvc-1", "default"))[0]


@pytest.mark.parametrize(
    ("figures", "use"),
    [
        pytest.param({"usedBytes": 25, "sizeBytes": 100}, " 25%", id="the blocks of an image"),
        pytest.param(
            {"usedBytes": 100, "sizeBytes": 100, "thick": True}, "-", id="a thick volume at rest"
        ),
        pytest.param(
            {
                "usedBytes": 100,
                "sizeBytes": 100,
                "thick": True,
                "fileSystemUsedBytes": 1,
                "fileSystemFreeBytes": 98,
            },
            "  2%",
            id="a mounted file system, as df rounds",
        ),
        pytest.param({}, "-", id="nothing is known"),
        pytest.param({"usedBytes": 101, "sizeBytes": 100}, "100%", id="more than the size"),
    ],
)
def test_how_full_a_volume_is(figures: dict[str, Any], use: str) -> None:
    assert status._use(figures)[0] == use


def pool(**figures: Any) -> dict[str, Any]:
    return {"name": "default", "capacityBytes": 120, "reserveBytes": 20, **figures}


@pytest.mark.parametrize(
    ("entry", "taken", "state"),
    [
        pytest.param(pool(freeBytes=25), " 75%", "takes volumes", id="the reserve does not count"),
        pytest.param(pool(freeBytes=300), "  0%", "takes volumes", id="a pool with overcommit"),
        pytest.param(pool(freeBytes=0, cordoned=True), "-", "cordoned", id="a cordoned pool"),
        pytest.param(pool(freeBytes=0, noRoom="x"), "-", "closed", id="a pool without room"),
        pytest.param({"name": "default", "error": "x"}, "-", "away", id="a pool that is away"),
    ],
)
def test_how_much_of_a_pool_is_taken(entry: dict[str, Any], taken: str, state: str) -> None:
    row = status._pool_row(entry)

    assert row[status._POOL_HEADINGS.index("TAKEN")] == taken
    assert row[-1] == state


def test_what_is_wrong_with_a_pool_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    pools = [
        {"name": "fast", "error": "its disk is away"},
        {"name": "slow", "error": "pool slow is sick"},
    ]
    about_all = {"name": "*", "pool": "fast", "troubles": [("its disk is away", "mount it")]}

    status._print(pools, [about_all], "loop", wide=False)

    printed = capsys.readouterr().out
    assert printed.count("its disk is away") == 1
    assert "\npool slow is sick\n" in printed


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        pytest.param("100", ["shop/web-0", "shop/web-1"], id="the names of pods fit"),
        pytest.param("70", [""], id="no line of a mount that the table does not show"),
    ],
)
def test_a_narrow_table_has_the_pods_without_their_uids(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: str,
    rows: list[str],
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    name = "pvc-0ad9f6c5-71a6-4f0c-9d53-6d1c52a5d0b1"
    path = f"/var/lib/kubelet/pods/{name}/volumes/flexvol~loop/{name}"
    two_pods = volume(name, "default", ("shop/web-0 (u-1)", "shop/web-1 (u-2)"))
    two_pods["mounts"] = [dict(mount, path=path) for mount in two_pods["mounts"]]

    status._print_volumes([two_pods], has_pools=False, wide=False)

    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["VOLUME", "CLAIM", "SIZE"]
    assert lines[0].split()[0] == name and len(lines[0]) <= int(columns)
    place = heading.index("POD") if rows[0] else len(lines[0])
    assert [line[place:] for line in lines] == rows


@pytest.mark.parametrize(
    ("pools", "words"),
    [
        pytest.param([{"name": "default", "archives": []}], "", id="no archives"),
        pytest.param([{"name": "away", "error": "x"}], "", id="a pool that is away"),
        pytest.param(
            [{"name": "default", "archives": ["a"]}, {"name": "fast", "archives": ["b", "c"]}],
            "1 in pool default, 2 in pool fast; see them with: quota list",
            id="archives in two pools",
        ),
    ],
)
def test_archives_are_counted_by_pool(pools: list[dict[str, Any]], words: str) -> None:
    sentence = status._archives(pools, "quota")

    assert bool(sentence) == bool(words)
    assert sentence.endswith(words)


def test_a_driver_that_has_no_pools_has_a_table_too(capsys: pytest.CaptureFixture[str]) -> None:
    _, row = table(capsys, {"name": "share-1"})

    assert row.split()[0] == "share-1"
