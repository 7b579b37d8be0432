"""Documents that hypothesis makes for a JSON schema: those that the schema allows, and those with a
few faults. Only for the keywords of shared/json_schema.py."""

from __future__ import annotations

import copy
import functools
import re
from typing import Any

from hypothesis import strategies as st

from shared import json_schema, schemas

Schema = dict[str, Any]
KEYS = st.text(alphabet="aZ0_.-/", min_size=1, max_size=6) | st.sampled_from(
    ["kubernetes.io/x", "kubernetes.io/secret/key", "requestBytes", "sizeBytes", "status", "a\n"]
)
TEXTS = st.text(max_size=8) | KEYS | st.sampled_from(["", "Success", "true", "1", "0\n", "rw"])
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, -1, 1.0, 0.5, 1 << 63, (1 << 63) - 1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
_MAKERS = {
    "boolean": st.booleans(),
    "null": st.none(),
}


def allowed(schema: Schema, definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Documents that the schema allows."""
    makers = [_Maker(definitions, rules).documents() for rules in _ways(schema, definitions)]

    def fits(document: Any) -> bool:
        return not json_schema.errors(schema, definitions, document, "it")

    return st.one_of(makers).filter(fits)


@functools.cache
def named(name: str) -> st.SearchStrategy[Any]:
    """Documents that the schema of the contract with that name allows."""
    definitions = schemas.document()["$defs"]
    return allowed(definitions[name], definitions)


def faulty(schema: Schema, definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Documents that were allowed before one to three of their places were changed, and that may
    be allowed still."""
    return st.tuples(allowed(schema, definitions), st.lists(_faults(), min_size=1, max_size=3)).map(
        lambda parts: _spoilt(*parts)
    )


def _ways(schema: Any, definitions: dict[str, Any]) -> list[list[Schema]]:
    """The schemas without references and conditions that a document may have to satisfy all at
    once; one list for each way through the conditions."""
    if schema is True:
        return [[]]
    ways = [[{key: value for key, value in schema.items() if key not in ("$ref", "if")}]]
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        ways = _both(ways, _ways(definitions[name], definitions))
    if "if" in schema:
        positive = _both(
            _ways(schema["if"], definitions), _ways(schema.get("then", True), definitions)
        )
        negative = _ways(schema.get("else", True), definitions)
        ways = _both(ways, positive + negative)
    return ways


def _both(ways: list[list[Schema]], others: list[list[Schema]]) -> list[list[Schema]]:
    return [rules + other for rules in ways for other in others]


class _Maker:
    """Makes documents that satisfy several schemas at once, most of the time."""

    def __init__(self, definitions: dict[str, Any], rules: list[Schema]) -> None:
        self._definitions = definitions
        self._rules = rules

    def documents(self) -> st.SearchStrategy[Any]:
        words = self._words()
        if words is not None:
            return st.sampled_from(sorted(words)) if words else st.nothing()
        types = self._types()
        if types is None:
            return ANYTHING
        return st.one_of([self._of_type(name) for name in sorted(types)])

    def _all(self, keyword: str) -> list[Any]:
        return [schema[keyword] for schema in self._rules if keyword in schema]

    def _words(self) -> set[str] | None:
        sets = [set(words) for words in self._all("enum")]
        sets += [{word} for word in self._all("const")]
        return set.intersection(*sets) if sets else None

    def _types(self) -> set[str] | None:
        sets = [{names} if isinstance(names, str) else set(names) for names in self._all("type")]
        if sets:
            return set.intersection(*sets)
        if self._all("properties") or self._all("required"):
            return {"object"}
        return {"string"} if self._all("pattern") else None

    def _of_type(self, name: str) -> st.SearchStrategy[Any]:
        if name == "object":
            return self._objects()
        if name == "array":
            items = self._place(self._all("items"))
            return st.lists(items, max_size=3)
        if name == "string":
            return self._strings()
        if name in ("integer", "number"):
            minimum = max(self._all("minimum"), default=None)
            return st.integers(minimum, min(self._all("maximum"), default=None))
        return _MAKERS[name]

    def _strings(self) -> st.SearchStrategy[str]:
        patterns = self._all("pattern")
        return st.from_regex(patterns[0]) if patterns else TEXTS

    def _objects(self) -> st.SearchStrategy[dict[str, Any]]:
        required = {key for keys in self._all("required") for key in keys}
        known = {key for properties in self._all("properties") for key in properties}
        members = {key: self._member(key) for key in sorted(known | required)}
        optional = {key: members[key] for key in members if key not in required}
        needed = {key: members[key] for key in members if key in required}
        more = self._keys().flatmap(lambda key: st.tuples(st.just(key), self._member(key)))
        return st.tuples(
            st.fixed_dictionaries(needed, optional=optional), st.lists(more, max_size=2)
        ).map(lambda parts: {**dict(parts[1]), **parts[0]})

    def _keys(self) -> st.SearchStrategy[str]:
        """Keys beside the known ones."""
        patterns = [key for schemas in self._all("patternProperties") for key in schemas]
        return st.one_of([KEYS, *(st.from_regex(pattern) for pattern in patterns)])

    def _member(self, key: str) -> st.SearchStrategy[Any]:
        return self._place(
            [inner for schema in self._rules for inner in _schemas_of_member(schema, key)]
        )

    def _place(self, schemas: list[Any]) -> st.SearchStrategy[Any]:
        """What satisfies all of the schemas."""
        if False in schemas:
            return ANYTHING
        ways: list[list[Schema]] = [[]]
        for schema in schemas:
            ways = _both(ways, _ways(schema, self._definitions))
        return st.one_of([_Maker(self._definitions, rules).documents() for rules in ways])


def _schemas_of_member(schema: Schema, key: str) -> list[Any]:
    """The schemas that the value under a key of an object has to satisfy."""
    found = []
    if key in schema.get("properties", {}):
        found.append(schema["properties"][key])
    patterns = schema.get("patternProperties", {})
    found += [inner for pattern, inner in patterns.items() if re.search(pattern, key)]
    if not found and "additionalProperties" in schema:
        found.append(schema["additionalProperties"])
    return found


def _faults() -> st.SearchStrategy[tuple[list[int], str, str, Any]]:
    """Each as a way into the document, what is done there, a key, and a value."""
    way = st.lists(st.integers(0, 30), max_size=4)
    return st.tuples(way, st.sampled_from(["remove", "add", "replace"]), KEYS, ANYTHING)


def _spoilt(document: Any, faults: list[tuple[list[int], str, str, Any]]) -> Any:
    document = {"root": copy.deepcopy(document)}
    for way, what, key, value in faults:
        _spoil(document, way, what, key, copy.deepcopy(value))
    return document["root"]


def _spoil(document: dict[str, Any], way: list[int], what: str, key: str, value: Any) -> None:
    parent: Any = document
    at: Any = "root"
    for step in way:
        here = parent[at]
        if not isinstance(here, (dict, list)) or not here:
            break
        parent = here
        at = sorted(here)[step % len(here)] if isinstance(here, dict) else step % len(here)
    if what == "add" and isinstance(parent[at], dict):
        parent[at][key] = value
    elif what == "remove" and parent is not document:
        del parent[at]
    else:
        parent[at] = value
