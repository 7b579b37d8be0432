"""The commands of README.md and docs that tests/node/test_documents.py does not run itself, each
with the test that runs it: the beginning of a command -> the test.

A module for each group of pages, so that several people can write at once. A command of a node that
needs nothing but the driver, its volume and its pools is not here: test_documents.py runs it as it
stands in the page."""

from __future__ import annotations

from tests.elsewhere import (
    chart_page,
    data_pages,
    extending_pages,
    first_pages,
    operation_pages,
    release_pages,
)

TESTS: dict[str, str] = {
    **first_pages.TESTS,
    **chart_page.TESTS,
    **data_pages.TESTS,
    **operation_pages.TESTS,
    **release_pages.TESTS,
    **extending_pages.TESTS,
}
