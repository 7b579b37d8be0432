"""shared/process.py: one program, its time and its output bounded, and nothing of it left. Every
test runs both ways of starting a program: posix_spawn, and fork as on Python before 3.8."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared import deadlines, process, process_table
from shared.protocol import Internal
from tests.unit.shared.processes import is_alive
from tests.waiting import wait_until


@pytest.fixture(params=["spawn", "fork"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fork":
        monkeypatch.delattr(os, "posix_spawn")
    way: str = request.param
    return way


def sh(script: str, seconds: float = 10, **keywords: object) -> process.Result:
    return process.run(["sh", "-c", script], seconds, **keywords)  # type: ignore[arg-type]


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def _nothing_is_left() -> object:
    before = open_descriptors()
    yield
    # A thread of an earlier test may open one for a moment.
    wait_until("no descriptor is left open", lambda: open_descriptors() <= before)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_program_that_is_out_of_time_tells_its_group() -> None:
    with pytest.raises(deadlines.TimedOut) as late:
        sh("sleep 60", 0.2)

    group = late.value.group
    assert group > 0
    wait_until("the group has ended", lambda: not process_table.survivors(group))


def test_a_child_that_a_run_waits_for_is_left_to_it() -> None:
    """It has ended, and what it started has its output still open."""
    with ThreadPoolExecutor() as threads:
        running = threads.submit(sh, "sleep 2 & exit 3")
        ended: set[int] = set()
        while not running.done():
            ended = process_table.reap_strays(ended)
            time.sleep(0.05)

        assert running.result().status == 3


def test_output_and_errors_come_merged_in_the_order_written() -> None:
    result = sh("echo one; echo two >&2; echo three")

    assert (result.status, result.output) == (0, b"one\ntwo\nthree\n")
    assert result.text == "one two three"


def test_the_status_is_the_exit_status() -> None:
    assert sh("exit 7").status == 7


def test_a_signal_is_a_negative_status() -> None:
    assert sh("kill -TERM $$").status == -signal.SIGTERM


def test_a_program_has_no_signal_blocked_that_we_block() -> None:
    ours = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        blocked = sh("grep SigBlk: /proc/self/status").text
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ours)

    assert int(blocked.split()[1], 16) == 0


def test_check_passes_what_is_good_and_fails_with_the_programs_words() -> None:
    assert sh("exit 1").check(1).status == 1
    with pytest.raises(Internal, match="sh failed with status 3: no such disk"):
        sh("echo no such disk >&2; exit 3").check(1)


def test_arguments_reach_the_program_as_they_are() -> None:
    words = ["a b", "$(id)", "", "'", "\n", "*", "\u00e9", "--"]

    result = process.run(["printf", "%s\\0", *words], 10)

    assert result.output.decode().split("\0")[:-1] == words


def test_stdin_is_empty() -> None:
    assert sh("cat").output == b""


def test_messages_are_in_english_and_the_rest_of_the_environment_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("OURS", "kept")

    assert sh("echo $LC_ALL $OURS").output == b"C kept\n"
    assert sh("echo [$OURS]", environment={"PATH": os.defpath}).output == b"[]\n"


def test_a_program_out_of_time_is_killed_with_all_its_children(tmp_path: Path) -> None:
    began = time.monotonic()

    with pytest.raises(deadlines.TimedOut, match=r"0\.3 s"):
        sh(f"trap '' TERM; sleep 100 & echo $! > {tmp_path}/child; wait", seconds=0.3)

    assert time.monotonic() - began < 30
    assert not is_alive(int((tmp_path / "child").read_text()))


def test_a_program_at_work_has_more_time_and_none_that_stands_still() -> None:
    busy = "n=0; while [ $n -lt 15 ]; do n=$((n+1)); sleep 0.1; done; echo done"
    assert sh(busy, seconds=1, while_at_work=True).output == b"done\n"

    with pytest.raises(deadlines.TimedOut, match=r"within 0\.5 s"):
        sh("sleep 100", seconds=0.5, while_at_work=True)


def test_one_that_closes_its_output_and_stays_is_killed_too(tmp_path: Path) -> None:
    with pytest.raises(deadlines.TimedOut, match="did not end within"):
        sh(f"echo $$ > {tmp_path}/pid; exec >&- 2>&-; sleep 100", seconds=0.3)

    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_a_daemon_that_keeps_the_output_open_is_killed(tmp_path: Path) -> None:
    with pytest.raises(deadlines.TimedOut, match="did not close its output"):
        sh(f"sleep 100 & echo $! > {tmp_path}/child", seconds=0.3)

    assert not is_alive(int((tmp_path / "child").read_text()))


def test_output_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(Internal, match="printed more than 1000 bytes"):
        sh(f"echo $$ > {tmp_path}/pid; exec yes", output_limit_bytes=1000)

    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_output_up_to_the_bound_comes_whole_and_not_a_byte_more() -> None:
    script = "head -c 300000 /dev/zero"

    assert len(sh(script, output_limit_bytes=300_000).output) == 300_000
    with pytest.raises(Internal, match="sh printed more than 299999 bytes"):
        sh(script, output_limit_bytes=299_999)


def test_a_program_that_is_missing_is_named_with_the_remedy() -> None:
    with pytest.raises(Internal, match="the program no-such-tool is missing on this node; install"):
        process.run(["no-such-tool"], 1)


def test_a_file_that_is_missing_or_no_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("not a program")
    (tmp_path / "words").chmod(0o755)

    for path in (tmp_path / "missing", tmp_path / "words", tmp_path):
        with pytest.raises(Internal, match=f"cannot run {path}"):
            process.run([str(path)], 1).check()


def test_tools_in_sbin_are_found_without_a_path() -> None:
    result = process.run(["losetup", "--version"], 10, environment={"PATH": "/nonexistent"})

    assert b"losetup" in result.output


def test_a_program_that_is_a_directory_on_the_path_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "true").mkdir()

    assert process.run(["true"], 10, environment={"PATH": f"{tmp_path}:{os.defpath}"}).status == 0


def test_only_what_is_inherited_is_open_in_the_program(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "w") as lock, open(tmp_path / "other", "w") as other:
        fcntl.flock(lock, fcntl.LOCK_EX)

        look = f"for fd in {lock.fileno()} {other.fileno()}; do readlink /proc/$$/fd/$fd; done; :"
        listed = sh(look, inherit=[lock.fileno()])

        assert listed.text == lock.name
        assert not os.get_inheritable(lock.fileno())


def test_the_terminal_and_signals_of_ours_do_not_reach_it(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        assert sh("kill -PIPE $$; echo survived").status == -signal.SIGPIPE
        assert int(sh("ps -o pgid= -p $$ || cut -d' ' -f5 /proc/$$/stat").output) != os.getpgrp()
    finally:
        signal.signal(signal.SIGPIPE, before)
