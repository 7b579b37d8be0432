"""The tables of volumes and of pools: their cells, and how they fit."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller.inventory import BOUND, Row
from cluster.kubectl.inventory import tables
from shared import table

GIB = 1 << 30
PV = "pvc-0ad9f6c5-71a6-4f0c-9d53-6d1c52a5d0b{}"
FAR = "ip-10-0-1-23.eu-west-1.compute.internal"


def row(number: int = 1, **entry: Any) -> Row:
    listed = {"pool": "default", "sizeBytes": 10 * GIB, "usedBytes": 4 * GIB, **entry}
    name = PV.format(number)
    claim = f"shop/data-db-{number}"
    return Row(name, "worker-1", "flexvol/loop", claim, ["db-0"], BOUND, "", "", listed)


def pool(**fields: Any) -> dict[str, Any]:
    return {
        "node": "worker-1",
        "pool": "default",
        "id": "0123456789abcdef",
        "state": "takes volumes",
        "why": "",
        "capacityBytes": 120 * GIB,
        "reserveBytes": 20 * GIB,
        "committedBytes": 50 * GIB,
        "usedBytes": 30 * GIB,
        "freeBytes": 25 * GIB,
        "maximumVolumeBytes": 25 * GIB,
        **fields,
    }


def cell(heading: str, of_row: Row) -> str:
    return tables.cells(of_row)[tables.HEADINGS.index(heading)]


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        pytest.param(
            100,
            ["VOLUME", "NODE", "SIZE", "USED", "USE%", "STATE", "POD", "CLAIM"],
            id="the usual names in 100 columns",
        ),
        pytest.param(
            80,
            ["VOLUME", "NODE", "USE%", "STATE", "CLAIM"],
            id="the usual names in 80 columns",
        ),
        pytest.param(140, [name for name in tables.HEADINGS if name], id="a wide terminal"),
    ],
)
def test_the_table_of_volumes_fits(columns: int, headings: list[str]) -> None:
    rows = [tables.cells(row(number)) for number in range(3)]
    without_bar = [
        [text for text, heading in zip(line, tables.HEADINGS, strict=True) if heading != table.BAR]
        for line in [tables.HEADINGS, *rows]
    ]

    text, _ = table.fitted(without_bar[0], without_bar[1:], tables.EXPENDABLE, columns)

    heading, *lines = text.splitlines()
    assert heading.split() == headings
    assert [line.split()[0] for line in lines] == [PV.format(number) for number in range(3)]
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize(
    ("entry", "use"),
    [
        pytest.param({}, " 40%", id="a thin volume"),
        pytest.param({"thick": True, "usedBytes": 10 * GIB}, "-", id="a thick volume"),
        pytest.param({"usedBytes": None}, "-", id="a volume whose image cannot be read"),
        pytest.param({"sizeBytes": 0}, "-", id="a driver that lists no sizes"),
    ],
)
def test_how_full_a_volume_is(entry: dict[str, Any], use: str) -> None:
    assert cell("USE%", row(**entry)) == use


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        pytest.param({}, " 75%", id="the reserve does not count"),
        pytest.param({"freeBytes": 0, "state": "cordoned", "why": "x"}, "-", id="a cordoned pool"),
        pytest.param({"freeBytes": None, "capacityBytes": None}, "-", id="nothing is known"),
    ],
)
def test_how_much_of_a_pool_is_taken(fields: dict[str, Any], taken: str) -> None:
    cells = tables.pool_cells(pool(**fields))

    assert cells[tables.POOL_HEADINGS.index("TAKEN")] == taken


def test_the_table_of_pools_fits_100_columns_without_the_ids() -> None:
    text, left_out = table.fitted(
        tables.POOL_HEADINGS, [tables.pool_cells(pool())], tables.POOL_EXPENDABLE, 100
    )

    assert max(map(len, text.splitlines())) <= 100
    assert left_out == ["ID"]


@pytest.mark.parametrize(
    ("nodes", "short"),
    [
        pytest.param([FAR], {FAR: "ip-10-0-1-23..."}, id="a node with a domain"),
        pytest.param(["a.one", "b.one", ""], {"a.one": "a...", "b.one": "b..."}, id="one domain"),
        pytest.param(["a.one", "a.two"], {}, id="two domains"),
        pytest.param(["a.one", "b"], {}, id="a node without a domain"),
        pytest.param(["a", "b"], {}, id="no domains"),
        pytest.param([""], {}, id="no node"),
    ],
)
def test_a_narrow_table_leaves_out_the_domain_that_all_nodes_share(
    nodes: list[str], short: dict[str, str]
) -> None:
    assert tables.short_names(nodes) == short


def test_what_a_record_says_moves_no_cursor() -> None:
    assert cell("POOL", row(pool="a\x1b[2J")) == "a?[2J"
