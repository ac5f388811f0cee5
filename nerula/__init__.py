"""Nerula: learn ECG representations without labels.

The public names are loaded when they are first used, so that ``import nerula`` is immediate and
never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerula import probes, quality, sample
    from nerula.bundle import load
    from nerula.errors import NerulaError
    from nerula.model import Model
    from nerula.recording import Recording
    from nerula.sample import ecg
    from nerula.store import Store

__version__ = "0.1.0"

_WHERE = {
    "Model": "nerula.model",
    "NerulaError": "nerula.errors",
    "Recording": "nerula.recording",
    "Store": "nerula.store",
    "ecg": "nerula.sample",
    "load": "nerula.bundle",
}
_ROOMS = ("probes", "quality", "sample")

__all__ = [
    "Model",
    "NerulaError",
    "Recording",
    "Store",
    "__version__",
    "ecg",
    "load",
    "probes",
    "quality",
    "sample",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module the first time it is asked for."""
    if name in _ROOMS:
        return import_module(f"nerula.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'nerula' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
