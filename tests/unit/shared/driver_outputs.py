"""What drivers print, good and hostile, and what kubelet makes of it: success with which fields,
failure, or "not supported". tests/unit/shared/test_caller.py holds shared/caller.py to it, and it
to Go's own parser."""

from __future__ import annotations

import json
from typing import Any

SUCCESS, FAILURE, NOT_SUPPORTED = "success", "failure", "not supported"
DEFAULTS = {
    "attach": True,
    "selinuxRelabel": True,
    "supportsMetrics": False,
    "fsGroup": True,
    "requiresFSResize": True,
}


class Case:
    """output and exit: what the driver did. outcome: what kubelet makes of it, and for a success
    `fields`, which are the reply's where they are not at their zero value."""

    def __init__(
        self,
        name: str,
        output: str | bytes,
        outcome: str,
        exit: int = 0,  # noqa: A002
        **fields: Any,
    ) -> None:
        self.name = name
        self.output = (
            output if isinstance(output, bytes) else output.encode("utf-8", "surrogatepass")
        )
        self.exit = exit
        self.outcome = outcome
        self.fields = {
            "message": "",
            "device": "",
            "volumeName": "",
            "attached": False,
            "volumeNewSize": 0,
            "capabilities": DEFAULTS,
            **fields,
        }

    def __repr__(self) -> str:
        return self.name


def reply(**fields: Any) -> str:
    return json.dumps({"status": "Success", **fields}, ensure_ascii=False)


def deep(levels: int) -> str:
    return '{"status": "Success", "extra": ' + "[" * levels + "]" * levels + "}"


OK = '"status": "Success"'

