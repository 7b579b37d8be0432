"""Which Secret a class means for a claim, and which may be taken away with a volume."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cluster.controller import secrets, volume_manifest
from cluster.controller.identity import Identity
from cluster.controller.objects import Claim, StorageClass, Volume
from cluster.controller.secrets import Reference
from shared import protocol

US = Identity({"loop.flexvol": "flexvol/loop"}, "node1", "node1")
MADE = secrets.made_name("pvc-u1", "node1")
CLAIM: dict[str, Any] = {
    "metadata": {
        "name": "data",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "7",
        "annotations": {
            "team": "blue",
            "example.com/key": "k.1",
            "evil": "${pvc.namespace}",
            "path": "../x",
            "no": "",
        },
    },
    "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "c"},
}


def storage_class(**parameters: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "c"},
        "provisioner": "loop.flexvol",
        "parameters": parameters,
    }


def wanted(**parameters: str) -> secrets.Reference | None:
    of_class = StorageClass(storage_class(**parameters))
    return secrets.wanted(Claim(CLAIM), of_class, US, "own")


@pytest.mark.parametrize(
    ("name", "namespace", "reference"),
    [
        pytest.param("keys", "vault", ("vault", "keys"), id="plain names"),
        pytest.param(
            "${pvc.name}-key",
            "${pvc.namespace}",
            ("shop", "data-key"),
            id="the claim's name and namespace",
        ),
        pytest.param(
            "${pvc.namespace}.${pvc.name}",
            "vault",
            ("vault", "shop.data"),
            id="two words in a name",
        ),
        pytest.param(
            "${pv.name}",
            "keys-of-${pvc.namespace}",
            ("keys-of-shop", "pvc-u1"),
            id="the PV's name, and the claim's namespace in a longer one",
        ),
        pytest.param(
            "key-${pvc.annotations['team']}",
            "${pv.name}",
            ("pvc-u1", "key-blue"),
            id="an annotation in a name, and the PV's name as the namespace",
        ),
        pytest.param(
            "${pvc.annotations['example.com/key']}",
            "vault",
            ("vault", "k.1"),
            id="an annotation with a prefix",
        ),
        pytest.param(
            "n" * 253,
            "v" * 63,
            ("v" * 63, "n" * 253),
            id="names as long as can be",
        ),
    ],
)
def test_a_secret_is_named_by_templates(
    name: str, namespace: str, reference: tuple[str, str]
) -> None:
    found = wanted(secretName=name, secretNamespace=namespace)

    assert found is not None
    assert (found.names, found.driver, found.owner) == (reference, "flexvol/loop", {})


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"secretName": "a"}, id="a name without a namespace"),
        pytest.param({"createSecret": "yes"}, id="neither true nor false"),
        pytest.param({"createSecret": "true", "secretName": "a"}, id="made and named"),
    ],
)
def test_a_class_whose_secret_parameters_are_wrong_is_told_how_a_class_is_changed(
    parameters: dict[str, str],
) -> None:
    with pytest.raises(protocol.InvalidArgument, match=r"its volumes stay as they are$"):
        wanted(**parameters)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        pytest.param(
            {"secretName": "a"},
            "secretName stands alone",
            id="a name stands alone",
        ),
        pytest.param(
            {"secretNamespace": "a"}, "secretNamespace stands alone", id="a namespace stands alone"
        ),
        pytest.param(
            {"secretNamespace": "a", "createSecret": "false"},
            "secretNamespace stands alone",
            id="a namespace stands alone, and no secret is made",
        ),
        pytest.param(
            {"createSecret": "yes"},
            "createSecret is 'yes'",
            id="neither true nor false",
        ),
        pytest.param(
            {
                "createSecret": "true",
                "secretName": "a",
            },
            "remove secretName",
            id="made and named",
        ),
        pytest.param(
            {"secretName": "", "secretNamespace": "a"},
            "becomes '', which is not a DNS name",
            id="an empty name",
        ),
        pytest.param(
            {"secretName": "a", "secretNamespace": ""},
            "which is not a DNS name",
            id="an empty namespace",
        ),
        pytest.param(
            {"secretName": "${pvc.uid}", "secretNamespace": "a"},
            "'${pvc.uid}', for which there is no value",
            id="the uid is no word",
        ),
        pytest.param(
            {"secretName": "${}", "secretNamespace": "a"},
            "'${}', for which there is no value",
            id="an empty word",
        ),
        pytest.param(
            {"secretName": "${pvc.name", "secretNamespace": "a"},
            "which is not a DNS name",
            id="a word that does not end",
        ),
        pytest.param(
            {"secretName": "$pvc.name", "secretNamespace": "a"},
            "which is not a DNS name",
            id="a word without braces",
        ),
        pytest.param(
            {"secretName": "${pvc.annotations['none']}", "secretNamespace": "a"},
            "['none']",
            id="an annotation that the claim does not have",
        ),
        pytest.param(
            {"secretName": "${pvc.annotations['no']}", "secretNamespace": "a"},
            "becomes ''",
            id="an annotation that is empty",
        ),
        pytest.param(
            {"secretName": "${pvc.annotations['path']}", "secretNamespace": "a"},
            "becomes '../x'",
            id="an annotation that is a path",
        ),
        pytest.param(
            {"secretName": "${pvc.annotations['evil']}", "secretNamespace": "a"},
            "becomes '${pvc.namespace}'",
            id="an annotation that is a template",
        ),
        pytest.param(
            {"secretName": "a", "secretNamespace": "${pvc.name}"},
            "known are ${pvc.namespace}, ${pv.name}",
            id="a claim's name as a namespace",
        ),
        pytest.param(
            {"secretName": "a", "secretNamespace": "${pvc.annotations['team']}"},
            "known are ${pvc.namespace}, ${pv.name}",
            id="an annotation as a namespace",
        ),
        pytest.param(
            {"createSecret": "true", "secretNamespace": "${pvc.name}"},
            "known are ${pvc.namespace}, ${pv.name}",
            id="a claim's name as the namespace of a made secret",
        ),
        pytest.param(
            {
                "secretName": "UPPER",
                "secretNamespace": "a",
            },
            "'UPPER'",
            id="letters in upper case",
        ),
        pytest.param(
            {"secretName": "a\n", "secretNamespace": "a"},
            "which is not a DNS name",
            id="a line feed at the end",
        ),
        pytest.param(
            {"secretName": "a/b", "secretNamespace": "a"}, "'a/b'", id="a slash in a name"
        ),
        pytest.param(
            {
                "secretName": "a",
                "secretNamespace": "a.b",
            },
            "'a.b'",
            id="a dot in a namespace",
        ),
        pytest.param(
            {"secretName": "n" * 254, "secretNamespace": "a"},
            "which is not a DNS name",
            id="a name that is too long",
        ),
        pytest.param(
            {"secretName": "a", "secretNamespace": "v" * 64},
            "which is not a DNS name",
            id="a namespace that is too long",
        ),
    ],
)
def test_a_class_that_names_no_secret_properly_is_refused(
    parameters: dict[str, str], said: str
) -> None:
    with pytest.raises(protocol.InvalidArgument) as refused:
        wanted(**parameters)

    assert said in refused.value.message


def test_most_classes_want_none() -> None:
    assert wanted() is None
    assert wanted(pool="fast", createSecret="false") is None


def test_a_secret_made_for_one_volume_says_whose_it_is_and_another_nodes_has_another_name() -> None:
    assert MADE.startswith("pvc-u1-")
    assert secrets.made_name("pvc-u1", "node2") != MADE
    made = wanted(createSecret="true")

    owner = {
        "flexvol/volume": "pvc-u1",
        "flexvol/claim-namespace": "shop",
        "flexvol/claim-name": "data",
        "flexvol/claim-uid": "u1",
    }
    assert made == Reference("own", MADE, "flexvol/loop", owner)
    in_vault = wanted(createSecret="true", secretNamespace="vault")
    assert in_vault is not None
    assert in_vault.namespace == "vault"


def test_the_driver_gets_none_of_the_words_and_the_pv_the_reference() -> None:
    chosen = StorageClass(
        storage_class(
            createSecret="true",
            secretName="a",
            secretNamespace="b",
            pool="fast",
        )
    )
    claim = Claim(CLAIM)
    made = {"options": {"pool": "fast"}, "capacityBytes": 1 << 20, "fsType": "ext4"}

    request = volume_manifest.provision_request(claim, chosen, 1 << 20, "c1")
    volume = volume_manifest.persistent_volume(
        claim,
        chosen,
        made,
        US,
        "host",
        ("b", "a"),
    )

    assert request.own == {"pool": "fast"}
    assert volume["spec"]["flexVolume"] == {
        "driver": "flexvol/loop", "fsType": "ext4", "options": {"pool": "fast"},
        "secretRef": {"namespace": "b", "name": "a"},
    }  # fmt: skip


def volume_of(**secret: str) -> dict[str, Any]:
    made = {"options": {}, "capacityBytes": 1 << 20, "fsType": "ext4"}
    of_class = StorageClass(storage_class())
    volume = volume_manifest.persistent_volume(Claim(CLAIM), of_class, made, US, "host")
    volume["spec"]["flexVolume"]["secretRef"] = secret
    return volume


def test_the_secret_of_a_pv_is_the_one_that_was_made_for_it() -> None:
    made = wanted(createSecret="true")
    assert made is not None
    volume = volume_of(namespace="own", name=MADE)
    volume["spec"]["claimRef"]["uid"] = "of a later claim"

    found = secrets.made_for(Volume(volume))

    assert found == dataclasses.replace(made, owner={"flexvol/volume": "pvc-u1"})
    assert found is not None
    assert secrets.is_of({"metadata": {"annotations": made.owner}}, found.owner)


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param({}, id="it names none"),
        pytest.param({"name": MADE}, id="it names no namespace"),
        pytest.param(
            {"namespace": "own", "name": "keys"},
            id="its name is not the volume's",
        ),
        pytest.param(
            {"namespace": "own", "name": "pvc-u1"},
            id="its name has no instance",
        ),
        pytest.param(
            {
                "namespace": "own",
                "name": "pvc-u2" + MADE[6:],
            },
            id="its name is another volume's",
        ),
        pytest.param(
            {"namespace": "../../x", "name": MADE},
            id="its namespace is a path",
        ),
    ],
)
def test_any_other_secret_of_a_pv_is_not_its_own(secret: dict[str, str]) -> None:
    assert secrets.made_for(Volume(volume_of(**secret))) is None


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({}, id="it says so"),
        pytest.param({"flexvol/claim-uid": "u2"}, id="it is another claim's"),
        pytest.param({"flexvol/volume": "pvc-u2"}, id="it is another volume's"),
        pytest.param({"flexvol/claim-namespace": ""}, id="it is of no namespace"),
    ],
)
def test_only_a_secret_that_says_so_is_the_volumes(changed: dict[str, str]) -> None:
    made = wanted(createSecret="true")
    assert made is not None

    assert secrets.is_of(
        {"metadata": {"annotations": {**made.owner, **changed}}},
        made.owner,
    ) is (changed == {})
    assert not secrets.is_of({"metadata": {}}, made.owner)
