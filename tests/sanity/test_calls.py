"""How a driver is called, and what the suite sees of a call."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.sanity import kills, sandbox
from node.sanity.check import Fault, NotJudged
from node.sanity.life import KUBELET, Life, Request, finish_all
from node.sanity.runner import Runner, Surroundings
from shared import schemas
from shared.protocol import CALLOUTS

# Answers each call, and notes how it was called in a file that the test reads.
NOTING = """#!/bin/sh
{ echo "arguments $#"; for each in "$@"; do echo "= $each"; done; env; pwd; readlink /proc/self/fd/0
  ls -ld "$2"; } > /var/noted 2>&1
echo '{"status": "Success", "device": "/dev/x", "attached": true, "capabilities": {"attach": true},
  "volume": {"options": {"place": "shelf <1>"}, "capacityBytes": 67108864, "fsType": "xfs"}}'
"""


def in_root(path: Path, script: str, steps: Callable[[Life], Any], **request: Any) -> Any:
    """What the steps return, as JSON has it, of the driver with this script."""
    path.write_text(script)
    asked = Request()
    for name, value in request.items():
        setattr(asked, name, value)

    def work(inside: sandbox.Inside) -> bytes:
        return json.dumps(steps(Life(inside, asked))).encode()

    return json.loads(sandbox.run(sandbox.Settings(str(path)), work, 120))


def noted() -> str:
    with open("/var/noted") as file:
        return file.read()


def test_a_mount_is_called_as_kubelet_calls_it(driver: Path) -> None:
    def steps(life: Life) -> Any:
        life.runner.run("mount", [life.pod(), "{}"])
        return noted()

    lines = in_root(driver, NOTING, steps).splitlines()

    volume = "pvc-5a6ad8b3-1111-4222-8333-944445555666"
    directory = f"{KUBELET}/pods/pod-1/volumes/sanity~driver/{volume}"
    assert lines[:4] == ["arguments 3", "= mount", f"= {directory}", "= {}"]
    assert {"HOME=/root", "LANG=C.UTF-8"} < set(lines)
    assert "/dev/null" in lines
    assert lines[-1].startswith("drwxr-x--- ")


def test_every_request_is_one_of_the_contract(driver: Path) -> None:
    def steps(life: Life) -> Any:
        life.begin()
        path = life.pod()
        life.mount(path)
        life.mount(path, life.mount_options("pod-2", read_only=True))
        life.expand(path, 2, 1)
        life.unmount(path)
        life.delete(life.volume(), life.pv_options())
        return [[call.callout, *call.words] for call in life.runner.calls]

    calls = in_root(driver, NOTING, steps, provision=True, attach=True, secrets={"key": b"x=="})

    names = [call[0] for call in calls]
    order = ["init", "provision", "attach", "waitforattach", "mountdevice", "mount", "mount"]
    assert names == [*order, "expandfs", "unmount", "delete"]
    for name, *words in calls:
        arguments = dict(zip(CALLOUTS[name].arguments, words, strict=True))
        if "options" in arguments:
            options = json.loads(arguments["options"])
            assert schemas.errors(f"{name}.request", options) == []
    mount = json.loads(calls[5][2])
    assert mount["place"] == "shelf <1>"
    assert mount["kubernetes.io/fsType"] == "xfs", "as provision answered"
    assert r'"place":"shelf \u003c1\u003e"' in calls[5][2], "as json.Marshal of Go writes it"
    assert mount["kubernetes.io/secret/key"] == "eD09"


def test_what_a_call_finds_around_itself_can_be_changed(driver: Path) -> None:
    def steps(life: Life) -> Any:
        around = Surroundings()
        around.environment = {}
        around.directory = "/usr"
        around.has_stdin = False
        life.runner.run("init", [], around)
        return noted()

    lines = in_root(driver, NOTING, steps).splitlines()

    assert "HOME=/root" not in lines
    assert "/usr" in lines
    assert "/dev/null" not in lines


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param('echo \'{"status": "Success"}\'', "succeeded in_form", id="a success"),
        pytest.param(
            'echo \'{"status": "Failure", "message": "no"}\'', "proper in_form", id="a failure"
        ),
        pytest.param(
            'echo \'{"status": "Not supported"}\'; exit 3', "unsupported in_form", id="no call"
        ),
        pytest.param('echo \'{"status": "Success"}\'; exit 1', "", id="a success with status 1"),
        pytest.param('echo \'{"status": "Success"}\'; echo x >&2', "", id="words on stderr"),
        pytest.param('echo \'{"status": "success"}\'', "", id="another word"),
        pytest.param("", "", id="no output"),
        pytest.param("kill -9 $$", "", id="killed"),
        pytest.param('echo \'{"status": "Success"}\'; sleep 99', "hangs", id="no end"),
        pytest.param('sleep 99 & echo \'{"status": "Success"}\'', "hangs", id="held output"),
        pytest.param("yes", "hangs", id="output without end"),
    ],
)
def test_an_answer_is_taken_as_kubelet_takes_it(driver: Path, script: str, expected: str) -> None:
    def steps(life: Life) -> Any:
        call = life.runner.run("mount", ["/nowhere", "{}"])
        words = {
            "succeeded": call.succeeded,
            "proper": call.is_proper_failure,
            "unsupported": call.is_unsupported,
            "in_form": call.is_in_form,
            "hangs": call.hangs,
        }
        return " ".join(word for word, holds in words.items() if holds)

    assert in_root(driver, f"#!/bin/sh\n{script}\n", steps, call_seconds=5) == expected


def test_programs_that_a_driver_runs_are_seen_with_their_arguments(driver: Path) -> None:
    script = "#!/bin/sh\n(/bin/echo one; sh -c '/bin/echo two; exec /bin/echo three')\n"

    def steps(life: Life) -> Any:
        around = Surroundings()
        around.is_traced = True
        return life.runner.run("init", [], around).executed

    executed = in_root(driver, script, steps)

    assert [" ".join(argv) for argv in executed[1:]] == [
        "/bin/echo one",
        "sh -c /bin/echo two; exec /bin/echo three",
        "/bin/echo two",
        "/bin/echo three",
    ]


def test_a_driver_has_the_variables_that_kubelet_is_given(driver: Path) -> None:
    def steps(life: Life) -> Any:
        around = Surroundings()
        around.environment = {}
        texts = []
        for each in (None, around):
            life.runner.run("init", [], each)
            texts.append(noted())
        return texts

    usual, bare = in_root(driver, NOTING, steps, variables={"REGION": "north, 7"})

    assert {"HOME=/root", "REGION=north, 7"} < set(usual.splitlines())
    assert "REGION=north, 7" in bare.splitlines()
    assert "HOME=" not in bare


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(
            "\n#!/bin/sh\necho {}\n", "the first line is '', and has to be", id="a blank line"
        ),
        pytest.param("#!/bin/sh\r\necho {}\r\n", "'#!/bin/sh\\r', is missing", id="of Windows"),
        pytest.param("#!/bin/no-python\n", "'#!/bin/no-python', is missing", id="no interpreter"),
    ],
)
def test_a_file_that_cannot_be_run_is_told_why(driver: Path, script: str, words: str) -> None:
    def steps(life: Life) -> Any:
        return life.runner.run("init", []).output.decode()

    assert words in in_root(driver, script, steps)


def test_the_kernel_refuses_mounts_to_a_driver_without_power(driver: Path) -> None:
    script = "#!/bin/sh\nmount -t tmpfs none /mnt && echo mounted\n"

    def steps(life: Life) -> Any:
        around = Surroundings()
        around.without = ("SYS_ADMIN",)
        outputs = [life.runner.run("init", [], each).output for each in (around, None)]
        return [output.decode() for output in outputs]

    refused, allowed = in_root(driver, script, steps)

    assert "mounted" not in refused
    assert allowed == "mounted\n"


def test_a_call_is_killed_with_all_its_children(driver: Path) -> None:
    def steps(life: Life) -> Any:
        life.runner.start("init", []).kill_after(0.5)
        return life.runner.left()

    assert in_root(driver, "#!/bin/sh\nsetsid sleep 99 & sleep 99\n", steps) == []


def test_a_kill_spares_what_the_setup_started(driver: Path) -> None:
    def steps(life: Life) -> Any:
        life.set_up()
        life.runner.start("init", []).kill_after(0.5)
        return [
            life.runner.left(),
            Path("/proc").joinpath(Path("/run/server").read_text()).exists(),
        ]

    setup = "sleep 99 >/dev/null 2>&1 & printf $! > /run/server"
    script = "#!/bin/sh\nsetsid sleep 99 & sleep 99\n"

    assert in_root(driver, script, steps, setup=setup) == [[], True]


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        pytest.param('echo \'{"status": "Success"}\'', "", id="a success"),
        pytest.param('echo \'{"status": "Failure"}\'', "Fault", id="a failure"),
        pytest.param("sleep 99", "Fault", id="no end"),
        pytest.param("echo done", "NotJudged", id="another form, which has a check of its own"),
    ],
)
def test_the_check_of_a_call_names(driver: Path, script: str, verdict: str) -> None:
    def steps(life: Life) -> Any:
        try:
            life.expect_success(life.begin())
        except (Fault, NotJudged) as reason:
            return type(reason).__name__
        return ""

    assert in_root(driver, f"#!/bin/sh\n{script}\n", steps, call_seconds=3) == verdict


def test_calls_run_at_once(driver: Path) -> None:
    script = "#!/bin/sh\nmkdir /run/$1; while [ ! -d /run/$2 ]; do sleep 0.01; done; echo met\n"

    def steps(life: Life) -> Any:
        runner: Runner = life.runner
        calls = finish_all([runner.start("one", ["two"]), runner.start("two", ["one"])])
        return [call.output.decode() for call in calls]

    assert in_root(driver, script, steps, call_seconds=20) == ["met\n", "met\n"]


# Each program leaves a file.
STEPS = "#!/bin/sh\ntouch /run/one\n/bin/true\ntouch /run/two\n"


@pytest.mark.parametrize(
    ("moment", "number", "left"),
    [
        pytest.param("touch began", 1, [], id="when the first program begins"),
        pytest.param("touch ended", 1, ["one"], id="when the first program has ended"),
        pytest.param("true began", 1, ["one"], id="when another program begins"),
        pytest.param("touch began", 2, ["one"], id="when a program begins once more"),
        pytest.param("touch ended", 2, ["one", "two"], id="when it has ended once more"),
        pytest.param("sync began", 1, ["one", "two"], id="never, if no such program begins"),
    ],
)
def test_a_call_is_killed(driver: Path, moment: str, number: int, left: list[str]) -> None:
    def steps(life: Life) -> Any:
        running = life.runner.start("init", [], kills.traced())
        running.kill_at(moment, number)
        return [running.call.status, sorted(set(os.listdir("/run")) - {"lock"})]

    status = 0 if moment == "sync began" else -signal.SIGKILL

    assert in_root(driver, STEPS, steps) == [status, left]


def test_a_call_is_killed_at_each_program_and_at_parts_of_its_time(driver: Path) -> None:
    def steps(life: Life) -> Any:
        whole = life.runner.run("init", [], kills.traced())
        return [kill.told() for kill in kills.moments_of(whole) if kill.name] + [whole.moments]

    *told, moments = in_root(driver, STEPS, steps)

    began = [moment for moment in moments if moment.endswith(" began")]
    assert began == ["touch began", "true began", "touch began"]
    assert told == [
        "was killed when touch began",
        "was killed when touch began for the 2. time",
        "was killed when true began",
        "was killed when touch ended for the 2. time",
    ]


def test_a_check_whose_kills_hit_no_call_is_not_judged(driver: Path) -> None:
    def steps(life: Life) -> Any:
        whole = life.runner.run("init", [], kills.traced())
        hits = []
        try:
            for _ in kills.of(whole):
                running = life.runner.start("init", [], kills.traced())
                running.finish()
                hits.append(running.was_killed)
        except NotJudged as reason:
            return [any(hits), str(reason)]
        return hits

    expected = [False, "init: each call ended before it was killed"]
    assert in_root(driver, STEPS, steps) == expected


def test_a_call_is_killed_at_its_very_beginning(driver: Path) -> None:
    def steps(life: Life) -> Any:
        running = life.runner.start("init", [])
        running.kill_after(0)
        return running.was_killed

    assert in_root(driver, "#!/bin/sh\nsleep 9\n", steps) is True


def test_calls_that_begin_at_once_wait_for_each_other(driver: Path) -> None:
    def steps(life: Life) -> Any:
        with life.runner.at_once():
            first = life.runner.start("one", [])
            time.sleep(0.5)
            begun_early = os.path.exists("/run/one")
            second = life.runner.start("two", [])
        finish_all([first, second])
        return [begun_early, os.path.exists("/run/one"), os.path.exists("/run/two")]

    assert in_root(driver, "#!/bin/sh\ntouch /run/$1\n", steps) == [False, True, True]
