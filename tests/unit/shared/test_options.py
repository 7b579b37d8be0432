"""shared/options.py: the options may be hostile; what they say has types."""

from __future__ import annotations

import json

import pytest

from shared.options import (
    Options,
    Secret,
    integer,
    is_reserved,
    nobody,
    parse_arguments,
    shown_claim,
)
from shared.protocol import CALLOUTS, InvalidArgument, NotSupported
from tests import option_keys

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


def refused(value: str) -> str:
    """The id of a row whose value is refused."""
    return f"{value[:20]!r} is refused"


def taken(value: str) -> str:
    """The id of a row whose value is taken."""
    return f"{value[:20]!r} is taken"


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


def test_the_refusal_of_a_count_names_the_arguments() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse_arguments("mount", ["/pod"])
    assert refusal.value.message == (
        "mount takes 2 arguments (<mount_dir> <options>), but got 1; see: loop help mount"
    )

    with pytest.raises(InvalidArgument, match=r"^init takes 0 arguments, but got 1;"):
        parse_arguments("init", ["{}"])


@pytest.mark.parametrize("path", ["/pod\n", "/p\0d", "/" + "x" * 4096], ids=refused)
def test_an_argument_that_is_no_line_is_refused_by_name_and_shown_cut(path: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse_arguments("unmount", [path])

    assert refusal.value.message.startswith("mount_dir holds control characters or is too long: '")
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 200


def test_a_number_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match=r"^old_bytes is 'x'; it is a whole number"):
        parse_arguments("expandfs", ["{}", "", "/pod", "20", "x"])


def test_the_longest_value_is_taken() -> None:
    longest = "x" * 4096

    assert parse_arguments("unmount", [longest]) == {"mount_dir": longest}
    assert Options.parse(json.dumps({"key": longest})).own == {"key": longest}


@pytest.mark.parametrize(
    "name",
    ["", "Mount", "mount ", "__init__", "run", "prepare_node", "\u212aill", "x" * 65536],
    ids=refused,
)
def test_an_unknown_callout_is_not_supported_and_the_known_ones_are_told(name: str) -> None:
    with pytest.raises(NotSupported, match="known are: init, getvolumename") as refusal:
        parse_arguments(name, [])

    assert len(refusal.value.message) < 500


@pytest.mark.parametrize("text", BROKEN, ids=refused)
def test_options_that_are_no_json_object_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="not a JSON object"):
        Options.parse(text)


@pytest.mark.parametrize("text", WRONG_TYPES, ids=refused)
def test_options_that_are_no_strings_are_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"option 'a' is a .*; every option is a string"):
        Options.parse(text)


@pytest.mark.parametrize(
    "value", ["a\nb", "\0", "\x1b[31m", "\x7f", "\u202e", "x" * 65536, "\ud800"], ids=refused
)
def test_control_characters_and_lengths_are_refused_and_shown_cut(value: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        Options.parse(json.dumps({"key": value}))

    assert "'key'" in refusal.value.message
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 400


def test_a_secret_is_never_in_a_message() -> None:
    for value in ("not base64 at all: swordfish", "swordfish" * 10_000, "sword\nfish"):
        with pytest.raises(InvalidArgument) as refusal:
            secrets = Options.parse(json.dumps({"kubernetes.io/secret/password": value})).secrets
            assert "swordfish" not in repr(secrets)
            raise InvalidArgument(str(secrets))
        assert "fish" not in refusal.value.message


def test_a_secret_that_is_not_base64_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"option 'kubernetes\.io/secret/a' is not base64"):
        _ = Options({"kubernetes.io/secret/a": "swordfish"}).secrets


def test_broken_json_is_not_repeated() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        Options.parse('{"kubernetes.io/secret/password": "c3dvcmRmaXNo"')

    assert "c3dvcmRmaXNo" not in refusal.value.message


def test_a_secret_is_decoded_and_prints_as_stars() -> None:
    secret = Options.parse('{"kubernetes.io/secret/password": "c3dvcmRmaXNo"}').secrets["password"]

    assert secret.reveal() == b"swordfish"
    assert f"{secret} {secret!r} {[secret]}" == "*** *** [***]"
    assert isinstance(secret, Secret)


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=refused)
def test_a_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        _ = Options({"kubernetes.io/pvOrVolumeName": name}).volume

    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 400


@pytest.mark.parametrize("name", ["a", "0", "pvc-8a6ad8b3-1111", "a.b-c", "x" * 200], ids=taken)
def test_a_name_as_a_volume_has_it_is_taken(name: str) -> None:
    assert Options({"kubernetes.io/pvOrVolumeName": name}).volume == name


@pytest.mark.parametrize("number", HOSTILE_NUMBERS, ids=refused)
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


