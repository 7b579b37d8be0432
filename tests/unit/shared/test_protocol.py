"""The contract as data: callouts and their order, options that may be hostile, replies,
failures."""

from __future__ import annotations

import errno
import inspect
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.drivers import Driver
from shared import deadlines, protocol
from shared.options import Options, Secret, integer, is_reserved, parse_arguments
from shared.protocol import CALLOUTS, Capabilities, InvalidArgument, Reply

BROKEN = [
    "",
    " ",
    "null",
    "[]",
    "5",
    '"text"',
    "{",
    "{}{}",
    '{"a": "1",}',
    '{"a": "1", "a": "2"}',
    "{'a': '1'}",
    "[" * 100_000,
    '{"a":' * 5000,
    "\ufeff{}",
]
WRONG_TYPES = [
    '{"a": NaN}',
    '{"a": 1}',
    '{"a": null}',
    '{"a": true}',
    '{"a": ["1"]}',
    '{"a": {"b": "1"}}',
    '{"a": 1.5}',
]
HOSTILE_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc",
    "a/../b",
    ".hidden",
    "-x",
    "x-",
    "x.",
    "a..b",
    "UPPER",
    "a b",
    "a\nb",
    "a\0b",
    "\u00e4",
    "a_b",
    "~a",
    "$(id)",
    "a'b",
    'a"b',
    "\u202ea",
    "a\u2215b",
    "\uff41",
    "\u0663",
    "x" * 201,
    "x" * 65536,
]
HOSTILE_NUMBERS = [
    "",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1.0",
    "1e3",
    "0x10",
    "1_000",
    "\u0663",
    "\u00b2",
    "9" * 19,
    "9" * 5000,
]


def test_the_arguments_are_those_of_kubelets_source_in_its_order() -> None:
    """pkg/volume/flexvolume: the Append calls of attacher.go, detacher.go, mounter.go,
    unmounter.go, expander.go."""
    assert {
        name: row.arguments for name, row in CALLOUTS.items() if row.caller != "provisioner"
    } == {
        "init": (),
        "getvolumename": ("options",),
        "attach": ("options", "node"),
        "waitforattach": ("device", "options"),
        "isattached": ("options", "node"),
        "detach": ("volume", "node"),
        "mountdevice": ("device_dir", "device", "options"),
        "unmountdevice": ("device_dir",),
        "mount": ("mount_dir", "options"),
        "unmount": ("mount_dir",),
        "expandvolume": ("options", "device_dir", "new_bytes", "old_bytes"),
        "expandfs": ("options", "device", "mount_dir", "new_bytes", "old_bytes"),
    }


def test_the_provisioner_has_four_more() -> None:
    ours = {name: row.arguments for name, row in CALLOUTS.items() if row.caller == "provisioner"}

    assert ours == {
        "provision": ("options",),
        "delete": ("options",),
        "list": (),
        "adopt": ("options",),
    }


@pytest.mark.parametrize("name", CALLOUTS)
def test_the_base_driver_has_every_callout_with_its_arguments(name: str) -> None:
    taken = list(inspect.signature(getattr(Driver(), name)).parameters)

    assert taken == list(CALLOUTS[name].arguments)
    if name != "init":
        with pytest.raises(protocol.NotSupported):
            getattr(Driver(), name)(**dict.fromkeys(taken))


def test_arguments_are_parsed_by_their_names() -> None:
    parsed = parse_arguments("expandfs", ['{"a": "b"}', "", "/pod", "20", "10"])

    assert parsed["options"].own == {"a": "b"}
    del parsed["options"]
    assert parsed == {"device": "", "mount_dir": "/pod", "new_bytes": 20, "old_bytes": 10}


@pytest.mark.parametrize("name", CALLOUTS)
def test_a_wrong_count_of_arguments_is_refused(name: str) -> None:
    for count in {len(CALLOUTS[name].arguments) + 1, max(len(CALLOUTS[name].arguments) - 1, 0)}:
        if count != len(CALLOUTS[name].arguments):
            with pytest.raises(InvalidArgument, match=f"{name} takes .* but got {count}"):
                parse_arguments(name, ["{}"] * count)


@pytest.mark.parametrize(
    "name", ["", "Mount", "mount ", "__init__", "run", "prepare_node", "\u212aill", "x" * 65536]
)
def test_an_unknown_callout_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidArgument, match="known are: init, getvolumename") as refused:
        parse_arguments(name, [])

    assert len(refused.value.message) < 500


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: repr(text[:20]))
def test_options_that_are_no_json_object_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="not a JSON object"):
        Options.parse(text)


