"""shared/schemas.py: what a request and a reply of each callout may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import caller, options, schemas
from shared.protocol import CALLOUTS, Capabilities, Failure, NotSupported, Reply
from tests import option_keys, schema_documents

DOCUMENT = schemas.document()
SUCCESS: dict[str, Any] = {"status": "Success"}
CAPABILITIES = dict.fromkeys(Capabilities.NAMES, True)
MADE = {"options": {"pool": "default"}, "capacityBytes": 1 << 20, "fsType": "ext4"}
FROM_KUBELET = {
    options.VOLUME: "pvc-1",
    options.FS_TYPE: "",
    options.READ_WRITE: "rw",
}
TO_MOUNT = {
    **FROM_KUBELET,
    options.POD_NAMESPACE: "shop",
    options.POD_NAME: "web",
    options.POD_UID: "u1",
    options.SERVICE_ACCOUNT: "default",
}
TO_DELETE = {
    options.VOLUME: "pvc-1",
    options.CLAIM_NAMESPACE: "shop",
    options.CLAIM_NAME: "data",
    options.CLAIM_UID: "u1",
}


def schemas_below(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and all schemas in it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for keyword in ("if", "then", "else", "items", "additionalProperties"):
        yield from schemas_below(schema.get(keyword))
    for keyword in ("properties", "patternProperties", "$defs"):
        for inner in schema.get(keyword, {}).values():
            yield from schemas_below(inner)


def test_the_schemas_are_schemas_of_the_dialect_that_they_name() -> None:
    assert DOCUMENT["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(DOCUMENT)


def test_only_texts_are_compared() -> None:
    """The validator's equality is that of texts."""
    for schema in schemas_below(DOCUMENT):
        words = [*schema.get("enum", []), schema.get("const", "")]
        assert all(isinstance(word, str) for word in words), schema


def test_each_callout_has_its_schemas() -> None:
    replies = {name for name in schemas.names() if name.endswith(".reply")}
    requests = {name for name in schemas.names() if name.endswith(".request")}

    assert replies == {f"{name}.reply" for name in CALLOUTS}
    assert requests == {
        f"{name}.request" for name, row in CALLOUTS.items() if "options" in row.arguments
    }
    assert set(schemas.names()) == replies | requests | {schemas.ANY_REPLY}


def test_each_key_of_kubelet_and_the_provisioner_is_in_a_schema() -> None:
    known = {
        key
        for name in schemas.names()
        if name.endswith(".request")
        for key in DOCUMENT["$defs"][name]["properties"]
    }
    keys = {
        value
        for name, value in vars(options).items()
        if name[0] != "_" and isinstance(value, str) and options.is_reserved(value)
    }

    assert known == keys


@pytest.mark.parametrize("key", [*option_keys.REFUSED, *option_keys.ALLOWED])
def test_a_reply_may_have_the_options_that_are_not_reserved(key: str) -> None:
    volume = {"options": {key: "a"}, "capacityBytes": 1, "fsType": ""}

    found = schemas.errors("provision.reply", {**SUCCESS, "volume": volume})

    assert bool(found) == (key in option_keys.REFUSED)


@pytest.mark.parametrize("name", schemas.names())
def test_what_a_schema_allows_is_what_the_reference_allows(name: str) -> None:
    schema = DOCUMENT["$defs"][name]
    definitions = DOCUMENT["$defs"]
    reference = jsonschema.Draft202012Validator({**DOCUMENT, "$ref": f"#/$defs/{name}"})

    @given(
        schema_documents.allowed(schema, definitions) | schema_documents.faulty(schema, definitions)
    )
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(document: Any) -> None:
        found = schemas.errors(name, document)
        assert (not found) == reference.is_valid(document), found

    check()


