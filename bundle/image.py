"""Builds deploy/Containerfile with buildah into dist/image.tar, an OCI archive of the image
localhost/flexvol:dev.

No container engine is needed. FLEXVOL_BASE_IMAGE names the base image, where the default one cannot
be fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "localhost/flexvol:dev"


def build(target: Path) -> None:
    """Writes the OCI archive to `target`. No layers are kept for the next build, because only two
    files matter."""
    if shutil.which("buildah") is None:
        raise SystemExit("buildah is missing: apt-get install buildah")
    target.unlink(missing_ok=True)
    settings = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
    with tempfile.TemporaryDirectory(
        prefix="flexvol-image-", ignore_cleanup_errors=True
    ) as scratch:
        context = _context(Path(scratch))
        buildah = ["buildah", "--root", f"{scratch}/root", "--runroot", f"{scratch}/run"]
        bud = [*buildah, "bud", "--quiet", *_base_image(), "-t", NAME]
        bud += ["-f", str(ROOT / "deploy/Containerfile"), str(context)]
        subprocess.run(bud, check=True, env=settings)
        push = [*buildah, "push", "--quiet", NAME, f"oci-archive:{target}:{NAME}"]
        subprocess.run(push, check=True, env=settings)


def _context(directory: Path) -> Path:
    """A directory with the files that the Containerfile copies."""
    context = directory / "context"
    (context / "dist").mkdir(parents=True)
    for name in ("flexvol", "provisioner"):
        shutil.copy(ROOT / "dist" / name, context / "dist")
    return context


def _base_image() -> list[str]:
    base = os.environ.get("FLEXVOL_BASE_IMAGE")
    return [f"--build-arg=BASE={base}"] if base else []


if __name__ == "__main__":
    build(ROOT / "dist/image.tar")
    print(ROOT / "dist/image.tar")