@pytest.mark.parametrize("text", WRONG_TYPES)
def test_options_that_are_no_strings_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"option 'a' is a .*; every option is a string"):
        Options.parse(text)


@pytest.mark.parametrize(
    "value", ["a\nb", "\0", "\x1b[31m", "\x7f", "\u202e", "x" * 65536, "\ud800"]
)
def test_control_characters_and_lengths_are_refused_and_shown_cut(value: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Options.parse(json.dumps({"key": value}))

    assert "'key'" in refused.value.message
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 400


def test_a_secret_is_never_in_a_message() -> None:
    for value in ("not base64 at all: swordfish", "swordfish" * 10_000, "sword\nfish"):
        with pytest.raises(InvalidArgument) as refused:
            secrets = Options.parse(json.dumps({"kubernetes.io/secret/password": value})).secrets
            assert "swordfish" not in repr(secrets)
            raise InvalidArgument(str(secrets))
        assert "fish" not in refused.value.message


def test_broken_json_is_not_repeated() -> None:
    with pytest.raises(InvalidArgument) as refused:
        Options.parse('{"kubernetes.io/secret/password": "c3dvcmRmaXNo"')

    assert "c3dvcmRmaXNo" not in refused.value.message


def test_a_secret_is_decoded_and_prints_as_stars() -> None:
    secret = Options.parse('{"kubernetes.io/secret/password": "c3dvcmRmaXNo"}').secrets["password"]

    assert secret.reveal() == b"swordfish"
    assert f"{secret} {secret!r} {[secret]}" == "*** *** [***]"
    assert isinstance(secret, Secret)


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: repr(name[:20]))
def test_a_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        _ = Options({"kubernetes.io/pvOrVolumeName": name}).volume

    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 400


@pytest.mark.parametrize("name", ["a", "0", "pvc-8a6ad8b3-1111", "a.b-c", "x" * 200])
def test_a_name_as_a_volume_has_it_is_taken(name: str) -> None:
    assert Options({"kubernetes.io/pvOrVolumeName": name}).volume == name


@pytest.mark.parametrize("number", HOSTILE_NUMBERS, ids=lambda number: repr(number[:20]))
def test_a_hostile_number_is_refused(number: str) -> None:
    with pytest.raises(InvalidArgument):
        _ = Options({"requestBytes": number}).request_bytes
    with pytest.raises(InvalidArgument):
        integer("new_bytes", number)


def test_numbers_are_whole_and_have_63_bits() -> None:
    assert Options({"requestBytes": str(2**63 - 1)}).request_bytes == 2**63 - 1
    assert integer("size", "007") == 7
    with pytest.raises(InvalidArgument, match="more than 2\\*\\*63-1"):
        integer("size", str(2**63))
    with pytest.raises(InvalidArgument, match="at least one byte"):
        _ = Options({"requestBytes": "0"}).request_bytes


def test_options_give_a_typed_view_of_what_kubelet_says() -> None:
    options = Options.parse(
        json.dumps(
            {
                "kubernetes.io/fsType": "xfs",
                "kubernetes.io/readwrite": "ro",
                "kubernetes.io/pvOrVolumeName": "pvc-1",
                "kubernetes.io/pod.name": "web",
                "kubernetes.io/pod.namespace": "shop",
                "kubernetes.io/pod.uid": "u1",
                "kubernetes.io/serviceAccount.name": "default",
                "kubernetes.io/mounterArgs.FsGroup": "2000",
                "pool": "fast",
            }
        )
    )

    assert (options.fs_type, options.read_only, options.volume, options.fs_group) == (
        "xfs",
        True,
        "pvc-1",
        2000,
    )
    assert options.pod is not None
    assert (options.pod.namespace, options.pod.name, options.pod.uid) == ("shop", "web", "u1")
    assert options.service_account == "default"
    assert options.own == {"pool": "fast"}


def test_what_is_not_said_has_a_meaning() -> None:
    options = Options({})

    assert (options.fs_type, options.read_only, options.pod, options.fs_group) == (
        "",
        False,
        None,
        None,
    )
    assert (
        options.access_modes,
        options.mount_options,
        options.source_volume,
        options.secrets,
    ) == ([], [], "", {})
    for missing in ("volume", "claim", "request_bytes"):
        with pytest.raises(InvalidArgument, match="is missing"):
            getattr(options, missing)


@pytest.mark.parametrize("value", ["", "RW", "read-only", "rw,ro"])
def test_an_access_that_is_neither_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument, match="it is rw or ro"):
        _ = Options({"kubernetes.io/readwrite": value}).read_only