def test_options_give_a_typed_view_of_what_the_provisioner_says() -> None:
    options = Options(
        {
            "kubernetes.io/pvc.namespace": "shop",
            "kubernetes.io/pvc.name": "data",
            "kubernetes.io/pvc.uid": "u1",
            "kubernetes.io/pvc.accessModes": "ReadWriteOnce,ReadOnlyMany",
            "kubernetes.io/mountOptions": "noatime,,nodev,",
        }
    )

    assert vars(options.claim) == {"namespace": "shop", "name": "data", "uid": "u1"}
    assert options.access_modes == ["ReadWriteOnce", "ReadOnlyMany"]
    assert options.mount_options == ["noatime", "nodev"]


@pytest.mark.parametrize(
    ("before", "namespace", "name"),
    [
        pytest.param({}, "*", "*", id="no owner"),
        pytest.param({"uid": "none"}, "*", "*", id="an owner that is none"),
        pytest.param(
            {"namespace": "shop", "name": "data", "uid": "awaited"},
            "shop",
            "data",
            id="a claim that has not come",
        ),
    ],
)
def test_a_volume_that_a_person_deletes_gets_an_owner_that_no_claim_is(
    before: dict[str, str], namespace: str, name: str
) -> None:
    assert nobody(before, "0123") == {
        "namespace": namespace,
        "name": name,
        "uid": "deleted-0123",
    }


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


@pytest.mark.parametrize("value", ["", "RW", "read-only", "rw,ro"], ids=refused)
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


@pytest.mark.parametrize(
    ("asked", "surplus"),
    [
        pytest.param("createSecret", "createSecret", id="a Secret of each claim"),
        pytest.param("secretName", "secretName and secretNamespace", id="a Secret that is there"),
    ],
)
def test_a_class_that_asks_for_a_secret_is_refused_by_a_driver_without_secrets(
    asked: str, surplus: str
) -> None:
    values = {
        "pool": "a",
        "kubernetes.io/storageClass.secret": asked,
        "kubernetes.io/storageClass.name": "fast",
    }
    options = Options(values)

    with pytest.raises(InvalidArgument) as refusal:
        options.expect_own(("pool",))

    assert refusal.value.message.startswith(
        f"the storage class has '{asked}', and this driver uses no secret; leave {surplus} out; a "
        "StorageClass cannot be changed: make 'fast' anew"
    )
    assert options.expect_own(("pool",), uses_secret=True) == {"pool": "a"}


def test_a_driver_that_takes_no_options_says_so_of_a_pvs() -> None:
    with pytest.raises(InvalidArgument, match=r"unknown option 'a'; known are: none$"):
        Options({"a": "b"}).expect_own(())


@pytest.mark.parametrize("key", ["requestBytes", "requestMiB", "requestGiB", "sourceVolume"])
def test_what_the_provisioner_fills_in_is_reserved(key: str) -> None:
    assert is_reserved(key)
    assert not is_reserved(key + "x")


@pytest.mark.parametrize("key", option_keys.REFUSED)
def test_what_the_api_server_refuses_is_reserved(key: str) -> None:
    assert is_reserved(key)


@pytest.mark.parametrize("key", option_keys.ALLOWED)
def test_what_the_api_server_takes_is_not_reserved(key: str) -> None:
    assert not is_reserved(key)


def test_options_travel_with_sorted_keys_as_kubelets_do() -> None:
    text = Options({"b": "<>&", "a": "\u00e9"}).text()

    assert text == '{"a": "\\u00e9", "b": "<>&"}'
    assert Options.parse(text).own == {"a": "\u00e9", "b": "<>&"}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("Gr\u00f6\u00dfe", id="of a Python that has decoded UTF-8"),
        pytest.param("Gr\udcc3\udcb6\udcc3\udc9fe", id="of a Python 3.6 without a locale"),
    ],
)
def test_the_options_are_utf_8_whatever_the_locale(value: str) -> None:
    parsed = parse_arguments("mount", ["/pod", f'{{"share": "{value}"}}'])

    assert parsed["options"].own == {"share": "Gr\u00f6\u00dfe"}


def test_options_that_are_no_utf_8_are_refused() -> None:
    for hostile in ("\udcff", "\ud800"):
        with pytest.raises(InvalidArgument):
            parse_arguments("mount", ["/pod", f'{{"share": "{hostile}"}}'])


@pytest.mark.parametrize(
    ("owner", "shown"),
    [
        pytest.param(None, "-", id="a record that names no claim"),
        pytest.param(
            {"namespace": "shop", "name": "data", "uid": "u"}, "shop/data", id="a claim's volume"
        ),
        pytest.param(
            {"namespace": "*", "name": "*", "uid": "awaited"},
            "any claim",
            id="a volume that waits for whichever claim comes",
        ),
    ],
)
def test_a_person_reads_whose_a_volume_is(owner: dict[str, str] | None, shown: str) -> None:
    assert shown_claim(owner) == shown
