"""What the command line means, and what is wrong with it."""

from __future__ import annotations

import pytest

from cluster.controller import settings


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--node=a", "--driver=loop"], "--driver loop: expected VENDOR/NAME"),
        (["--node=a", "--driver=../x"], "--driver ../x: expected VENDOR/NAME"),
        (["--node=a", "--workers=0"], "--workers 0: expected 1 or more"),
        (["--node=a", "--pod=x"], "--pod x: expected NAME/UID"),
        (
            ["--node=a", "--orphan-grace-seconds=nan"],
            "--orphan-grace-seconds nan: expected 0 or more",
        ),
        (["--node=a", "--identity=b"], "not allowed with argument"),
        ([], "is required"),
    ],
)
def test_bad_arguments_are_named(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        settings.parse(words, "")
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
