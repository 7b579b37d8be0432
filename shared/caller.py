"""kubelet's side of the contract: build a callout's command line, run a driver, and read its output
as kubelet does.

The rules are those of pkg/volume/flexvolume/driver-call.go (Run, handleCmdResponse) and of Go's
encoding/json, which parses the output there: one JSON document on stdout and stderr together, keys
matched without regard to case, status values with regard to case, types strict.
tests/unit/shared/test_caller.py compares this file with Go itself."""

import codecs
import json
import re

from shared import process, process_table
from shared.deadlines import TimedOut
from shared.options import Options
from shared.protocol import (
    CALLOUTS,
    FAILURES,
    NOT_SUPPORTED,
    SUCCESS,
    Capabilities,
    Failure,
    Internal,
    NotSupported,
    Reply,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Set, Tuple, Union

# A list of ten thousand volumes has about 4 MB.
_OUTPUT_LIMIT_BYTES = 64 << 20
# How much of an output that is no answer a message has.
_SHOWN_BYTES = 120
_SURROGATE = re.compile("[\ud800-\udfff]")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)\Z")
# A longer number is no int64.
_INTEGER_CHARACTERS = 20
_INT64_END = 1 << 63
# Go folds these two letters besides ASCII, because their simple case folding is s and k.
_FOLD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ\u017f\u212a", "abcdefghijklmnopqrstuvwxyzsk")
_KUBELET_FIELDS = {
    "status": str,
    "message": str,
    "device": str,
    "volumename": str,
    "attached": bool,
    "volumenewsize": int,
}


class Hangs(Internal):
    """A call was given up, and the kernel does not let a process of the call die, as with a disk
    that does not answer."""

    def __init__(self, message: str, survivors: "List[process_table.Survivor]") -> None:
        super().__init__(message)
        self._survivors = survivors

    def processes(self) -> "List[int]":
        """The numbers of the processes that are there still."""
        return [survivor.pid for survivor in self._survivors if survivor.lives()]


class Garbled(Internal):
    """A driver's output that is not one JSON object of the contract."""


class _Number(str):
    """A number as it was written: 1.0 and 1e3 are no integers to Go, and a long number must not be
    converted."""


def command_line(callout: str, **arguments: "Union[str, int, Options]") -> "List[str]":
    """The callout and its arguments in the order of CALLOUTS. Raises KeyError for an argument that
    the callout does not have, or that is missing."""
    names = CALLOUTS[callout].arguments
    if set(arguments) != set(names):
        raise KeyError(
            "{} takes {}, not {}".format(callout, ", ".join(names), ", ".join(arguments))
        )
    line = [callout]
    for name in names:
        value = arguments[name]
        line.append(value.text() if isinstance(value, Options) else str(value))
    return line


def call(
    executable: str,
    callout: str,
    seconds: "Optional[float]" = None,
    **arguments: "Union[str, int, Options]",
) -> Reply:
    """Runs one callout of the driver and returns its reply.

    seconds: the time limit; by default the callout's own in CALLOUTS. Raises the Failure that the
    driver answered with, of the class that the driver named; Internal if the driver answered with
    no failure, with garbage, or not in time; Hangs if a process of the call is left then."""
    limit = CALLOUTS[callout].seconds if seconds is None else seconds
    line = [executable, *command_line(callout, **arguments)]
    try:
        result = process.run(line, limit, output_limit_bytes=_OUTPUT_LIMIT_BYTES)
    except TimedOut as error:
        survivors = process_table.survivors(error.group)
        if survivors:
            raise Hangs(str(error), survivors) from None
        raise
    return parse(callout, result.output, result.status)


def reap_strays(ended_before: "Set[int]") -> "Set[int]":
    """As process_table.reap_strays: what drivers leave to the first process of a container."""
    return process_table.reap_strays(ended_before)


def parse(callout: str, output: bytes, status: int) -> Reply:
    """The reply in a driver's combined output. Raises as `call` does; Garbled for no such reply.

    status: the driver's exit status. Two deliberate differences from kubelet: `capabilities: null`
    in init's answer, which makes kubelet panic, is Internal here; and text nested about a thousand
    deep is refused, where Go's limit is ten thousand."""
    try:
        fields, extra = _fields(_document(output))
    except (ValueError, RecursionError) as error:
        beginning = output[:_SHOWN_BYTES].decode("utf-8", "replace")
        raise Garbled(
            "{}: the driver's output is not one JSON object of the contract ({}); it "
            "begins with {}".format(callout, error, ascii(beginning))
        ) from None
    answer = fields["status"]
    if answer == NOT_SUPPORTED:
        raise NotSupported("the driver does not support {}".format(callout))
    if answer != SUCCESS:
        raise _failure(callout, answer, fields["message"], extra.get("reason"))
    if status != 0:
        raise Internal(
            "{}: driver bug: status {} but {} in its reply".format(callout, status, SUCCESS)
        )
    if callout == "init" and fields["capabilities"] is None:
        raise Internal(
            "{}: driver bug: capabilities is null in its reply, which makes kubelet panic".format(
                callout
            )
        )
    return Reply(
        message=fields["message"],
        device=fields["device"],
        volume_name=fields["volumename"],
        attached=fields["attached"],
        volume_new_size=fields["volumenewsize"],
        capabilities=fields["capabilities"],
        volume=extra.get("volume"),
        volumes=extra.get("volumes"),
        pools=extra.get("pools"),
    )


