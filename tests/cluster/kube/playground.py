"""./build.sh playground: a real Kubernetes with flexvol to play with, kept until --down."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bundle import packages
from tests.cluster.kube import build, cluster, images

ROOT = Path(__file__).resolve().parents[3]
OVERLAY = "tests/cluster/kube/overlay"
EXAMPLE = "tests/cluster/kube/example"


def up(drivers: Sequence[Path]) -> None:
    """Starts it. drivers: the files of drivers of one's own, for the image."""
    if os.geteuid() != 0:
        raise SystemExit("playground: a cluster needs root; run it with sudo")
    lacking = packages.install("playground")
    if lacking:
        raise SystemExit(f"playground: {lacking}")
    try:
        kube = cluster.Cluster(build.programs())
    except RuntimeError as error:
        raise SystemExit(f"playground: {error}") from None
    print("starts a Kubernetes of two nodes with flexvol's image; about 2 minutes", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        shell = images.busybox(Path(scratch, "busybox.tar"))
        kube.up([shell, images.product(drivers)])

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
    print(_directions(kube))


def _directions(kube: cluster.Cluster) -> str:
    """What a person needs to know to work with the cluster, as commands."""
    *beside, kubectl, _, kubeconfig = kube.kubectl_line()
    # A plugin takes kubectl's variables, but none of the options before its name.
    line = _joined([*beside, "env", f"KUBECONFIG={kubeconfig}", kubectl])
    shells = "".join(
        f"  {_joined([*node.inside(), 'bash'])}      # on {name}\n"
        for name, node in kube.nodes.items()
    )
    return f"""
The cluster stays until: ./build.sh playground --down
Use it with:

  alias kubectl='{line}'

For the commands `kubectl flexvol`:

  install dist/provisioner /usr/local/bin/kubectl-flexvol

For the commands that a page has root run on a node. The nodes share this machine's root disk,
with /etc/fstab; each has its own /var/lib/flexvol, /etc/flexvol and plugin directory:

{shells}
The nodes reach no registry. Where a page has the image busybox, write {images.SHELL}

Next:
  kubectl describe pvc data   shows what flexvol reports of the claim
  docs/quickstart.md          goes on with a StatefulSet and other volumes
  docs/kubectl-plugin.md      lists volumes, explains waiting claims and moves volumes"""


def _joined(words: list[object]) -> str:
    return shlex.join(str(word) for word in words)


def bring(drivers: Sequence[Path]) -> None:
    """Gives the nodes of the playground that runs an image with these drivers."""
    image = images.product(drivers)
    for node in cluster.kept_nodes():
        node.import_image(image)
    print(
        f"\nThe nodes have the image {images.PRODUCT} with {', '.join(map(str, drivers))}. Apply "
        "the manifests:\n  kubectl apply -k drivers\nor, if they are applied already, start the "
        "driver's pods again:\n  kubectl -n flexvol rollout restart daemonset/flexvol-driver-NAME"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="build.sh playground", description=__doc__)
    parser.add_argument(
        "--driver",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="make flexvol's image with a driver of your own; a playground that runs gets the new "
        "image; repeatable",
    )
    parser.add_argument(
        "--down",
        action="store_true",
        help="stop it, and undo everything",
    )
    settings = parser.parse_args()
    if settings.down:
        try:
            cluster.down_kept()
        except RuntimeError as error:
            raise SystemExit(f"playground: {error}") from None
        print("nothing of it is left")
    else:
        try:
            if settings.driver and cluster.is_kept():
                bring(settings.driver)
            else:
                up(settings.driver)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"playground: {error}") from None


if __name__ == "__main__":
    main()
