"""What the person's setup leaves in a root: none of it is the driver's, and a restart of the node
takes it away."""

from __future__ import annotations

import json
from pathlib import Path

from node.sanity import sandbox
from node.sanity.life import Life, Request

_SETUP = "truncate -s 1M /srv/disk && losetup -f /srv/disk && (sleep 99 >/dev/null 2>&1 &)"


def test_a_restart_of_the_node_takes_away_what_the_setup_left(driver: Path) -> None:
    request = Request()
    request.setup = _SETUP
    settings = sandbox.Settings(str(driver))
    settings.loop_devices = True
    settings.real_root = True

    def work(inside: sandbox.Inside) -> bytes:
        life = Life(inside, request)
        life.set_up()
        seen = [len(sandbox.own_loop_devices(inside.places)), life.loop_devices()]
        life.runner.end_all(also_kept=True)
        life.take_all_away()
        seen += [sandbox.own_loop_devices(inside.places), life.runner.left()]
        return json.dumps(seen).encode()

    assert json.loads(sandbox.run(settings, work, 120)) == [1, [], [], []]


def test_what_the_setup_starts_later_is_not_killed_with_a_call(driver: Path) -> None:
    """A server, for example, starts a process for each connection, in a session of its own."""
    request = Request()
    request.setup = "(sleep 0.5; setsid sleep 99 & exec setsid sleep 98) >/dev/null 2>&1 &"

    def work(inside: sandbox.Inside) -> bytes:
        life = Life(inside, request)
        life.set_up()
        life.runner.start("init", []).kill_after(1.5)
        running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
        kept = [line for line in running if line.startswith(b"sleep")]
        return json.dumps([len(kept), life.runner.left()]).encode()

    driver.write_text("#!/bin/sh\nsetsid sleep 97 & sleep 96\n")

    assert json.loads(sandbox.run(sandbox.Settings(str(driver)), work, 120)) == [2, []]