@pytest.mark.parametrize("callout", CALLOUTS)
def test_the_document_of_one_callout_is_whole(callout: str) -> None:
    document = schemas.document(callout)

    assert f"{callout}.reply" in document["$defs"]
    others = [name for name in CALLOUTS if name != callout]
    assert not any(f"{other}.reply" in document["$defs"] for other in others)
    for name in document["$defs"]:
        reference = jsonschema.Draft202012Validator({**document, "$ref": f"#/$defs/{name}"})
        reference.is_valid({"status": "Success", "volumes": [{}], "pools": [{}]})


def outcome_as_read(callout: str, document: dict[str, Any]) -> str:
    """What kubelet takes the reply for."""
    try:
        caller.parse(callout, json.dumps(document).encode(), 0)
    except NotSupported:
        return "Not supported"
    except Failure as failure:
        return "garbage" if "not one JSON object" in failure.message else "Failure"
    return "Success"


def test_kubelet_reads_what_the_schema_of_any_reply_allows() -> None:
    schema = DOCUMENT["$defs"][schemas.ANY_REPLY]

    @given(schema_documents.allowed(schema, DOCUMENT["$defs"]), st.sampled_from(sorted(CALLOUTS)))
    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    def check(document: dict[str, Any], callout: str) -> None:
        outcome = outcome_as_read(callout, document)
        assert outcome == document["status"]

    check()


ALLOWED = {
    "a success that says nothing else": ("unmount.reply", SUCCESS),
    "keys of the driver's own": ("unmount.reply", {**SUCCESS, "version": 3}),
    "not supported": ("getvolumename.reply", {"status": "Not supported"}),
    "a failure that says why": ("mount.reply", {"status": "Failure", "message": "no disk"}),
    "a failure with a reason": (
        "mount.reply",
        {"status": "Failure", "message": "no disk", "reason": "Unavailable"},
    ),
    "init with all capabilities": ("init.reply", {**SUCCESS, "capabilities": CAPABILITIES}),
    "attach of storage without devices": ("attach.reply", SUCCESS),
    "attach with an empty device": ("attach.reply", {**SUCCESS, "device": ""}),
    "a volume that is not attached": ("isattached.reply", {**SUCCESS, "attached": False}),
    "a volume as was asked for": ("provision.reply", SUCCESS),
    "a volume that was made": ("provision.reply", {**SUCCESS, "volume": MADE}),
    "a driver that lists nothing": ("list.reply", SUCCESS),
    "a volume of nobody": ("list.reply", {**SUCCESS, "volumes": [{"name": "v", "owner": None}]}),
    "a pool with a smallest volume": (
        "list.reply",
        {**SUCCESS, "pools": [{"name": "p", "minimumVolumeBytes": 1}]},
    ),
    "a pool with smallest volumes": (
        "list.reply",
        {**SUCCESS, "pools": [{"name": "p", "minimumVolumeBytes": {"": 1, "xfs": 2}}]},
    ),
    "a mount": ("mount.request", TO_MOUNT),
    "a mount with options of the PV": ("mount.request", {**TO_MOUNT, "requestBytes": "any"}),
    "a mount with a secret": ("mount.request", {**TO_MOUNT, "kubernetes.io/secret/a": "YQ=="}),
    "a mount with an fsGroup": ("mount.request", {**TO_MOUNT, options.FS_GROUP: "1000"}),
    "getvolumename after a restart of kubelet": ("getvolumename.request", FROM_KUBELET),
    "a deletion": ("delete.request", TO_DELETE),
    "an adoption for any claim": (
        "adopt.request",
        {**TO_DELETE, options.CLAIM_NAMESPACE: "*", options.CLAIM_NAME: "*"},
    ),
}


@pytest.mark.parametrize(("name", "document"), ALLOWED.values(), ids=ALLOWED)
def test_the_schema_allows(name: str, document: Any) -> None:
    assert schemas.errors(name, document) == []


