"""shared/caller.py reads a driver's output as kubelet does: the corpus by what is expected, and
by Go itself."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shared import caller, process_table, protocol
from shared.options import Options
from tests.cluster.kube import build
from tests.unit.shared.driver_outputs import CASES, FAILURE, NOT_SUPPORTED, SUCCESS, Case, reply
from tests.waiting import wait_until


def read(case: Case) -> tuple[str, dict[str, Any]]:
    """What shared/caller.py makes of a case, in the corpus's words."""
    try:
        answer = caller.parse("init", case.output, case.exit)
    except protocol.NotSupported:
        return NOT_SUPPORTED, {}
    except protocol.Failure as failure:
        str(failure).encode()  # it will be logged
        return FAILURE, {}
    assert answer.capabilities
    return SUCCESS, {
        "message": answer.message,
        "device": answer.device,
        "volumeName": answer.volume_name,
        "attached": answer.attached,
        "volumeNewSize": answer.volume_new_size,
        "capabilities": answer.capabilities.to_dict(),
    }


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_an_output_is_read_as_expected(case: Case) -> None:
    outcome, fields = read(case)

    assert outcome == case.outcome
    if outcome == SUCCESS:
        assert fields == case.fields


@pytest.fixture(scope="module")
def kubelet() -> list[dict[str, Any]]:
    """What kubelet's own types and Go's own parser make of the corpus."""
    lacking = build.missing()
    if lacking:
        pytest.skip(lacking)
    program = build.programs() / build.REPLY
    if not program.exists():
        pytest.skip(
            f"FLEXVOL_KUBE_BIN has no {build.REPLY}, which is made with the programs if that "
            "is not set"
        )
    runs = [
        {"callout": "init", "output": base64.b64encode(c.output).decode(), "exit": c.exit}
        for c in CASES
    ]
    done = subprocess.run(
        [program], input=json.dumps(runs), capture_output=True, text=True, check=True
    )
    replies: list[dict[str, Any]] = json.loads(done.stdout)
    return replies


def test_go_agrees_with_every_case(kubelet: list[dict[str, Any]]) -> None:
    differ = {}
    for case, answer in zip(CASES, kubelet, strict=True):
        outcome = FAILURE if answer["outcome"] == "panic" else answer["outcome"]
        fields = {name: answer[name] for name in case.fields}
        if outcome != case.outcome or (outcome == SUCCESS and fields != case.fields):
            differ[case.name] = answer

    assert differ == {}


def test_only_capabilities_null_makes_kubelet_panic(kubelet: list[dict[str, Any]]) -> None:
    assert [
        case.name
        for case, answer in zip(CASES, kubelet, strict=True)
        if answer["outcome"] == "panic"
    ] == ["capabilities null makes kubelet panic"]


@pytest.mark.parametrize("name", sorted(set(protocol.FAILURES) - {"NotSupported"}))
def test_a_failure_comes_back_as_the_class_the_driver_raised(name: str) -> None:
    raised = protocol.FAILURES[name]("volume v: in use on another node")
    printed = json.dumps(raised.to_dict()).encode()

    with pytest.raises(protocol.Failure) as again:
        caller.parse("mount", printed, 0)

    assert type(again.value) is type(raised)
    assert again.value.message == "volume v: in use on another node"


@pytest.mark.parametrize(
    "reason", ['"Nonsense"', "5", "null", '["Busy"]', '"NotSupported"', '"busy"']
)
def test_an_unknown_reason_is_internal(reason: str) -> None:
    with pytest.raises(protocol.Internal, match="broken"):
        caller.parse(
            "mount", f'{{"status": "Failure", "message": "broken", "reason": {reason}}}'.encode(), 0
        )


def test_a_failure_without_a_message_says_so() -> None:
    with pytest.raises(
        protocol.Internal, match=r"^mount: the driver answered 'success' without a message$"
    ):
        caller.parse("mount", b'{"status": "success"}', 0)


