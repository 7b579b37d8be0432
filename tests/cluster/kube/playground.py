"""./build.sh playground: a real Kubernetes with flexvol to play with, kept until --down."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from bundle import packages
from tests.cluster.kube import build, cluster, images

ROOT = Path(__file__).resolve().parents[3]
OVERLAY = "tests/cluster/kube/overlay"
EXAMPLE = "tests/cluster/kube/example"


def up() -> None:
    if os.geteuid() != 0:
        raise SystemExit("playground: a cluster needs root; run it with sudo")
    lacking = packages.install("playground")
    if lacking:
        raise SystemExit(f"playground: {lacking}")
    try:
        kube = cluster.Cluster(build.programs())
    except RuntimeError as error:
        raise SystemExit(f"playground: {error}") from None
    with tempfile.TemporaryDirectory() as scratch:
        shell = images.busybox(Path(scratch, "busybox.tar"))
        kube.up([shell, images.product()])
    kubectl = shlex.join(str(word) for word in kube.kubectl_line())

    def show(*argv: str) -> None:
        print(f"\n$ kubectl {shlex.join(argv)}", flush=True)
        kube.kubectl(*argv, cwd=ROOT)

    show("get", "nodes")
    show("apply", "-k", OVERLAY)
    show("-n", "flexvol", "rollout", "status", "daemonset/flexvol-node")
    show("apply", "-k", EXAMPLE)
    show("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    show("get", "pvc,pv")
    show("exec", "web", "--", "df", "-h", "/data")
    kube.keep()
    print(
        "\nThe cluster stays until: ./build.sh playground --down\nUse it with:\n\n  alias "
        f"kubectl='{kubectl}'\n\nNext:\n"
        "  kubectl describe pvc data   shows what flexvol reports of the claim\n"
        "  docs/quickstart.md          goes on with a StatefulSet and other volumes\n"
        "  docs/kubectl-plugin.md      lists volumes, explains waiting claims and moves volumes"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="build.sh playground", description=__doc__)
    parser.add_argument(
        "--down",
        action="store_true",
        help="stop it, and undo everything",
    )
    if parser.parse_args().down:
        try:
            cluster.down_kept()
        except RuntimeError as error:
            raise SystemExit(f"playground: {error}") from None
        print("nothing of it is left")
    else:
        try:
            up()
        except (RuntimeError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"playground: {error}") from None


if __name__ == "__main__":
    main()
