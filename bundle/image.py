"""Builds deploy/Containerfile with buildah into dist/image.tar, an OCI archive named
localhost/flexvol:dev.

FLEXVOL_BASE_IMAGE is the base image, where the default cannot be fetched. No container engine is
needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "localhost/flexvol:dev"


def build(target: Path) -> None:
    """Writes the archive to `target`. The layers are kept nowhere: the files that matter are
    two."""
    if shutil.which("buildah") is None:
        raise SystemExit("buildah is missing: apt-get install buildah")
    target.unlink(missing_ok=True)
    base = os.environ.get("FLEXVOL_BASE_IMAGE")
    arguments = [f"--build-arg=BASE={base}"] if base else []
    with tempfile.TemporaryDirectory(
        prefix="flexvol-image-", ignore_cleanup_errors=True
    ) as scratch:
        settings = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
        buildah = ["buildah", "--root", f"{scratch}/root", "--runroot", f"{scratch}/run"]
        context = Path(scratch, "context")
        (context / "dist").mkdir(parents=True)
        for name in ("flexvol", "provisioner"):
            shutil.copy(ROOT / "dist" / name, context / "dist")
        line = [
            *buildah,
            "bud",
            "--quiet",
            *arguments,
            "-t",
            NAME,
            "-f",
            str(ROOT / "deploy/Containerfile"),
            str(context),
        ]
        subprocess.run(line, check=True, env=settings)
        subprocess.run(
            [*buildah, "push", "--quiet", NAME, f"oci-archive:{target}:{NAME}"],
            check=True,
            env=settings,
        )


if __name__ == "__main__":
    build(ROOT / "dist/image.tar")
    print(ROOT / "dist/image.tar")