def test_what_a_driver_does_not_support_is_named() -> None:
    with pytest.raises(protocol.NotSupported, match=r"^the driver does not support list$"):
        caller.parse("list", b'{"status": "Not supported"}', 1)


@pytest.mark.parametrize(
    ("output", "status", "words"),
    [
        pytest.param(
            reply(),
            3,
            "init: driver bug: status 3 but Success in its reply",
            id="a success that failed",
        ),
        pytest.param(
            reply(capabilities=None),
            0,
            "init: driver bug: capabilities is null in its reply, which makes kubelet panic",
            id="no capabilities",
        ),
    ],
)
def test_a_bug_of_a_driver_is_told_as_its_bug(output: str, status: int, words: str) -> None:
    with pytest.raises(protocol.Internal) as failure:
        caller.parse("init", output.encode(), status)

    assert failure.value.message == words


@pytest.mark.parametrize(
    ("output", "words"),
    [
        pytest.param('["Success"]', "the output is not an object", id="a list"),
        pytest.param('{"status": 1}', "status is not a string", id="a status that is a number"),
        pytest.param('{"Attached": 1}', "Attached is not a boolean", id="an answer of a number"),
        pytest.param(
            '{"volumeNewSize": 1.0}', "volumeNewSize is not a 64-bit integer", id="a fraction"
        ),
        pytest.param('{"volume": NaN}', "NaN is not JSON", id="no number"),
        pytest.param(
            '{"capabilities": []}', "capabilities is not an object", id="a list of capabilities"
        ),
        pytest.param(
            '{"capabilities": {"attach": "no"}}',
            "attach is not a boolean",
            id="a capability that is a word",
        ),
    ],
)
def test_a_reply_that_kubelet_cannot_read_is_told_by_what_is_wrong(output: str, words: str) -> None:
    with pytest.raises(protocol.Internal) as failure:
        caller.parse("mount", output.encode(), 0)

    assert failure.value.message == (
        f"mount: the driver's output is not one JSON object of the contract ({words}); it begins "
        f"with {output!r}"
    )


def test_garbage_is_shown_in_the_message_and_cut() -> None:
    with pytest.raises(protocol.Internal) as failure:
        caller.parse("mount", b"Traceback\x1b[31m" + b"x" * 5000, 1)

    assert "Traceback\\x1b" in failure.value.message
    assert len(failure.value.message) < 400


def test_what_only_flexvol_reads_is_read_by_exact_name() -> None:
    volume = {"options": {"pool": "default"}, "capacityBytes": 1 << 40, "fsType": "xfs"}
    answer = caller.parse(
        "provision", reply(volume=volume, Volumes=[1], pools=[{"free": 1.5}]).encode(), 0
    )

    assert answer.volume == volume
    assert answer.volumes is None
    assert answer.pools == [{"free": 1.5}]


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        pytest.param("9223372036854775807", 9223372036854775807, id="the largest of Go"),
        pytest.param("-922337203685477580", -922337203685477580, id="a long one below zero"),
        pytest.param("10000000000000000001", 1e19, id="a number too long for Go"),
        pytest.param("1.5", 1.5, id="a fraction"),
        pytest.param("1e3", 1000.0, id="a number with an exponent"),
        pytest.param('"5"', "5", id="a text"),
        pytest.param('"a\\ud800b"', "a\ufffdb", id="half of a surrogate pair"),
        pytest.param('{"\\ud800": "\\udfff"}', {"\ufffd": "\ufffd"}, id="the same within"),
        pytest.param("[true, null]", [True, None], id="a list"),
    ],
)
def test_what_only_flexvol_reads_is_read_whole(written: str, read_as: object) -> None:
    output = f'{{"status": "Success", "volume": {written}}}'

    volume = caller.parse("provision", output.encode(), 0).volume

    assert (volume, type(volume)) == (read_as, type(read_as))
    json.dumps(volume, ensure_ascii=False).encode()