CASES = [
    # Plain ones.
    Case("success", reply(), SUCCESS),
    Case("surrounded by white space", " \t\r\n" + reply() + "\n\n", SUCCESS),
    Case(
        "all fields",
        reply(message="m", device="/dev/sdb", volumeName="v", attached=True, volumeNewSize=5),
        SUCCESS,
        message="m",
        device="/dev/sdb",
        volumeName="v",
        attached=True,
        volumeNewSize=5,
    ),
    Case("failure", '{"status": "Failure", "message": "no disk"}', FAILURE),
    Case("not supported", '{"status": "Not supported"}', NOT_SUPPORTED),
    Case("unknown keys are ignored", reply(extra={"a": [1, None, {"b": 2}]}, reason=5), SUCCESS),
    # Status.
    Case("status in lower case", '{"status": "success"}', FAILURE),
    Case("status with a space", '{"status": "Success "}', FAILURE),
    Case("not supported in other case", '{"status": "Not Supported"}', FAILURE),
    Case("no status", "{}", FAILURE),
    Case("status null", '{"status": null}', FAILURE),
    Case("status null after success", f'{{{OK}, "status": null}}', SUCCESS),
    Case("status a number", '{"status": 1}', FAILURE),
    Case("status a list", '{"status": ["Success"]}', FAILURE),
    Case("status twice, the last counts", f'{{"status": "Failure", {OK}}}', SUCCESS),
    Case("status twice, the last is bad", f'{{{OK}, "status": "Failure"}}', FAILURE),
    Case("status escaped", '{"\\u0073tatus": "\\u0053uccess"}', SUCCESS),
    # Exit codes.
    Case("success, but exit 1", reply(), FAILURE, 1),
    Case("success, but killed", reply(), FAILURE, -9),
    Case("failure and exit 1", '{"status": "Failure", "message": "m"}', FAILURE, 1),
    Case("not supported and exit 1", '{"status": "Not supported"}', NOT_SUPPORTED, 1),
    # No JSON, or not one document.
    Case("nothing", "", FAILURE),
    Case("white space", "  \n", FAILURE),
    Case("words", "mount: no such file", FAILURE),
    Case("words before", "warning: old config\n" + reply(), FAILURE),
    Case("words after", reply() + "\ndone", FAILURE),
    Case("two documents", reply() + reply(), FAILURE),
    Case("two documents on two lines", reply() + "\n" + reply(), FAILURE),
    Case("truncated", '{"status": "Succ', FAILURE),
    Case("truncated before the brace", '{"status": "Success"', FAILURE),
    Case("comma at the end", '{"status": "Success",}', FAILURE),
    Case("single quotes", "{'status': 'Success'}", FAILURE),
    Case("a comment", '{"status": "Success"} // fine', FAILURE),
    Case("null", "null", FAILURE),
    Case("true", "true", FAILURE),
    Case("a string", '"Success"', FAILURE),
    Case("a number", "0", FAILURE),
    Case("a list", "[" + reply() + "]", FAILURE),
    Case("an empty list", "[]", FAILURE),
    Case("byte order mark", b"\xef\xbb\xbf" + reply().encode(), FAILURE),
    Case("UTF-16", reply().encode("utf-16"), FAILURE),
    Case("a zero byte after it", reply() + "\0", FAILURE),
    Case("form feed as white space", "\f" + reply(), FAILURE),
    Case("no-break space as white space", "\u00a0" + reply(), FAILURE),
    Case("key without quotes", '{status: "Success"}', FAILURE),
    # Keys without regard to case, also as Unicode folds them.
    Case(
        "keys in capitals",
        ('{"STATUS": "Success", "DEVICE": "/dev/x", "VolumeNAME": "v"}'),
        SUCCESS,
        device="/dev/x",
        volumeName="v",
    ),
    Case("long s in status", '{"\u017ftatu\u017f": "Success"}', SUCCESS),
    Case(
        "long s in a capability",
        f'{{{OK}, "capabilities": {{"requiresF\u017fResize": false}}}}',
        SUCCESS,
        capabilities={**DEFAULTS, "requiresFSResize": False},
    ),
    Case("Kelvin sign is no letter of ours", f'{{{OK}, "\u212a": 5}}', SUCCESS),
    Case(
        "dotless and dotted i are not i", f'{{{OK}, "dev\u0131ce": 5, "dev\u0130ce": 6}}', SUCCESS
    ),
    Case("full-width letters are others", f'{{{OK}, "\uff44evice": 5}}', SUCCESS),
    Case("other case, wrong type", f'{{{OK}, "Device": 5}}', FAILURE),
    Case(
        "two cases of a key, the last counts",
        f'{{{OK}, "device": "a", "Device": "b"}}',
        SUCCESS,
        device="b",
    ),
    Case("a key with a space", f'{{{OK}, "device ": 5}}', SUCCESS),
    Case("an empty key", f'{{{OK}, "": 5}}', SUCCESS),
    Case("sharp s is not ss", f'{{{OK}, "me\u00dfage": 5}}', SUCCESS),
    # Types.
    Case("message null", reply(message=None), SUCCESS),
    Case("device null", reply(device=None), SUCCESS),
    Case("attached null", reply(attached=None), SUCCESS),
    Case("size null", reply(volumeNewSize=None), SUCCESS),
    Case(
        "null keeps what was there", f'{{{OK}, "device": "a", "device": null}}', SUCCESS, device="a"
    ),
    Case("message a number", reply(message=1), FAILURE),
    Case("message an object", reply(message={}), FAILURE),
    Case("attached a string", reply(attached="true"), FAILURE),
    Case("attached a number", reply(attached=1), FAILURE),
    Case("device a boolean", reply(device=True), FAILURE),
    Case("wrong type in a failure", '{"status": "Failure", "attached": "no"}', FAILURE),
    Case("wrong type in not supported", '{"status": "Not supported", "attached": "no"}', FAILURE),
    Case("wrong type, then right", f'{{{OK}, "device": 1, "device": "a"}}', FAILURE),
    Case("capitals in a literal", f'{{{OK}, "attached": True}}', FAILURE),
    # Numbers.
    Case("size a string", reply(volumeNewSize="1"), FAILURE),
    Case("size a boolean", reply(volumeNewSize=True), FAILURE),
    Case("size 1.0", f'{{{OK}, "volumeNewSize": 1.0}}', FAILURE),
    Case("size 1e3", f'{{{OK}, "volumeNewSize": 1e3}}', FAILURE),
    Case("size -0", f'{{{OK}, "volumeNewSize": -0}}', SUCCESS),
    Case("size negative", f'{{{OK}, "volumeNewSize": -5}}', SUCCESS, volumeNewSize=-5),
    Case(
        "size greatest",
        f'{{{OK}, "volumeNewSize": 9223372036854775807}}',
        SUCCESS,
        volumeNewSize=(1 << 63) - 1,
    ),
    Case(
        "size least",
        f'{{{OK}, "volumeNewSize": -9223372036854775808}}',
        SUCCESS,
        volumeNewSize=-(1 << 63),
    ),
    Case("size one too many", f'{{{OK}, "volumeNewSize": 9223372036854775808}}', FAILURE),
    Case("size one too few", f'{{{OK}, "volumeNewSize": -9223372036854775809}}', FAILURE),
    Case("size of 6000 digits", f'{{{OK}, "volumeNewSize": {"9" * 6000}}}', FAILURE),
    Case("size 01", f'{{{OK}, "volumeNewSize": 01}}', FAILURE),
    Case("size +1", f'{{{OK}, "volumeNewSize": +1}}', FAILURE),
    Case("size 0x10", f'{{{OK}, "volumeNewSize": 0x10}}', FAILURE),
    Case("size 1.", f'{{{OK}, "volumeNewSize": 1.}}', FAILURE),
    Case("size in Arabic digits", f'{{{OK}, "volumeNewSize": 1\u0663}}', FAILURE),
    Case("size NaN", f'{{{OK}, "volumeNewSize": NaN}}', FAILURE),
    Case("unknown NaN", f'{{{OK}, "extra": NaN}}', FAILURE),
    Case("unknown Infinity", f'{{{OK}, "extra": -Infinity}}', FAILURE),
    Case("unknown 1e400", f'{{{OK}, "extra": 1e400}}', SUCCESS),
    Case("unknown of 6000 digits", f'{{{OK}, "extra": {"7" * 6000}}}', SUCCESS),
    Case("unknown 1.5e-7", f'{{{OK}, "extra": -1.5E-7}}', SUCCESS),
    # Capabilities.
    Case("capabilities empty", reply(capabilities={}), SUCCESS),
    Case(
        "capabilities as init states them",
        reply(capabilities={"attach": False, "supportsMetrics": True}),
        SUCCESS,
        capabilities={**DEFAULTS, "attach": False, "supportsMetrics": True},
    ),
    Case(
        "capabilities in other case",
        reply(CAPABILITIES={"ATTACH": False}),
        SUCCESS,
        capabilities={**DEFAULTS, "attach": False},
    ),
    Case(
        "capabilities twice are merged",
        f'{{{OK}, "capabilities": {{"attach": false}}, "capabilities": {{"fsGroup": false}}}}',
        SUCCESS,
        capabilities={**DEFAULTS, "attach": False, "fsGroup": False},
    ),
    Case("a capability null", reply(capabilities={"attach": None}), SUCCESS),
    Case("a capability a string", reply(capabilities={"attach": "false"}), FAILURE),
    Case("a capability a number", reply(capabilities={"attach": 0}), FAILURE),
    Case("unknown capability", reply(capabilities={"snapshots": 7}), SUCCESS),
    Case("capabilities a list", reply(capabilities=[]), FAILURE),
    Case("capabilities a string", reply(capabilities=""), FAILURE),
    Case("capabilities null makes kubelet panic", reply(capabilities=None), FAILURE),
    Case(
        "capabilities null, then some",
        f'{{{OK}, "capabilities": null, "capabilities": {{"attach": true}}}}',
        SUCCESS,
        capabilities={**dict.fromkeys(DEFAULTS, False), "attach": True},
    ),
    Case("capabilities null in a failure", '{"status": "Failure", "capabilities": null}', FAILURE),
    Case(
        "capabilities null in not supported",
        ('{"status": "Not supported", "capabilities": null}'),
        NOT_SUPPORTED,
    ),
    # Strings.
    Case(
        "escapes",
        f'{{{OK}, "message": "a\\n\\t\\"\\\\\\/\\u00e9\\ud83d\\ude00"}}',
        SUCCESS,
        message='a\n\t"\\/\u00e9\U0001f600',
    ),
    Case("a zero in a message", f'{{{OK}, "message": "a\\u0000b"}}', SUCCESS, message="a\0b"),
    Case("half a pair", f'{{{OK}, "message": "a\\ud83d"}}', SUCCESS, message="a\ufffd"),
    Case("the other half", f'{{{OK}, "message": "\\ude00a"}}', SUCCESS, message="\ufffda"),
    Case(
        "halves in the wrong order",
        f'{{{OK}, "message": "\\ude00\\ud83d"}}',
        SUCCESS,
        message="\ufffd\ufffd",
    ),
    Case(
        "half a pair, then a letter",
        f'{{{OK}, "message": "\\ud83d\\u0041"}}',
        SUCCESS,
        message="\ufffdA",
    ),
    Case("half a pair in an unknown key", f'{{{OK}, "\\ud83d": 1}}', SUCCESS),
    Case(
        "a byte that is no UTF-8",
        (b'{"status": "Success", "message": "\xff"}'),
        SUCCESS,
        message="\ufffd",
    ),
    Case(
        "a truncated character",
        (b'{"status": "Success", "message": "\xe2\x82"}'),
        SUCCESS,
        message="\ufffd\ufffd",
    ),
    Case(
        "an encoded surrogate",
        (b'{"status": "Success", "message": "\xed\xa0\x80"}'),
        SUCCESS,
        message="\ufffd" * 3,
    ),
    Case(
        "an overlong slash",
        (b'{"status": "Success", "message": "\xc0\xaf"}'),
        SUCCESS,
        message="\ufffd\ufffd",
    ),
    Case("no UTF-8 outside a string", b'{"status": "Success"\xff}', FAILURE),
    Case("a raw line break in a string", '{"status": "Success", "message": "a\nb"}', FAILURE),
    Case("a raw tab in a string", '{"status": "Success", "message": "a\tb"}', FAILURE),
    Case(
        "a raw delete in a string",
        ('{"status": "Success", "message": "a\x7fb"}'),
        SUCCESS,
        message="a\x7fb",
    ),
    Case("an unknown escape", '{"status": "Success", "message": "\\x41"}', FAILURE),
    Case("a short escape", '{"status": "Success", "message": "\\u12"}', FAILURE),
    Case("a sign in an escape", '{"status": "Success", "message": "\\u+123"}', FAILURE),
    Case("line separator", reply(message="a\u2028b"), SUCCESS, message="a\u2028b"),
    Case(
        "a message of a megabyte", reply(message="x" * 1_000_000), SUCCESS, message="x" * 1_000_000
    ),
    # Depth. Between about a thousand and ten thousand levels shared/caller.py is stricter than Go.
    Case("nested a hundred deep", deep(100), SUCCESS),
    Case("nested twenty thousand deep", deep(20_000), FAILURE),
    Case("opened a hundred thousand times", "[" * 100_000, FAILURE),
    Case("status nested", '{"status": {"status": "Success"}}', FAILURE),
]
