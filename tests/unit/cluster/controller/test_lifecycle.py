"""What an instance says of its own health."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cluster.controller import settings
from cluster.controller.lifecycle import Calls, Lifecycle
from tests.cluster.proxy import kubeconfig


def test_an_instance_says_what_of_it_has_ended_and_what_it_has_not_seen_yet(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(kubeconfig("http://127.0.0.1:1"))
    words = ["--node=node1", f"--kubeconfig={tmp_path}/kubeconfig"]
    instance = Lifecycle(settings.parse(words, ""), "node1", "")
    going_on = threading.Event()
    instance.run_thread("lives", going_on.wait)
    assert instance.dead() == ""
    ends = threading.Thread(target=lambda: None, name="ends")
    instance.keep_thread(ends)
    ends.join()

    assert instance.dead() == "ended: ends"
    assert instance.not_ready() == ""
    watch: Any = SimpleNamespace(path="claims", run=going_on.wait, trouble="cannot watch")
    instance.watch(watch)
    assert instance.not_ready() == "cannot watch"
    instance.start({}, Calls(not_ready=lambda: "no room"))
    assert instance.not_ready() == "cannot watch; no room"
    going_on.set()
