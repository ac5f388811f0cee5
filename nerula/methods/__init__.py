"""One file per method. A method is found by its name, or by `package.module:Class`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nerula.errors import UsageError, nearest, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nerula.method import Method

METHODS = {
    "nerula": "nerula.methods.nerula:Nerula",
    "byol": "nerula.methods.byol:Byol",
    "simclr": "nerula.methods.simclr:Simclr",
    "cmsc": "nerula.methods.cmsc:Cmsc",
    "timae": "nerula.methods.timae:Timae",
    "w2v_cmsc_rlm": "nerula.methods.w2v_cmsc_rlm:W2vCmscRlm",
    "modal": "nerula.methods.modal:Modal",
    "supervised": "nerula.methods.supervised:Supervised",
    "random_init": "nerula.methods.random_init:RandomInit",
    "random_convolutions": "nerula.methods.random_convolutions:RandomConvolutions",
    "heart_rate": "nerula.methods.heart_rate:HeartRate",
    "majority": "nerula.methods.majority:Majority",
}
"""Name to `module:Class`; imported only when asked for."""


def find(name: str) -> "type[Method]":
    """The class behind a registered name or a `package.module:Class` of one's own."""
    target = METHODS.get(name, name)
    module, _, attribute = target.partition(":")
    if not attribute:
        raise unknown("method", name, METHODS, "; your own: package.module:Class")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"Method {name!r} cannot be imported: {error}.") from error
    from nerula.method import Method

    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UsageError(f"{target} is not a subclass of nerula.method.Method.")
    return found


def make(kind: "type[Method]", arguments: "Mapping[str, Any]") -> "Method":
    """A method with its arguments; those that do not go together are the user's to mend."""
    try:
        return kind(**arguments)
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
        raise UsageError(
            f"{kind.__name__} cannot be built with these arguments: {error}.",
            "--debug shows where.",
        ) from error


def build(name: str, preset: str | None = None, **arguments: Any) -> "Method":
    """A method with its preset's arguments, overridden by those given."""
    method = find(name)
    if preset is not None and preset not in method.presets:
        known = nearest(preset, sorted(method.presets) or ["none"])
        raise UsageError(f"{name} has no preset {preset!r}.", known)
    chosen = dict(method.presets[preset]) if preset else {}
    return method(**{**chosen, **arguments})
