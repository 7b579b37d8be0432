"""A validator for that part of JSON Schema (draft 2020-12) in which shared/schemas.py is written,
as the standard library has no validator.

A keyword that this module does not know is an error, so that no rule of a schema is passed over.
tests/unit/shared/test_json_schema.py compares this module with the package jsonschema."""

import re

from shared.protocol import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Tuple, Union

    Schema = Union[bool, Dict[str, Any]]
    Keyword = Callable[["_Rules", "Place", Dict[str, Any], Any], Iterator[str]]

_DEFINITIONS = "#/$defs/"
# Keywords that say nothing about a document. `then` and `else` are read where `if` is.
_WITHOUT_RULES = frozenset(
    ("$schema", "$id", "$defs", "title", "description", "examples", "writeOnly", "then", "else")
)
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_NUMBERS = (int, float)
_TYPES = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "number": _NUMBERS,
    "integer": _NUMBERS,
}


class Place:
    """A place in a document: what a sentence calls the place, and whether its value is a secret."""

    def __init__(self, name: str, is_root: bool = False, is_secret: bool = False) -> None:
        self.name = name
        self.is_root = is_root
        self.is_secret = is_secret

    def member(self, key: str) -> "Place":
        """The value under a key of the object at this place."""
        is_plain = _PLAIN_KEY.match(key)
        if self.is_root:
            name = key if is_plain else shown(key)
        elif is_plain:
            name = "{}.{}".format(self.name, key)
        else:
            name = "{}[{}]".format(self.name, shown(key))
        return Place(name, is_secret=self.is_secret)

    def item(self, index: int) -> "Place":
        """An item of the array at this place."""
        begin = "" if self.is_root else self.name
        return Place("{}[{}]".format(begin, index), is_secret=self.is_secret)

    def described(self, value: "Any") -> str:
        """The value as a sentence may have it."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if value is None:
            return "null"
        if isinstance(value, dict):
            return "an object"
        if isinstance(value, list):
            return "an array"
        if self.is_secret:
            return "a secret value"
        if isinstance(value, str):
            return shown(value)
        return "the number {}".format(shown(str(value))[1:-1])


def errors(
    schema: "Schema", definitions: "Dict[str, Any]", document: "Any", name: str
) -> "List[str]":
    """A sentence for each thing that is wrong with the document; none if the schema allows the
    document.

    definitions: what a `$ref` of the schema may lead to, `#/$defs/NAME`, by name. document: as the
    module json reads it. name: what a sentence calls the whole document. The value of a place whose
    schema is `writeOnly` is in no sentence. Raises ValueError for a schema with a keyword that this
    module does not know, and KeyError for a reference to nothing."""
    sentences = _Rules(definitions).errors(Place(name, is_root=True), schema, document)
    return list(dict.fromkeys(sentences))


class _Rules:
    """The rules of one set of definitions."""

    def __init__(self, definitions: "Dict[str, Any]") -> None:
        self.definitions = definitions

    def errors(self, place: Place, schema: "Schema", value: "Any") -> "Iterator[str]":
        """What is wrong with the value at the place."""
        if isinstance(schema, bool):
            if not schema:
                yield "{} must not be there".format(place.name)
            return
        if schema.get("writeOnly"):
            place = Place(place.name, place.is_root, is_secret=True)
        for keyword in schema:
            if keyword in _WITHOUT_RULES:
                continue
            if keyword not in _KEYWORDS:
                raise ValueError("the validator does not know the keyword {}".format(keyword))
            yield from _KEYWORDS[keyword](self, place, schema, value)


def _reference(
    rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any"
) -> "Iterator[str]":
    reference = schema["$ref"]
    if not reference.startswith(_DEFINITIONS):
        raise KeyError(reference)
    yield from rules.errors(place, rules.definitions[reference[len(_DEFINITIONS) :]], value)


def _condition(
    rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any"
) -> "Iterator[str]":
    fits = not any(rules.errors(place, schema["if"], value))
    yield from rules.errors(place, schema.get("then" if fits else "else", True), value)


def _type(rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any") -> "Iterator[str]":
    wanted = schema["type"]
    names = [wanted] if isinstance(wanted, str) else wanted
    if not any(_has_type(value, name) for name in names):
        yield "{} is {}; its type is {}".format(
            place.name, place.described(value), " or ".join(names)
        )


def _has_type(value: "Any", name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _enum(rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any") -> "Iterator[str]":
    yield from _one_of(place, schema["enum"], value)


def _const(rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any") -> "Iterator[str]":
    yield from _one_of(place, [schema["const"]], value)


def _one_of(place: Place, words: "List[str]", value: "Any") -> "Iterator[str]":
    """The words are texts: equality of numbers in JSON is not that of Python."""
    if not isinstance(value, str) or value not in words:
        listed = " or ".join(shown(word) for word in words)
        yield "{} is {}; it must be {}".format(place.name, place.described(value), listed)


def _pattern(
    rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any"
) -> "Iterator[str]":
    """The title of a schema with a pattern says the pattern in words."""
    if isinstance(value, str) and not re.search(schema["pattern"], value):
        form = schema.get("title", "text that matches " + schema["pattern"])
        yield "{} is {}; it must be {}".format(place.name, place.described(value), form)


def _minimum(
    rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any"
) -> "Iterator[str]":
    if _has_type(value, "number") and value < schema["minimum"]:
        sentence = "{} is {}; it must be {} or more"
        yield sentence.format(place.name, place.described(value), schema["minimum"])


def _maximum(
    rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any"
) -> "Iterator[str]":
    if _has_type(value, "number") and value > schema["maximum"]:
        sentence = "{} is {}; it must be {} or less"
        yield sentence.format(place.name, place.described(value), schema["maximum"])


def _required(
    rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any"
) -> "Iterator[str]":
    if not isinstance(value, dict):
        return
    for key in schema["required"]:
        if key not in value:
            yield "{} is missing".format(place.member(key).name)


def _properties(
    rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any"
) -> "Iterator[str]":
    if not isinstance(value, dict):
        return
    for key, inner in schema["properties"].items():
        if key in value:
            yield from rules.errors(place.member(key), inner, value[key])


def _pattern_properties(
    rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any"
) -> "Iterator[str]":
    for key, member in _members(value):
        for pattern, inner in schema["patternProperties"].items():
            if re.search(pattern, key):
                yield from rules.errors(place.member(key), inner, member)


def _additional_properties(
    rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any"
) -> "Iterator[str]":
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    for key, member in _members(value):
        if key in known or any(re.search(pattern, key) for pattern in patterns):
            continue
        yield from rules.errors(place.member(key), schema["additionalProperties"], member)


def _members(value: "Any") -> "List[Tuple[str, Any]]":
    """The keys and values of an object; nothing of anything else."""
    return list(value.items()) if isinstance(value, dict) else []


def _items(rules: _Rules, place: Place, schema: "Dict[str, Any]", value: "Any") -> "Iterator[str]":
    if not isinstance(value, list):
        return
    for index, item in enumerate(value):
        yield from rules.errors(place.item(index), schema["items"], item)


_KEYWORDS: "Dict[str, Keyword]" = {
    "$ref": _reference,
    "if": _condition,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "pattern": _pattern,
    "minimum": _minimum,
    "maximum": _maximum,
    "required": _required,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "items": _items,
}
