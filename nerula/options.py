"""The options of `pretrain`: those of the loop, which every method shares, and a method's own."""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, get_origin, get_type_hints

from cyclopts import Group, Parameter

from nerula.bounds import BelowOne, Count, Number, Positive, Share, Weight, check, one_of
from nerula.errors import UsageError, nearest

if TYPE_CHECKING:
    from nerula.method import Method


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the loop, the same for every method.

    Arguments
    ---------
    epochs: passes over the recordings.
    batch: recordings per step, over all ranks.
    lr: highest learning rate; after the warm-up it falls to 0 along a cosine.
    warmup: share of the steps in which the learning rate rises.
    weight_decay: AdamW's, on matrices only; with 0 it is Adam.
    beta2: AdamW's memory of squared gradients.
    clip: largest norm of the gradient; 0 does not clip.
    seed: of the first weights, the order, the crops, the masks.
    folds: which folds to train on, such as 1-8, 1,3, georgia,ptb or all; recordings without a fold
        are taken.
    window: seconds of a recording that a method sees, all its segments together; a random crop of
        longer ones, shorter ones are padded.
    leads: which of the store's leads, such as II or I,V2; all of them where it is empty. With any,
        a method of one lead sees one of those that a recording has, each time another by chance.
    precision: bf16 computes matrix products in bfloat16, fp32 everything in float32; auto takes
        bf16 where the processor has instructions for it.
    device: auto, cpu, cuda or cuda:1; auto takes an accelerator where there is one.
    threads: of the CPU; 0 takes all cores.
    compile: let torch compile the method; pays in long trainings.
    checkpoint_minutes: time between two checkpoints.
    checkpoint_steps: steps between two checkpoints; 0 leaves it to the clock.
    """

    epochs: Number = 30
    batch: Count = 128
    lr: Positive = 1e-3
    warmup: Share = 0.05
    weight_decay: Weight = 0.01
    beta2: BelowOne = 0.999
    clip: Weight = 1.0
    seed: Number = 0
    folds: str = "1-8"
    window: Positive = 10.24
    leads: str = ""
    precision: Annotated[str, one_of(("auto", "bf16", "fp32"))] = "auto"
    device: str = "auto"
    threads: Number = 0
    compile: bool = False
    checkpoint_minutes: Weight = 2.0
    checkpoint_steps: Number = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, before anything is built of it."""
        check(Options, vars(self))


SHARED = {
    "unit": "mV that the network takes for 1.",
    "leads": "how many the network takes; those of the store, or of --leads.",
}
"""What is the same for every method that has it."""

LOOP = {field.name: field for field in fields(Options)}


def split(
    kind: "type[Method]",
    preset: str | None,
    given: Mapping[str, Any],
    held: Mapping[str, Any] | None = None,
) -> tuple[Options, dict[str, Any]]:
    """Part what was given into the loop's options and all arguments of the method.

    A preset's values stand in for the defaults of both; `held` are the arguments of a model that
    is trained further.
    """
    own = {one.name: one.default for one in inspect.signature(kind).parameters.values()}
    for name in given:
        if name not in own and name not in LOOP:
            meant = nearest(name, [*own, *LOOP])
            raise UsageError(f"{kind.__name__} has no option {name!r}.", meant)
    if preset is not None and preset not in kind.presets:
        known = nearest(preset, sorted(kind.presets) or ["none"])
        raise UsageError(f"{kind.__name__} has no preset {preset!r}.", known)
    loop = dict(kind.recipes.get(preset, {})) if preset else {}
    arguments = own | (dict(kind.presets[preset]) if preset else {})
    arguments |= {name: frozen(value) for name, value in (held or {}).items()}
    for name, value in given.items():
        (loop if name in LOOP else arguments)[name] = value
    return Options(**loop), arguments


def command_line(kind: "type[Method]", name: str) -> list[inspect.Parameter]:
    """Every option as a parameter that the command line understands, with its help."""
    hints, loop_hints = get_type_hints(kind.__init__), get_type_hints(Options)
    help_, loop_help = described(kind), described(Options)
    loop = Group("Training", sort_key=1)
    own = Group(f"Method {name}", sort_key=2)
    options = [
        _option(one, loop_hints[one], field.default, loop_help.get(one, ""), loop)
        for one, field in LOOP.items()
    ]
    if kind.presets:
        chosen = f"a named set of arguments: {', '.join(sorted(kind.presets))}"
        options.insert(0, _option("preset", str | None, None, chosen, own))
    if kind.trains:
        begun = "a trained model to go on from, with its arguments: its folder or name"
        options.insert(0, _option("start", str | None, None, begun, loop))
    return options + [
        _option(one.name, hints[one.name], one.default, help_.get(one.name, ""), own)
        for one in inspect.signature(kind).parameters.values()
        if one.name not in LOOP
    ]


def _option(name: str, hint: Any, default: Any, text: str, group: Group) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    how = Parameter(help=text, group=group)
    if get_origin(hint) is Sequence:
        shown = json.dumps(default)[1:-1]
        nested = bool(default) and isinstance(default[0], Sequence)
        read = partial(_numbers, nested=nested)
        how = Parameter(help=text, group=group, converter=read, show_default=lambda _: shown)
        hint = str  # one word, which the converter reads
    return inspect.Parameter(name, kind, default=default, annotation=Annotated[hint, how])


def _numbers(_: Any, tokens: Sequence[Any], *, nested: bool) -> Any:
    """Read "15,30" or "[24,2],[48,2]" as tuples of numbers; brackets around all may be there."""
    try:
        found = json.loads(f"[{tokens[0].value}]")
    except ValueError:
        found = []
    if len(found) == 1 and _fits(found[0], nested=nested):
        found = found[0]
    if not _fits(found, nested=nested):
        shape = "lists of numbers with commas, as in [32,2],[64,2]"
        raise ValueError(f"write {shape if nested else 'numbers with commas, as in 15,30'}")
    return frozen(found)


def _fits(value: Any, *, nested: bool) -> bool:
    """Whether this is a list of numbers, or of such lists."""
    if not isinstance(value, list) or not value:
        return False
    return all(_fits(x, nested=False) if nested else isinstance(x, int | float) for x in value)


def read_value(text: str) -> Any:
    """A number, a word, true, false, or a tuple of numbers, from how one writes it."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for attempt in (text, f"[{text}]"):
        try:
            return frozen(json.loads(attempt))
        except ValueError:
            continue
    return text


def frozen(value: Any) -> Any:
    """Lists as tuples, throughout: what JSON makes of a method's arguments."""
    return tuple(frozen(one) for one in value) if isinstance(value, list | tuple) else value


def described(kind: type) -> dict[str, str]:
    """The lines "name: what it is" below "Arguments" in a class's docstring."""
    _, _, listed = inspect.cleandoc(kind.__doc__ or "").partition("Arguments\n---------\n")
    joined = re.sub(r"\n +", " ", listed).splitlines()
    return SHARED | {name: text for line in joined for name, _, text in [line.partition(": ")]}
