"""shared/protocol.py: callouts and their order, capabilities, replies, failures, names."""

from __future__ import annotations

import errno
import inspect
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.drivers import Driver
from shared import deadlines, protocol
from shared.protocol import CALLOUTS, Capabilities, Reply


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
        pytest.param(errno.ENOLCK, "Unavailable", id="a file server without locks does"),
        pytest.param(errno.EPERM, "Internal", id="what is not permitted leaves the outcome open"),
        pytest.param(errno.EEXIST, "Internal", id="what nobody expected leaves the outcome open"),
    ],
)
def test_the_reason_is_what_becomes_of_the_claim(code: int, reason: str) -> None:
    assert protocol.system_failure(OSError(code, "words"), "volume v").reason == reason


def test_an_error_of_the_kernel_is_told_with_its_words_and_the_remedy() -> None:
    error = OSError(errno.EIO, "Input/output error", "/pool/image")

    assert protocol.system_failure(error, "volume v").message == (
        "volume v: its disk reports an error ('/pool/image': Input/output error); see dmesg for "
        "what is wrong with the disk"
    )


def test_an_error_without_a_number_or_a_path_is_a_sentence_too() -> None:
    assert protocol.system_failure(OSError(), "list").message == (
        "list: a system call failed unexpectedly (OSError); loop doctor tells more"
    )
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
        pytest.param(
            "metadata of data: no metadata", True, id="only that in the middle is the name"
        ),
        pytest.param("its metadata cannot be read", False, id="the name is part of a word"),
        pytest.param("-data is no option", False, id="the name is the end of the first word"),
        pytest.param("data-2 is in use", False, id="the name is part of another name"),
    ],
)
def test_a_failure_names_its_volume_unless_it_does_so_already(
    sentence: str, is_named: bool
) -> None:
    expected = sentence if is_named else f"volume data in pool fast: {sentence}"
    assert protocol.naming("volume data in pool fast", "data", sentence) == expected
