"""The images of the test cluster, which several runs on one machine share."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.cluster.kube import images

HOUR = 3600


def test_an_image_that_another_run_may_be_about_to_import_is_kept(tmp_path: Path) -> None:
    ages = {"image-old.tar": 2 * HOUR, "image-recent.tar": HOUR / 2, "base-old.tar": 2 * HOUR}
    for name, age in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)

    images.remove_unused(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["base-old.tar", "image-recent.tar"]
