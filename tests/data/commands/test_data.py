"""`pelee-data`: its subcommands and its imports."""

import subprocess
import sys

import pytest

from data.commands import data as cli


@pytest.mark.parametrize(
    "argv", [[], ["check"], ["check", "--dataset", "voc2", "--root", "."], ["download", "imagenet"]]
)
def test_usage(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2


def test_help_is_light() -> None:
    heavy = ("numpy", "PIL", "cv2", "rich", "torch")
    code = f"import sys, data.commands.data; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
