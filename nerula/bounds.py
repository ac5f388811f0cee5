"""What an option may be, written beside its type: `width: Annotated[int, within(1)] = 128`.

All values are checked in one place, whoever gives them: a command line, a saved model, Python, a
comparison or a search. So nothing is read or trained where a value cannot be meant.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from nerula.errors import UsageError, nearest

Others = Mapping[str, Any]
"""The values of all options."""


@dataclass(frozen=True)
class Rule:
    """Which values can be meant."""

    wanted: str
    """The end of "It takes ..."; {width} stands for the value of another option."""
    fits: Callable[[Any, Others], bool]
    """Whether a value can, beside those of the other options."""
    choices: tuple[Any, ...] = ()
    """All of them, where they can be listed."""


def within(
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    whole: bool = False,
) -> Rule:
    """A finite number from `low` to `high`, or truly `above` the one or `below` the other."""
    kind = Integral if whole else Real

    def fits(value: Any, _: Others) -> bool:
        if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value):
            return False
        number = float(value)
        return (low < number if above else low <= number) and (
            number < high if below else number <= high
        )

    words = f"more than {low:g}" if above else f"{low:g} or more"
    if math.isinf(low):
        words = "a number"
    elif math.isfinite(high):
        most = f"less than {high:g}" if below else f"{high:g} or less"
        words = f"{words} and {most}" if above or below else f"{low:g} to {high:g}"
    if whole:
        words = f"{words}, in whole numbers"
    return Rule(words, fits)


def one_of(choices: Sequence[str | int]) -> Rule:
    """One of these words or numbers."""
    return Rule(", ".join(map(str, choices)), lambda value, _: value in choices, tuple(choices))


def each(rule: Rule, count: int | None = None) -> Rule:
    """A list of values that the rule allows; just so many, or any number but none."""

    def fits(value: Any, others: Others) -> bool:
        return (
            isinstance(value, list | tuple)
            and (len(value) == count if count else len(value) > 0)
            and all(rule.fits(one, others) for one in value)
        )

    return Rule(f"{count or 'some'} numbers, each of them {rule.wanted}", fits)


def any_of(rule: Rule) -> Rule:
    """A list of values that the rule allows, or none."""
    some = each(rule)
    return Rule(some.wanted, lambda value, others: len(value) == 0 or some.fits(value, others))


def pairs(first: Rule, second: Rule) -> Rule:
    """A list of pairs, such as channels and stride."""

    def fits(value: Any, others: Others) -> bool:
        return isinstance(value, list | tuple) and all(
            isinstance(pair, list | tuple)
            and len(pair) == 2
            and first.fits(pair[0], others)
            and second.fits(pair[1], others)
            for pair in value
        )

    words = f"pairs as in [32,2],[64,2]: {first.wanted}, then {second.wanted}"
    return Rule(words, fits)


def rising(rule: Rule) -> Rule:
    """A least and a greatest value."""
    two = each(rule, 2)
    words = f"two numbers, the smaller first, each of them {rule.wanted}"
    return Rule(words, lambda value, others: two.fits(value, others) and value[0] <= value[1])


def multiple(of: int, rest: int = 0) -> Rule:
    """A multiple of a number, or with `rest` so many more."""
    words = "an odd number" if (of, rest) == (2, 1) else f"a multiple of {of}"
    return Rule(words, lambda value, _: value % of == rest)


def divides(*wholes: str) -> Rule:
    """So many equal parts of each of these options."""
    words = " and of ".join(f"--{one.replace('_', '-')} {{{one}}}" for one in wholes)
    return Rule(
        f"a divisor of {words}",
        lambda value, others: all(others[one] % value == 0 for one in wholes),
    )


COUNT = within(1, whole=True)
Count = Annotated[int, COUNT]
NUMBER = within(0, whole=True)
Number = Annotated[int, NUMBER]
Positive = Annotated[float, within(0, above=True)]
Weight = Annotated[float, within(0)]
Share = Annotated[float, within(0, 1)]
Part = Annotated[float, within(0, 1, above=True, below=True)]
"""A share that is neither nothing nor everything."""
BelowOne = Annotated[float, within(0, 1, below=True)]
Counts = Annotated[Sequence[int], each(COUNT)]
Widths = Annotated[Sequence[int], each(COUNT, 4)]
"""Of a ResNet's four stages."""


def check(function: Callable[..., Any], values: Others) -> None:
    """Refuse values that the annotations of a function's or a class' options do not allow."""
    for name, hint in get_type_hints(function, include_extras=True).items():
        if get_origin(hint) is Annotated and name in values:
            for rule in get_args(hint)[1:]:
                if isinstance(rule, Rule) and not rule.fits(values[name], values):
                    raise _refusal(name, rule, values)


def checked(build: Callable[..., None]) -> Callable[..., None]:
    """An `__init__` that first looks at its options."""

    @wraps(build)
    def looking(self: Any, *positional: Any, **options: Any) -> None:
        try:
            given = signature(build).bind(self, *positional, **options)
        except TypeError:
            given = None  # called wrongly, as it will say itself
        if given is not None:
            given.apply_defaults()
            check(build, given.arguments)
        build(self, *positional, **options)

    return looking


def _refusal(name: str, rule: Rule, values: Others) -> UsageError:
    value = values[name]
    said = f"--{name.replace('_', '-')} {_written(value)} cannot be meant."
    if rule.choices:
        return UsageError(said, nearest(str(value), map(str, rule.choices)))
    return UsageError(said, f"It takes {rule.wanted.format(**values)}.")


def _written(value: Any) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, list | tuple):
        inner = (f"[{_written(x)}]" if isinstance(x, list | tuple) else _written(x) for x in value)
        return ",".join(inner)
    return f"{value:g}" if isinstance(value, float) else str(value)