ODD_VOLUME = {**MADE, "options": {"kubernetes.io/fsType": "ext4"}}
REFUSED = {
    "a list": ("mount.reply", [], "the reply is an array; its type is object"),
    "no status": ("mount.reply", {}, "status is missing"),
    "a status in other letters": (
        "mount.reply",
        {"status": "success"},
        "status is 'success'; it must be 'Success' or 'Failure' or 'Not supported'",
    ),
    "a failure that says nothing": ("mount.reply", {"status": "Failure"}, "message is missing"),
    "an empty message": (
        "mount.reply",
        {"status": "Failure", "message": " "},
        "message is ' '; it must be a text",
    ),
    "a value that kubelet cannot read, in the reply of another callout": (
        "unmount.reply",
        {**SUCCESS, "attached": "false"},
        "attached is 'false'; its type is boolean",
    ),
    "capabilities that are null": (
        "init.reply",
        {**SUCCESS, "capabilities": None},
        "capabilities is null; its type is object",
    ),
    "no capabilities": ("init.reply", SUCCESS, "capabilities is missing"),
    "a capability that is not stated": (
        "init.reply",
        {**SUCCESS, "capabilities": {**CAPABILITIES, "attach": "true"}},
        "capabilities.attach is 'true'; its type is boolean",
    ),
    "isattached without an answer": ("isattached.reply", SUCCESS, "attached is missing"),
    "a volume without a size": (
        "provision.reply",
        {**SUCCESS, "volume": {"options": {}, "fsType": ""}},
        "volume.capacityBytes is missing",
    ),
    "a reserved option": (
        "provision.reply",
        {**SUCCESS, "volume": ODD_VOLUME},
        "volume.options['kubernetes.io/fsType'] must not be there",
    ),
    "a listed volume without a name": (
        "list.reply",
        {**SUCCESS, "volumes": [{}]},
        "volumes[0].name is missing",
    ),
    "a size of the driver's own that is none": (
        "list.reply",
        {**SUCCESS, "pools": [{"name": "p", "cacheBytes": -1}]},
        "pools[0].cacheBytes is the number -1; it must be 0 or more",
    ),
    "a key that kubelet does not know": (
        "mount.request",
        {**TO_MOUNT, "kubernetes.io/pod.UID": "u1"},
        "'kubernetes.io/pod.UID' must not be there",
    ),
    "an option that is no text": (
        "mount.request",
        {**TO_MOUNT, "pool": 1},
        "pool is the number 1; its type is string",
    ),
    "another access": (
        "expandfs.request",
        {**FROM_KUBELET, options.READ_WRITE: "readonly"},
        "'kubernetes.io/readwrite' is 'readonly'; it must be 'rw' or 'ro'",
    ),
    "a secret outside of mount": (
        "expandfs.request",
        {**FROM_KUBELET, "kubernetes.io/secret/a": "YQ=="},
        "'kubernetes.io/secret/a' must not be there",
    ),
    "a secret that is no base64": (
        "mount.request",
        {**TO_MOUNT, "kubernetes.io/secret/a": "clear text"},
        "'kubernetes.io/secret/a' is a secret value; it must be base64",
    ),
    "a path as the name of a volume": (
        "delete.request",
        {**TO_DELETE, options.VOLUME: "../x"},
        "'kubernetes.io/pvOrVolumeName' is '../x'; it must be a name: a-z, 0-9, '-' and '.', "
        "beginning and ending with a letter or digit",
    ),
}


@pytest.mark.parametrize(("name", "document", "sentence"), REFUSED.values(), ids=REFUSED)
def test_the_schema_refuses(name: str, document: Any, sentence: str) -> None:
    assert schemas.errors(name, document) == [sentence]


def test_a_reply_with_all_that_a_driver_can_give_is_allowed() -> None:
    reply = Reply(
        message="done",
        device="",
        volume_name="",
        attached=False,
        volume_new_size=0,
        capabilities=Capabilities(False, False, False, False, False),
        volume=MADE,
        volumes=[],
        pools=[],
    ).to_dict()

    found = {name: schemas.errors(name, reply) for name in schemas.names() if "reply" in name}
    assert not any(found.values()), found
