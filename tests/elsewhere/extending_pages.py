"""Of sanity."""

from __future__ import annotations

TESTS = {
    "dist/flexvol sanity": "tests/sanity/test_command.py"
    "::test_the_commands_of_the_page_do_what_the_page_says",
}
