"""What a person's words to ./build.sh test run."""

from __future__ import annotations

import pytest

from bundle.check import campaign_runs

ALL, NODE = ["--campaign"], ["tests/node", "--campaign"]
ONE = ["tests/cluster/test_claims.py", "--campaign", "-x", "-k", "bound"]
MIXED = ["tests/unit", "tests/cluster", "--campaign"]


@pytest.fixture(autouse=True)
def _nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLEXVOL_KUBE_BIN", "FLEXVOL_KUBERNETES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("words", "older"),
    [
        pytest.param(ALL, ["tests/cluster", "--campaign"], id="a whole campaign"),
        pytest.param(ONE, ONE, id="one file of the cluster's tests"),
        pytest.param(MIXED, ["tests/cluster", "--campaign"], id="only the cluster's part"),
        pytest.param(NODE, None, id="the node's tests have no Kubernetes"),
        pytest.param(["tests/cluster"], None, id="no campaign"),
    ],
)
def test_a_campaign_runs_the_clusters_tests_on_an_older_kubernetes_too(
    words: list[str], older: list[str] | None
) -> None:
    first, *others = campaign_runs(words)

    assert first == ("", words)
    assert others == ([("1.34.4", older)] if older else [])


@pytest.mark.parametrize("name", ["FLEXVOL_KUBE_BIN", "FLEXVOL_KUBERNETES"])
def test_whoever_brings_a_kubernetes_has_it_tested_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1.35.1")

    assert campaign_runs(ALL) == [("", ALL)]