def test_own_options_that_nobody_knows_are_refused_with_the_known_ones() -> None:
    options = Options({"pool": "a", "poool": "b", "kubernetes.io/fsType": "", "requestBytes": "1"})

    with pytest.raises(InvalidArgument, match="unknown option 'poool'; known are: pool, thick"):
        options.expect_own(("pool", "thick"))


@pytest.mark.parametrize(
    ("uses_secret", "known"),
    [
        pytest.param(
            False,
            "pool, thick, fsType, csi.storage.k8s.io/fstype, onNodeGone",
            id="a driver without secrets",
        ),
        pytest.param(
            True,
            "pool, thick, fsType, csi.storage.k8s.io/fstype, onNodeGone, secretName, "
            "secretNamespace, createSecret",
            id="a driver that uses a secret",
        ),
    ],
)
def test_a_misspelt_parameter_is_answered_with_all_that_a_class_may_have_and_what_to_do(
    uses_secret: bool, known: str
) -> None:
    """Also those that the provisioner takes away before the driver is called. A class cannot be
    changed, so "remove it" alone would be no help."""
    options = Options({"thik": "true", "kubernetes.io/storageClass.name": "fast"})

    with pytest.raises(InvalidArgument) as raised:
        options.expect_own(("pool", "thick"), uses_secret)

    assert raised.value.message == (
        f"unknown option 'thik'; known are: {known}; thick may be meant; a StorageClass cannot be "
        "changed: make 'fast' anew (kubectl replace --force -f FILE); its volumes stay as they are"
    )


def test_a_driver_that_takes_no_options_says_so_of_a_pvs() -> None:
    with pytest.raises(InvalidArgument, match=r"unknown option 'a'; known are: none$"):
        Options({"a": "b"}).expect_own(())


@pytest.mark.parametrize(
    ("name", "of_volume", "of_object"),
    [
        pytest.param("x" * 200, True, True, id="the longest of a volume"),
        pytest.param("x" * 201, False, True, id="one longer than a volume's"),
        pytest.param("x" * 253, False, True, id="the longest of a claim"),
        pytest.param("x" * 254, False, False, id="one longer than a claim's"),
        pytest.param("../x", False, False, id="a path"),
        pytest.param("", False, False, id="none"),
    ],
)
def test_a_claims_name_may_be_longer_than_a_volumes(
    name: str, of_volume: bool, of_object: bool
) -> None:
    assert (protocol.is_name(name), protocol.is_object_name(name)) == (of_volume, of_object)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        pytest.param("staus", "status", id="a letter is missing"),
        pytest.param("STATUS", "status", id="letters of the other case"),
        pytest.param("fstype", "fsType", id="a known word that has capitals"),
        pytest.param("colour", "", id="nothing like it is known"),
        pytest.param("", "", id="nothing was said"),
        pytest.param("x" * 100000, "", id="a very long word"),
    ],
)
def test_the_word_that_was_meant_is_found(word: str, meant: str) -> None:
    assert protocol.similar(word, ("status", "doctor", "fsType", "pool")) == meant


@pytest.mark.parametrize(
    "key",
    [
        "kubernetes.io/pvOrVolumeName",
        "kubernetes.io/anything",
        "requestBytes",
        "requestMiB",
        "requestGiB",
        "sourceVolume",
    ],
)
def test_what_the_provisioner_fills_in_is_reserved(key: str) -> None:
    assert is_reserved(key)
    assert not is_reserved(key + "x") or key.startswith("kubernetes.io/")


def test_options_travel_with_sorted_keys_as_kubelets_do() -> None:
    text = Options({"b": "<>&", "a": "\u00e9"}).text()

    assert text == '{"a": "\\u00e9", "b": "<>&"}'
    assert Options.parse(text).own == {"a": "\u00e9", "b": "<>&"}


def test_all_five_capabilities_are_always_stated() -> None:
    stated = Reply(capabilities=Capabilities(False, False, False, False, False)).to_dict()[
        "capabilities"
    ]

    assert stated == dict.fromkeys(
        ("attach", "selinuxRelabel", "supportsMetrics", "fsGroup", "requiresFSResize"), False
    )


def test_a_reply_has_only_what_is_given_but_an_answer_of_no_is_given() -> None:
    assert Reply().to_dict() == {"status": "Success"}
    assert Reply(attached=False, device="", volumes=[], volume_new_size=0).to_dict() == {
        "status": "Success",
        "attached": False,
        "volumes": [],
        "volumeNewSize": 0,
    }


def test_a_failure_travels_with_its_class_and_a_message_that_an_event_can_hold() -> None:
    wire = protocol.Busy("x" * 5000).to_dict()

    assert (wire["status"], wire["reason"], len(wire["message"])) == ("Failure", "Busy", 1000)
    assert protocol.NotSupported("attach").to_dict()["status"] == "Not supported"