def test_a_reply_survives_the_way_through_a_driver() -> None:
    sent = protocol.Reply(
        message="m",
        device="/dev/sdb",
        attached=True,
        volume_new_size=7,
        volume={"options": {}},
        volumes=[],
        pools=[],
        capabilities=protocol.Capabilities(True, False, True, False, True),
    )

    got = caller.parse("provision", json.dumps(sent.to_dict()).encode(), 0)

    assert got.to_dict() == sent.to_dict()


def test_arguments_go_in_the_order_of_the_contract() -> None:
    options = Options({"b": "2", "a": "1"})

    line = caller.command_line(
        "expandfs", old_bytes=1, new_bytes=2, mount_dir="/pod", device="", options=options
    )

    assert line == ["expandfs", '{"a": "1", "b": "2"}', "", "/pod", "2", "1"]


@pytest.mark.parametrize(
    "arguments", [{}, {"mount_dir": "/p"}, {"mount_dir": "/p", "options": "{}", "more": "x"}]
)
def test_wrong_arguments_are_a_mistake_of_ours(arguments: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        caller.command_line("mount", **arguments)


def driver(directory: Path, script: str) -> str:
    path = directory / "driver"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return str(path)


def test_a_driver_is_run_with_stdout_and_stderr_as_one(tmp_path: Path) -> None:
    with pytest.raises(protocol.Internal, match="careless"):
        caller.call(driver(tmp_path, 'echo careless >&2; echo \'{"status": "Success"}\''), "init")


def test_a_driver_gets_the_callout_and_its_arguments(tmp_path: Path) -> None:
    script = driver(
        tmp_path, f"for word; do echo \"$word\"; done > {tmp_path}/words; echo '{reply()}'"
    )

    caller.call(script, "mount", mount_dir="/pod dir", options=Options({"a": '"$(id)'}))

    assert (tmp_path / "words").read_text() == 'mount\n/pod dir\n{"a": "\\"$(id)"}\n'


def test_a_driver_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    script = driver(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait")

    with pytest.raises(protocol.Internal, match=r"within 0\.3 s"):
        caller.call(script, "init", seconds=0.3)

    child = int((tmp_path / "child").read_text())
    wait_until("the killed child has ended", lambda: has_ended(child), 30)


def has_ended(pid: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_call_that_leaves_a_process_that_the_kernel_does_not_let_die_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but a dead disk makes such a process, so the test itself stands for the process."""
    fields = process_table._stat(os.getpid())
    ours = process_table.Survivor(os.getpid(), fields[process_table._BEGAN])
    gone = process_table.Survivor(os.getpid(), "1")  # had this number before
    groups = []

    def survivors(group: int) -> list[process_table.Survivor]:
        groups.append(group)
        return [gone, ours]

    monkeypatch.setattr(process_table, "survivors", survivors)

    with pytest.raises(caller.Hangs, match=r"within 0\.3 s") as hang:
        caller.call(driver(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 60"), "init", seconds=0.3)

    assert groups == [int((tmp_path / "pid").read_text())]
    assert hang.value.processes() == [os.getpid()]


def test_a_long_list_of_volumes_is_read(tmp_path: Path) -> None:
    """That of ten thousand volumes has 4 MB."""
    (tmp_path / "answer").write_text(reply(volumes=[{"name": "x" * 400}] * 10_000))

    answer = caller.call(driver(tmp_path, f"cat {tmp_path}/answer"), "list")

    assert answer.volumes is not None and len(answer.volumes) == 10_000


def test_a_failure_to_answer_names_the_callout(tmp_path: Path) -> None:
    with pytest.raises(protocol.Internal, match=r"^init: the driver's output is not one JSON"):
        caller.call(driver(tmp_path, "echo oh"), "init")


def test_a_driver_that_is_missing_is_internal(tmp_path: Path) -> None:
    with pytest.raises(protocol.Internal, match=r"cannot run .*missing: No such file"):
        caller.call(str(tmp_path / "missing"), "init")
