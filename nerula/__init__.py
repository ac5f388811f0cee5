"""Nerula: learn ECG representations without labels.

The public names are loaded when they are first used, so that ``import nerula`` is immediate and
never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerula.bundle import load
    from nerula.errors import NerulaError
    from nerula.recording import Recording

__version__ = "0.1.0"

_WHERE = {
    "NerulaError": "nerula.errors",
    "Recording": "nerula.recording",
    "load": "nerula.bundle",
}

__all__ = ["NerulaError", "Recording", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module the first time it is asked for."""
    if name not in _WHERE:
        raise AttributeError(f"module 'nerula' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
