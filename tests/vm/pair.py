"""Two machines on one cable: one with the new kernel, which serves, and one with the old kernel.
Both mount from the server."""

from __future__ import annotations

from collections.abc import Callable

from tests.vm.guest import Guest
from tests.vm.servers import connect, serve_nfs

SERVER = "10.0.0.1"
OTHER = "10.0.0.2"
# What the server exports by NFS 4 as /; it is on the disk that stays when the server's power goes.
EXPORTED = "/disk/export"
_KEEP = f"""
mkdir -p /disk
mount /dev/vdc /disk
mkdir -p {EXPORTED} /disk/nfs
cp -an /var/lib/nfs/. /disk/nfs
mount --bind /disk/nfs /var/lib/nfs
"""


class Pair:
    """The server and the other machine.

    start_server: starts the server, each time with the same disk."""

    def __init__(self, start_server: Callable[[], Guest], other: Guest) -> None:
        self._start_server = start_server
        self.other = other
        self.server = start_server()
        connect(other.machine, "other", OTHER)
        self._serve()

    def start_server_again(self) -> None:
        """Cuts the server's power, and starts it again."""
        self.server.close()
        self.server = self._start_server()
        self._serve()

    def close(self) -> None:
        self.server.close()
        self.other.close()

    def _serve(self) -> None:
        connect(self.server.machine, "server", SERVER)
        self.server.machine.shell(_KEEP)
        serve_nfs(self.server.machine, EXPORTED)
