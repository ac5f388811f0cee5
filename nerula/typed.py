"""Typed: the command that a person typed, for documents that say how they were made."""

import shlex
import sys
from pathlib import Path

_OURS = ("__main__.py", "cli.py")
"""How `python -m nerula` and torchrun call the program."""


def typed() -> str:
    """The command line of this process, as it can be typed again."""
    name = Path(sys.argv[0]).name
    return shlex.join(["nerula" if name in _OURS else name, *sys.argv[1:]])
