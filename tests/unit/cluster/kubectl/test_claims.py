"""The claim, or the PV, that a person means by a command's words."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from cluster.kubectl import claims
from shared import protocol


def volume(name: str, claim: str, uid: str = "u1", namespace: str = "shop") -> dict[str, Any]:
    reference = {"namespace": namespace, "name": claim, "uid": uid}
    return {"metadata": {"name": name}, "spec": {"claimRef": reference}}


def claim(name: str, volume_name: str = "", uid: str = "u1", namespace: str = "shop") -> Any:
    metadata = {"namespace": namespace, "name": name, "uid": uid}
    return {"metadata": metadata, "spec": {"volumeName": volume_name} if volume_name else {}}


class _Objects:
    """What the API server would have; the functions only read."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self._volumes = [one for one in objects if "namespace" not in one["metadata"]]
        self._claims = [one for one in objects if "namespace" in one["metadata"]]

    def items(self, path: str) -> Iterator[dict[str, Any]]:
        assert path == "/api/v1/persistentvolumes"
        return iter(self._volumes)

    def get(self, path: str) -> dict[str, Any] | None:
        *_, collection, name = unquote(path).split("/")
        things = self._claims if collection == "persistentvolumeclaims" else self._volumes
        namespace = path.split("/")[4] if things is self._claims else None
        for one in things:
            metadata = one["metadata"]
            if (metadata["name"], metadata.get("namespace")) == (name, namespace):
                return one
        return None

    def claim(self, whose: dict[str, Any]) -> dict[str, Any] | None:
        return next((one for one in self._claims if one["metadata"] == whose), None)


BOUND = _Objects(volume("pvc-1", "data"), claim("data", "pvc-1"))
STOLEN = _Objects(
    volume("pvc-1", "data"), claim("data", "pvc-1"), claim("thief", "pvc-1", "u2", "evil")
)
AFTER = _Objects(volume("pvc-1", "data", "old"), volume("pvc-2", "data"), claim("data", "pvc-2"))
RELEASED = _Objects(volume("pvc-1", "data", "old"), volume("pvc-2", "data", "older"))


@pytest.mark.parametrize(
    ("there", "words", "expected"),
    [
        pytest.param(BOUND, "pvc-1", "pvc-1", id="a PV's own name"),
        pytest.param(
            BOUND,
            "shop/data",
            "pvc-1",
            id="the claim that the PV is bound to",
        ),
        pytest.param(
            AFTER,
            "shop/data",
            "pvc-2",
            id="the bound PV comes before a released one",
        ),
        pytest.param(
            _Objects(volume("pvc-1", "data")), "shop/data", "pvc-1", id="a claim that is gone"
        ),
    ],
)
def test_a_pv_by_its_name_or_its_claims(there: Any, words: str, expected: str) -> None:
    assert claims.volume_name(there, words) == expected


@pytest.mark.parametrize(
    ("there", "words", "said"),
    [
        pytest.param(
            BOUND,
            "shop/other",
            "no PV is of the claim shop/other",
            id="no such claim",
        ),
        pytest.param(
            STOLEN, "evil/thief", "no PV is of the claim", id="a claim that only says it has the PV"
        ),
        pytest.param(
            RELEASED,
            "shop/data",
            "name one of them: pvc-1, pvc-2",
            id="two PVs of one claim's name",
        ),
    ],
)
def test_no_pv_is_guessed(there: Any, words: str, said: str) -> None:
    with pytest.raises(protocol.Failure, match=said):
        claims.volume_name(there, words)


def meant(words: str, namespace: str = "shop") -> argparse.Namespace:
    return argparse.Namespace(claim=words, claim_namespace=namespace)


@pytest.mark.parametrize(
    ("words", "namespace"),
    [
        pytest.param("data", "shop", id="a claim's name"),
        pytest.param("shop/data", "default", id="namespace and name"),
        pytest.param("pvc-1", "default", id="the name of its PV"),
    ],
)
def test_a_claim_by_its_name_or_its_pvs(words: str, namespace: str) -> None:
    found = claims.get(BOUND, meant(words, namespace))  # type: ignore[arg-type]
    assert found.name == "data"


def test_a_claim_comes_before_a_pv_of_its_name() -> None:
    there: Any = _Objects(
        volume("data", "other"), claim("other", "data"), claim("data", "pvc-9", "u9")
    )
    assert claims.get(there, meant("data")).uid == "u9"


@pytest.mark.parametrize(
    ("there", "words", "said"),
    [
        pytest.param(
            BOUND,
            "nothing",
            "there is no claim nothing in namespace shop, and no PV",
            id="no such thing",
        ),
        pytest.param(
            BOUND,
            "bank/pvc-1",
            "there is no claim pvc-1 in namespace bank; -n",
            id="a PV has no namespace",
        ),
        pytest.param(
            RELEASED, "pvc-1", "the PV pvc-1 is bound to no claim", id="a PV whose claim is gone"
        ),
        pytest.param(BOUND, "../x", "there is no claim", id="no name at all"),
    ],
)
def test_no_claim_is_guessed(there: Any, words: str, said: str) -> None:
    with pytest.raises(protocol.NotFound, match=said):
        claims.get(there, meant(words))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("data", ("shop", "data"), id="a name"),
        pytest.param("bank/data", ("bank", "data"), id="a namespace and a name"),
        pytest.param("x" * 253, ("shop", "x" * 253), id="the longest name of a claim"),
    ],
)
def test_a_claim_is_named_as_kubectl_shows_it(words: str, expected: tuple[str, str]) -> None:
    assert claims.named(words, "shop") == expected


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("", id="nothing"),
        pytest.param("a/", id="a namespace alone"),
        pytest.param("../secrets/x", id="a way to other objects"),
        pytest.param("x" * 254, id="a name that is too long"),
        pytest.param("a b", id="two words"),
        pytest.param("x?watch=true", id="a request's parameter"),
    ],
)
def test_what_can_be_no_claims_name_is_asked_for_nowhere(words: str) -> None:
    with pytest.raises(protocol.NotFound, match="there is no claim"):
        claims.named(words, "shop")
