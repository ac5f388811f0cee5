"""Places: what a comparison writes down names no folder of the machine that it ran on."""

import re
from pathlib import PurePosixPath

_ABSOLUTE = re.compile(r"(?<![\w./:~-])/[^\s:,;'\"]+")


def without_places(text: str) -> str:
    """A command or a sentence in which absolute paths are named by their last part."""
    return _ABSOLUTE.sub(lambda found: PurePosixPath(found[0]).name, text)
