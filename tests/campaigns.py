"""Which tests are for a campaign only, as CI has no time for them: those marked `campaign`, and
those marked `in_ci_with` for other parameters."""

from __future__ import annotations

import pytest


def leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes such tests out of a run that is no campaign. pytest tells how many."""
    if config.getoption("--campaign"):
        return
    left_out = [item for item in items if not _is_for_ci(item)]
    items[:] = [item for item in items if _is_for_ci(item)]
    config.hook.pytest_deselected(items=left_out)


def _is_for_ci(item: pytest.Item) -> bool:
    if item.get_closest_marker("campaign"):
        return False
    for marker in item.iter_markers("in_ci_with"):
        assert isinstance(item, pytest.Function), item
        if not marker.kwargs.items() <= item.callspec.params.items():
            return False
    return True
