"""The list of the checks: each has words for people, and docs/sanity/checks.md has them all."""

from __future__ import annotations

import re

import pytest

from node.sanity import catalog
from node.sanity.check import ATTACH, PROVISION, SEVERITIES, Check
from tests import documents

NAMES = [check.name for check in catalog.CHECKS]
each = pytest.mark.parametrize("check", catalog.CHECKS, ids=lambda check: check.name)


def test_no_two_checks_have_one_name() -> None:
    assert len(set(NAMES)) == len(NAMES)


@each
def test_a_check_says_what_is_right_what_a_user_sees_and_why(check: Check) -> None:
    assert re.fullmatch(r"[a-z0-9-]{3,40}", check.name)
    assert check.severity in SEVERITIES
    assert all(1 <= trap <= 18 for trap in check.traps)
    assert 10 < len(check.title) < 80
    assert len(check.seen) > 15
    assert check.why.endswith(".")
    assert len(check.why.split()) > 7


@each
def test_a_check_needs_only_checks_that_are_judged_before(check: Check) -> None:
    before = NAMES[: NAMES.index(check.name)]

    assert [need for need in check.needs if need not in (*before, ATTACH, PROVISION)] == []


def test_the_page_has_all_checks() -> None:
    rows = documents.table("check")
    del rows["check"]

    assert rows == {f"`{check.name}`": [check.severity, check.title] for check in catalog.CHECKS}, (
        "correct docs/sanity/checks.md: flexvol sanity --list prints the checks"
    )
