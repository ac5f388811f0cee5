"""Space: which values of a method's arguments a search may try."""

import inspect
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nerula.bounds import check
from nerula.errors import UsageError, nearest
from nerula.options import frozen, read_value

if TYPE_CHECKING:
    from optuna import Trial

    from nerula.method import Method

_BETWEEN = re.compile(r"([-+.\de]+):([-+.\de]+)(:log)?")


class Range(Protocol):
    """The values that one argument may take."""

    @property
    def ends(self) -> tuple[Any, ...]:
        """Those that decide whether all of them can be meant."""

    def suggest(self, trial: "Trial", name: str) -> Any:
        """One of them, as the method wants it."""

    def stored(self, value: Any) -> Any:
        """A value of the method as a trial holds it; None where the range does not have it."""

    def value(self, stored: Any) -> Any:
        """The reverse."""


@dataclass(frozen=True)
class Between:
    """Numbers from one to another, whole where both are; evenly, or evenly in the logarithm."""

    low: float
    high: float
    log: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """The least and the greatest."""
        return self.low, self.high

    def at_end(self, value: float) -> bool:
        """Whether a value lies at one of the ends, so that what is better may lie outside."""
        low, high, value = (math.log(one) if self.log else one for one in (*self.ends, value))
        return not 0.05 < (value - low) / (high - low) < 0.95

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: "Trial", name: str) -> Any:
        """A number."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def stored(self, value: Any) -> Any:
        """The number itself, if it lies inside."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return value if self.low <= value <= self.high else None

    def value(self, stored: Any) -> Any:
        """The number itself."""
        return stored


@dataclass(frozen=True)
class OneOf:
    """Some values, each written as JSON: words, numbers or lists of numbers. One is fixed."""

    choices: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them."""
        return self.choices

    def suggest(self, trial: "Trial", name: str) -> Any:
        """One of them."""
        written = [json.dumps(choice) for choice in self.choices]
        return self.value(trial.suggest_categorical(name, written))

    def stored(self, value: Any) -> Any:
        """How it is written, if it is one of them; a fixed value stands for any other."""
        if len(self.choices) == 1:
            return json.dumps(self.choices[0])
        return json.dumps(value) if frozen(value) in self.choices else None

    def value(self, stored: Any) -> Any:
        """What was written."""
        return frozen(json.loads(stored))


Space = Mapping[str, Range]

SPACES: dict[str, Space] = {
    "nerula": {
        "fraction": Between(0.05, 0.95),
        "patches": OneOf(((2, 8), (4, 30), (15, 30), (30, 60))),
        "recon_weight": Between(0.1, 100.0, log=True),
        "huber_delta": Between(0.1, 3.0, log=True),
        "views": OneOf(("masks", "augmentation", "neighbours")),
    },
    "simclr": {"temperature": Between(0.05, 1.0, log=True)},
    "cmsc": {"temperature": Between(0.05, 1.0, log=True)},
    "byol": {"views": OneOf(("augmentation", "masks", "neighbours"))},
    "timae": {"fraction": Between(0.3, 0.9)},
}
"""What is searched where nothing is said: for NERULA, what its paper left to search."""


def of(method: "type[Method]", name: str, said: Sequence[str]) -> Space:
    """The ranges that were said, or those that a method has by itself."""
    space: Space = dict(read(one) for one in said) or SPACES.get(name, {})
    known = inspect.signature(method).parameters
    if missing := [one for one in space if one not in known]:
        raise UsageError(f"{name} has no argument {missing[0]!r}.", nearest(missing[0], known))
    if not space:
        raise UsageError(
            f"Nothing is known about what to search in {name}.",
            "Say it: --over temperature=0.05:1:log views=masks|neighbours",
        )
    defaults = {one: parameter.default for one, parameter in known.items()}
    for argument, tried in space.items():
        for value in tried.ends:
            check(method.__init__, defaults | {argument: value})
    return space


def read(written: str) -> tuple[str, Range]:
    """Read "fraction=0.2:0.8", "lr=1e-4:1e-2:log" or "views=masks|neighbours"."""
    name, is_set, value = written.partition("=")
    if not (is_set and name and value):
        raise _unclear(written)
    if found := _BETWEEN.fullmatch(value):
        low, high = (_number(written, part) for part in found.groups()[:2])
        if low >= high or (found[3] and low <= 0):
            raise _unclear(written)
        return name.replace("-", "_"), Between(low, high, bool(found[3]))
    if ":" in value:
        raise _unclear(written)
    choices = tuple(read_value(part) for part in value.split("|"))
    return name.replace("-", "_"), OneOf(choices)


def _number(written: str, text: str) -> float:
    try:
        return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
    except ValueError:
        raise _unclear(written) from None


def said(value: Any) -> str:
    """A value as one would write it on the command line."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return json.dumps(value, separators=(",", ":"))[1:-1]
    return str(value)


def _unclear(written: str) -> UsageError:
    return UsageError(
        f"--over {written} is not understood.",
        "Write fraction=0.2:0.8, recon-weight=0.1:100:log or views=masks|neighbours.",
    )
