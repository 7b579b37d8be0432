"""The rights that a driver has in the provisioner's container, for a test that runs it with these
and no others."""

from __future__ import annotations

# Of examples/deploy/nfs/deployment.yaml, as there.
PROVISIONER_CAPABILITIES = ["SYS_ADMIN", "FOWNER"]


def confined() -> list[str]:
    """The words before a program that has these capabilities only, as root."""
    sets = ["-all", *(f"+{name.lower()}" for name in PROVISIONER_CAPABILITIES)]
    words = ",".join(sets)
    return ["setpriv", f"--bounding-set={words}", f"--inh-caps={words}", "--no-new-privs"]
