"""shared/json_schema.py: what the package jsonschema says of a document, this module says too."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import json_schema
from tests import schema_documents

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
SECRET = "c2VjcmV0"
WORDS = st.lists(st.sampled_from(["Success", "rw", "true", "1"]), min_size=1, unique=True)
TYPES = st.sampled_from(["object", "array", "string", "boolean", "null", "number", "integer"])
PATTERNS = st.sampled_from(["^a", "a$", "^[0-9]{1,3}$", r"\S", r"^(?!kubernetes\.io/)", "Bytes$"])
NUMBERS = st.sampled_from([-1, 0, 1, 1 << 63])
SCHEMA_KEYS = st.sampled_from(["a", "status", "sizeBytes", "kubernetes.io/x"])


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Schema]:
    """Schemas of any keywords that the validator knows. inner: the schemas below them."""
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
            "enum": WORDS,
            "const": WORDS.map(lambda words: words[0]),
            "pattern": PATTERNS,
            "minimum": NUMBERS,
            "maximum": NUMBERS,
            "required": st.lists(SCHEMA_KEYS, unique=True),
            "properties": st.dictionaries(SCHEMA_KEYS, inner, max_size=3),
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$ref": st.sampled_from(["#/$defs/one", "#/$defs/two"]),
        },
    )


PLAIN: Schema = {"type": ["string", "integer"], "minimum": 0}
DEFINITIONS: dict[str, Any] = {"one": PLAIN, "two": {"required": ["a"], "items": PLAIN}}
SCHEMAS = st.recursive(st.booleans() | keywords(st.booleans()), keywords, max_leaves=6)


def reference_allows(schema: Any, definitions: dict[str, Any], document: Any) -> bool:
    """What the package says."""
    whole = {"$schema": DIALECT, "$defs": definitions, "allOf": [schema]}
    return bool(jsonschema.Draft202012Validator(whole).is_valid(document))


@given(st.data(), SCHEMAS)
@settings(max_examples=300, deadline=None)
def test_any_schema_allows_what_the_reference_allows(data: st.DataObject, schema: Any) -> None:
    document = data.draw(schema_documents.ANYTHING)

    found = json_schema.errors(schema, DEFINITIONS, document, "it")

    assert (not found) == reference_allows(schema, DEFINITIONS, document), found


NESTED: Schema = {
    "required": ["status"],
    "properties": {
        "status": {"enum": ["Success", "Failure"]},
        "size": {"type": "integer", "minimum": 0, "maximum": 9},
        "volume": {"required": ["options"], "properties": {"options": {"type": "object"}}},
        "list": {"items": {"pattern": "^a"}},
        "name": {"title": "a name", "pattern": "^[a-z]+$"},
        "both": {"type": ["object", "null"]},
        "old": False,
        "secret": {"writeOnly": True, "pattern": "^x"},
    },
    "patternProperties": {"^kubernetes": {"type": "string"}},
}


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        pytest.param({}, "status is missing", id="a key is missing"),
        pytest.param(
            {"status": "success"},
            "status is 'success'; it must be 'Success' or 'Failure'",
            id="another word",
        ),
        pytest.param({"size": "1"}, "size is '1'; its type is integer", id="a number as text"),
        pytest.param({"size": True}, "size is true; its type is integer", id="a bool is no number"),
        pytest.param({"size": -1}, "size is the number -1; it must be 0 or more", id="too small"),
        pytest.param({"size": 10}, "size is the number 10; it must be 9 or less", id="too large"),
        pytest.param({"volume": {}}, "volume.options is missing", id="a key below another one"),
        pytest.param(
            {"volume": {"options": []}},
            "volume.options is an array; its type is object",
            id="a type below another one",
        ),
        pytest.param(
            {"list": ["a", "b"]},
            "list[1] is 'b'; it must be text that matches ^a",
            id="an item",
        ),
        pytest.param({"name": "A"}, "name is 'A'; it must be a name", id="a pattern with a title"),
        pytest.param({"both": 1}, "both is the number 1; its type is object or null", id="types"),
        pytest.param({"old": None}, "old must not be there", id="a key that is not allowed"),
        pytest.param(
            {"kubernetes.io/x": None},
            "'kubernetes.io/x' is null; its type is string",
            id="a key that is no word is quoted",
        ),
        pytest.param(
            {"secret": SECRET},
            "secret is a secret value; it must be text that matches ^x",
            id="a secret is not shown",
        ),
    ],
)
def test_a_sentence_names_the_place_and_what_is_wrong(document: Any, sentence: str) -> None:
    document = document and {"status": "Success", **document}

    assert json_schema.errors(NESTED, {}, document, "the reply") == [sentence]


def test_the_whole_document_has_the_name_that_was_given() -> None:
    found = json_schema.errors({"type": "object"}, {}, [], "the reply")

    assert found == ["the reply is an array; its type is object"]


def test_all_that_is_wrong_is_told_once() -> None:
    twice = {"type": "string", "$ref": "#/$defs/text", "pattern": "x"}

    found = json_schema.errors(twice, {"text": {"type": "string"}}, 1, "it")

    assert found == ["it is the number 1; its type is string"]


def test_a_long_value_is_cut() -> None:
    (found,) = json_schema.errors({"const": "x"}, {}, "y" * 10_000, "it")

    assert len(found) < 200


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_no_sentence_has_anything_of_a_secret(data: st.DataObject) -> None:
    inner = data.draw(schema_documents.ANYTHING)
    document = data.draw(
        st.sampled_from([SECRET, [SECRET], {"a": SECRET}, {"a": [SECRET, {"b": inner}]}])
    )
    schema = {
        "writeOnly": True,
        "type": "boolean",
        "pattern": "^x",
        "properties": {"a": {"enum": ["x"], "items": {"pattern": "^x"}}},
        "items": {"const": "x"},
    }

    assert not re.search(SECRET, "\n".join(json_schema.errors(schema, {}, document, "it")))


def test_a_keyword_that_the_validator_does_not_know_is_an_error() -> None:
    with pytest.raises(ValueError, match="maxLength"):
        json_schema.errors({"maxLength": 3}, {}, "long", "it")


def test_a_reference_to_nothing_is_an_error() -> None:
    with pytest.raises(KeyError):
        json_schema.errors({"$ref": "#/$defs/nothing"}, {}, "", "it")
