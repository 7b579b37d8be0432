"""Of release."""

from __future__ import annotations

RELEASE = "tests/unit/bundle/test_release.py::"
SIGNED = RELEASE + "test_a_release_is_signed_and_verified_as_the_page_says"

TESTS = {
    "./build.sh release": RELEASE + "test_the_release_has_all_its_files",
    "gpg": SIGNED,
    "sha256sum": SIGNED,
}