def test_the_failures_are_known_by_their_names() -> None:
    assert {name: kind.__name__ for name, kind in protocol.FAILURES.items()} == {
        name: name for name in protocol.FAILURES
    }
    kinds = [
        kind for kind in protocol.Failure.__subclasses__() if kind.__module__ == "shared.protocol"
    ]
    assert set(protocol.FAILURES) == {kind.__name__ for kind in kinds}


def test_what_is_shown_is_quoted_escaped_and_cut() -> None:
    assert protocol.shown("a'b\n\u202e") == '"a\'b\\n\\u202e"'
    assert protocol.shown("x" * 65536) == "'" + "x" * 79 + "...' (65536 characters)"


@pytest.mark.parametrize("code", sorted(errno.errorcode), ids=lambda code: errno.errorcode[code])
def test_every_error_of_the_kernel_is_a_sentence_that_says_of_what_and_what_to_do(
    code: int,
) -> None:
    error = OSError(code, os.strerror(code), "/var/lib/flexvol/default/pvc-1/image")

    failure = protocol.system_failure(error, "volume pvc-1 in pool default")

    assert failure.message.startswith("volume pvc-1 in pool default: ")
    assert os.strerror(code) in failure.message
    assert "'/var/lib/flexvol/default/pvc-1/image'" in failure.message
    assert failure.message.partition("; ")[2]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param(errno.ENOSPC, "ResourceExhausted", id="a full disk sends a claim elsewhere"),
        pytest.param(errno.EFBIG, "ResourceExhausted", id="a file that is too large does"),
        pytest.param(errno.EROFS, "Unavailable", id="a read-only disk does"),
        pytest.param(errno.EIO, "Unavailable", id="a disk that fails does"),
        pytest.param(errno.ESTALE, "Unavailable", id="a file server that forgot does"),
        pytest.param(errno.EPERM, "Internal", id="what is not permitted leaves the outcome open"),
        pytest.param(errno.EEXIST, "Internal", id="what nobody expected leaves the outcome open"),
    ],
)
def test_the_reason_is_what_becomes_of_the_claim(code: int, reason: str) -> None:
    assert protocol.system_failure(OSError(code, "words"), "volume v").reason == reason


def test_an_error_without_a_number_or_a_path_is_a_sentence_too() -> None:
    assert protocol.system_failure(OSError(), "list").message.startswith("list: a system call ")
    assert "(words)" in protocol.system_failure(OSError(errno.EIO, "words", 7), "list").message


def test_the_reason_of_every_kind_of_failure_is_one_of_the_contract() -> None:
    class Own(protocol.Busy):
        """As the author of a driver may make one."""

    class Other(Own):
        """And one of that."""

    class Bare(protocol.Failure):
        """Of no kind that the contract has."""

    reasons = [kind("").to_dict()["reason"] for kind in (deadlines.TimedOut, Own, Other, Bare)]
    assert reasons == ["Internal", "Busy", "Busy", "Internal"]
    for name, kind in protocol.FAILURES.items():
        assert kind("").reason == name


@given(
    name=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    tail=st.sampled_from([": its image is missing", " is in use", ", which is archived"]),
    times=st.integers(1, 4),
)
def test_a_sentence_about_a_volume_names_it_once(name: str, tail: str, times: int) -> None:
    sentence = f"volume {name}{tail}"
    for _ in range(times):
        sentence = protocol.of_volume(name, sentence)

    assert sentence == f"volume {name}{tail}"
    assert (
        protocol.of_volume(name, "its image is missing") == f"volume {name}: its image is missing"
    )


def test_a_sentence_about_a_volume_with_a_longer_name_is_not_taken_for_its_own() -> None:
    assert protocol.of_volume("a", "volume ab: gone") == "volume a: volume ab: gone"


@pytest.mark.parametrize(
    ("sentence", "is_named"),
    [
        pytest.param("cannot open /pool/data/image", True, id="a path names the volume"),
        pytest.param("data is in use", True, id="the sentence begins with the name"),
        pytest.param("there is no volume data", True, id="the sentence ends with the name"),
        pytest.param("the metadata of volume data", True, id="only the second is the name"),
        pytest.param("its metadata cannot be read", False, id="the name is part of a word"),
        pytest.param("data-2 is in use", False, id="the name is part of another name"),
    ],
)
def test_a_failure_names_its_volume_unless_it_does_so_already(
    sentence: str, is_named: bool
) -> None:
    expected = sentence if is_named else f"volume data in pool fast: {sentence}"
    assert protocol.naming("volume data in pool fast", "data", sentence) == expected
