"""The models that come with the package, by their names. No torch: the tab key asks for them."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


def names() -> list[str]:
    """What `nerula.load` and every verb take in place of a folder."""
    return sorted(folder.parent.name for folder in WEIGHTS.glob("*/config.json"))