def _document(output: bytes) -> "Any":
    return json.loads(
        output.decode("utf-8", "as Go"),
        object_pairs_hook=_Object,
        parse_int=_Number,
        parse_float=_Number,
        parse_constant=_no_constant,
    )


def _failure(callout: str, answer: str, message: str, reason: "Any") -> Failure:
    kind = FAILURES.get(reason, Internal) if isinstance(reason, str) else Internal
    if kind is NotSupported:  # kubelet reads the status alone, and that was not "Not supported"
        kind = Internal
    return kind(
        message or "{}: the driver answered {} without a message".format(callout, ascii(answer))
    )


def _fields(document: "Any") -> "Tuple[Dict[str, Any], Dict[str, Any]]":
    """kubelet's own fields by their folded names, and what only flexvol reads, by exact names."""
    fields: "Dict[str, Any]" = {
        "status": "",
        "message": "",
        "device": "",
        "volumename": "",
        "attached": False,
        "volumenewsize": 0,
    }
    defaults = dict.fromkeys(Capabilities.NAMES, True)
    defaults["supportsMetrics"] = False
    capabilities: "Optional[Dict[str, bool]]" = defaults
    extra: "Dict[str, Any]" = {}
    if document is not None:  # null leaves everything at its zero value, as in Go
        for key, value in _members(document, "the output"):
            name = key.translate(_FOLD)
            if name == "capabilities":
                capabilities = _merged(capabilities, value)
            elif name not in _KUBELET_FIELDS:
                extra[key] = _plain(value)
            elif value is not None:
                fields[name] = _typed(key, value, _KUBELET_FIELDS[name])
    fields["capabilities"] = None if capabilities is None else Capabilities(**capabilities)
    return fields, extra


def _merged(capabilities: "Optional[Dict[str, bool]]", value: "Any") -> "Optional[Dict[str, bool]]":
    """What is stated over what was there before; after null Go begins anew, with all of them
    false."""
    if value is None:
        return None
    if capabilities is None:
        capabilities = dict.fromkeys(Capabilities.NAMES, False)
    merged = dict(capabilities)
    names = {name.translate(_FOLD): name for name in Capabilities.NAMES}
    for key, given in _members(value, "capabilities"):
        name = names.get(key.translate(_FOLD))
        if name is not None and given is not None:
            merged[name] = _typed(key, given, bool)
    return merged


class _Object:
    """A JSON object as the list of its members: a key may stand in the object twice, and then Go
    takes one member after the other."""

    def __init__(self, members: "List[Tuple[str, Any]]") -> None:
        self.members = members


def _members(value: "Any", what: str) -> "List[Tuple[str, Any]]":
    if not isinstance(value, _Object):
        raise ValueError("{} is not an object".format(what))
    return value.members


def _typed(key: str, value: "Any", kind: type) -> "Any":
    if kind is int:
        return _int64(key, value)
    if isinstance(value, _Number) or not isinstance(value, kind):
        raise ValueError("{} is not a {}".format(key, "string" if kind is str else "boolean"))
    return _text(str(value)) if kind is str else value


def _int64(key: str, value: "Any") -> int:
    if isinstance(value, _Number) and _INTEGER.match(value):
        number = int(value)
        if -_INT64_END <= number < _INT64_END:
            return number
    raise ValueError("{} is not a 64-bit integer".format(key))


def _plain(value: "Any") -> "Any":
    """The value as Python has it."""
    if isinstance(value, _Object):
        return {_text(key): _plain(member) for key, member in value.members}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    if isinstance(value, _Number):
        is_integer = _INTEGER.match(value) and len(value) < _INTEGER_CHARACTERS
        return int(value) if is_integer else float(value)
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> str:
    """The text, in which half of a surrogate pair, which no file and no API could take, becomes
    what Go makes of it."""
    return _SURROGATE.sub("\ufffd", value)


def _replace_bytes(error: UnicodeError) -> "Tuple[str, int]":
    """One replacement character for each byte, as in Go; Python's own "replace" makes one of
    several bytes."""
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("as Go", _replace_bytes)


def _no_constant(name: str) -> "Any":
    raise ValueError("{} is not JSON".format(name))
