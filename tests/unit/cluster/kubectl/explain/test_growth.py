"""What explain says of a volume that is to grow, or did not grow as it should."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.controller.objects import Claim, Volume
from cluster.kubectl.explain.growth import on_conditions, on_file_system_size, on_growth

MIB = 1 << 20
SMALL = {"fileSystemBytes": 64 * MIB, "sizeBytes": 70 << 30, "fsType": "ext4"}


@pytest.mark.parametrize(
    "in_use",
    [pytest.param(False, id="no pod uses the volume"), pytest.param(True, id="a pod uses it")],
)
def test_a_growth_that_did_not_come_to_its_end_is_told(in_use: bool) -> None:
    (finding,) = on_file_system_size(SMALL, in_use)
    assert not finding.is_wrong
    assert finding.sentence.startswith("its file system has 64 MiB, 70 GiB asked; it grows when")


@pytest.mark.parametrize(
    ("entry", "in_use"),
    [
        pytest.param(
            {**SMALL, "fileSystemBytes": 70 << 30},
            False,
            id="it has all of it",
        ),
        pytest.param(
            {**SMALL, "fileSystemBytes": (70 << 30) - 8 * MIB},
            False,
            id="the last group is left out",
        ),
        pytest.param({"sizeBytes": 70 << 30}, False, id="an older driver does not say"),
        pytest.param(
            {**SMALL, "fileSystemBytes": "64"},
            False,
            id="a driver says no number",
        ),
        pytest.param(
            {**SMALL, "fsType": "xfs"},
            True,
            id="a mounted xfs writes it later",
        ),
    ],
)
def test_nothing_is_told_of_others(entry: dict[str, Any], in_use: bool) -> None:
    assert on_file_system_size(entry, in_use) == []


def growing(asked: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A claim of 1 GiB, raised to `asked`, and its PV."""
    metadata = {"namespace": "shop", "name": "data", "uid": "u"}
    status: dict[str, Any] = {"capacity": {"storage": "1Gi"}}
    claim = {
        "metadata": metadata,
        "spec": {"resources": {"requests": {"storage": asked}}},
        "status": status,
    }
    return claim, {"metadata": {"name": "pv"}, "spec": {"capacity": {"storage": asked}}}


OF_1_GIB = {"name": "pv", "pool": "default", "sizeBytes": 1 << 30}


@pytest.mark.parametrize(
    ("asked", "pool", "words", "is_wrong"),
    [
        pytest.param("1Gi", {"freeBytes": 0}, "", False, id="nothing is asked for"),
        pytest.param(
            "2Gi",
            {"freeBytes": 8 << 30},
            "it is to grow from 1 GiB to 2 GiB: kubelet does that within minutes",
            False,
            id="a growth that fits",
        ),
        pytest.param(
            "2Gi",
            {"freeBytes": 1 << 20},
            "give the expansion up, which keeps data, claim and pods: kubectl flexvol cancel",
            True,
            id="a growth that does not fit",
        ),
        pytest.param(
            "2Gi",
            {"freeBytes": 0, "cordoned": True},
            "it is to grow from 1 GiB to 2 GiB",
            False,
            id="a cordoned pool does not tell whether it fits",
        ),
    ],
)
def test_an_expansion_is_told_before_kubelet_has_tried_it(
    asked: str, pool: dict[str, Any], words: str, is_wrong: bool
) -> None:
    claim, volume = growing(asked)

    findings = on_growth(Claim(claim), Volume(volume), OF_1_GIB, [{"name": "default", **pool}])

    assert [one.is_wrong for one in findings] == [is_wrong] * bool(words)
    assert words in "".join(one.sentence for one in findings)


@pytest.mark.parametrize(
    ("kind", "is_wrong"),
    [
        pytest.param("NodeResizeError", True, id="kubelet cannot grow it"),
        pytest.param("FileSystemResizePending", False, id="it waits for its pod"),
    ],
)
def test_what_kubernetes_says_of_a_growth_is_told(kind: str, is_wrong: bool) -> None:
    claim, _ = growing("2Gi")
    claim["status"]["conditions"] = [{"type": kind, "status": "True", "message": "words"}]

    (finding,) = on_conditions(Claim(claim))

    assert (finding.sentence, finding.is_wrong) == (f"{kind}: words", is_wrong)
