"""Rows: what is compared. A row is a method with arguments, under a name that tables use."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nerula.bounds import check
from nerula.errors import UsageError, nearest, unknown
from nerula.options import LOOP, read_value, split

if TYPE_CHECKING:
    from nerula.method import Method

RESNET_50 = (64, 128, 256, 512)
"""Channels of its four stages (times 4); the light ResNet has 64 in each."""

READ_OUT = "stats"
"""How every row's tokens become an embedding: mean, deviation and maximum. Methods differ in their
own `pooling`, and a comparison of methods is none of poolings."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method as it is to be compared."""

    name: str
    title: str
    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of the method, and options of the loop; both differ from their defaults."""
    kind: str = "pretrained"
    """pretrained, supervised (on the labels of each task) or control."""
    seeded: bool = True
    """Whether another seed gives another model."""
    resnet: bool = False
    """Whether its encoder is a ResNet, of which there is a light and a large one."""
    many: bool = False
    """Whether it takes several leads; others are given one of a store that has more."""
    without: str = ""
    """A task: its data set is pretrained on too, without the recordings that it judges by."""


_SUPERVISED = {"encoder": "resnet", "norm": "batch"}
ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row(name="supervised", title="ResNet, supervised", method="random_init",
            arguments=_SUPERVISED, kind="supervised", resnet=True),
        Row(name="byol", title="BYOL", method="byol", resnet=True),
        Row(name="byol-neighbours", title="BYOL, CLOCS' neighbours", method="byol",
            arguments={"views": "neighbours"}, resnet=True),
        Row(name="byol-masks", title="BYOL, NERULA's masks", method="byol",
            arguments={"views": "masks"}, resnet=True),
        Row(name="simclr", title="SimCLR", method="simclr", resnet=True),
        Row(name="timae", title="Ti-MAE", method="timae"),
        Row(name="cmsc", title="CLOCS", method="cmsc", resnet=True),
        Row(name="nerula-masks", title="BYOL, latents masked in NERULA's encoder",
            method="nerula", arguments={"reconstruction": False, "ema": 0.99,
            "patches": (15, 30)}),
        Row(name="nerula-alignment", title="NERULA without reconstruction", method="nerula",
            arguments={"reconstruction": False}),
        Row(name="nerula", title="NERULA", method="nerula"),
        Row(name="nerula-challenge2017", title="NERULA, also on Challenge 2017",
            method="nerula", without="arrhythmia-paper"),
        Row(name="w2v", title="W2V", method="w2v_cmsc_rlm", many=True,
            arguments={"cmsc": False, "rlm": False}),
        Row(name="cmsc-leads", title="CMSC, any leads' network", method="w2v_cmsc_rlm", many=True,
            arguments={"w2v": False, "rlm": False}),
        Row(name="w2v-cmsc", title="W2V + CMSC", method="w2v_cmsc_rlm", many=True,
            arguments={"rlm": False}),
        Row(name="w2v_cmsc_rlm", title="W2V + CMSC + RLM", method="w2v_cmsc_rlm", many=True),
        Row(name="modal-unaligned", title="Twelve autoencoders, unaligned", method="modal",
            many=True, arguments={"align_weight": 0.0}),
        Row(name="modal", title="Modally reduced", method="modal", many=True),
        Row(name="random_init", title="NERULA's encoder, untrained", method="random_init",
            kind="control"),
        Row(name="random_init-resnet", title="ResNet, untrained", method="random_init",
            arguments={"encoder": "resnet"}, kind="control", resnet=True),
        Row(name="random_convolutions", title="Random convolutions",
            method="random_convolutions", kind="control"),
        Row(name="heart_rate", title="Heart rate", method="heart_rate", kind="control",
            seeded=False),
        Row(name="majority", title="Majority", method="majority", kind="control", seeded=False),
    )
}  # fmt: skip
"""Rows with a name of their own. Any other name is that of a method."""


def find(name: str) -> Row:
    """The row of a name; a method of one's own has the name `package.module:Class`."""
    from nerula import methods

    if name in ROWS:
        return ROWS[name]
    if ":" not in name:
        raise unknown("row", name, ROWS, "; a method of your own: package.module:Class")
    kind = methods.find(name)
    return Row(
        name=name,
        title=kind.__name__,
        method=name,
        kind="pretrained" if kind.trains else "control",
    )


def in_order(names: Sequence[str]) -> list[str]:
    """Names as tables show them: known rows in their order, then the others."""
    known = list(ROWS)
    return sorted(
        dict.fromkeys(names), key=lambda name: known.index(name) if name in ROWS else len(known)
    )


def of_one_lead(row: Row, leads: Sequence[str]) -> Row:
    """A row as it is trained on a store of these leads: methods of one lead get lead II of many.

    `--set ROW.leads=I` chooses another. A row of several leads on a store of one is refused.
    """
    if row.many and len(leads) == 1:
        raise UsageError(
            f"{row.name} takes several leads, and the data that it is to be trained on has "
            f"{leads[0]} alone.",
            "Give a publisher's folder, or a store that was prepared with several: "
            "--data NAME=STORE.",
        )
    if row.many or len(leads) == 1:
        return row
    lead = "II" if "II" in leads else leads[0]
    return replace(row, arguments={"leads": lead, **row.arguments})


def decodes(row: Row) -> bool:
    """Whether its method rebuilds signals."""
    from nerula import methods

    return methods.find(row.method).rebuilds()


def folder_of(name: str) -> str:
    """The name of a row as a folder's."""
    return re.sub(r"[^\w.-]+", "-", name)


Settings = Sequence[tuple[str, str, Any]]
"""Whose (a row, a method or "*"), which option, and its value."""


def read_settings(written: Sequence[str]) -> Settings:
    """Read "nerula.pooling=stats", "byol.widths=8,8,8,8" or "*.lr=0.0003"."""
    found = []
    for one in written:
        left, is_set, value = one.partition("=")
        whose, has_name, option = left.rpartition(".")
        if not (is_set and has_name and whose and option):
            raise UsageError(f"--set {one} is not understood.", "Write --set nerula.ema=0.")
        found.append((whose, option.replace("-", "_"), read_value(value)))
    return found


def configured(row: Row, settings: Settings, *, large: bool) -> Row:
    """A row with the read-out of all, the large ResNet where it is asked for, and what was set."""
    from nerula.methods import find as method_of

    kind, known = method_of(row.method), _options(row.method)
    arguments = {**({} if row.many else _read_out(kind, known)), **row.arguments}
    if large and row.resnet:
        arguments["widths"] = RESNET_50
    for whose in ("*", row.method, row.name):  # the more special has the last word
        arguments |= {
            option: _fitting(f"{name}.{option}", value, known.get(option))
            for name, option, value in settings
            if name == whose and (whose != "*" or option in known)
        }
    _, own = split(kind, None, arguments)
    check(kind.__init__, own)
    return replace(row, arguments=arguments)


def _read_out(kind: "type[Method]", known: Mapping[str, Any]) -> dict[str, Any]:
    """The pooling of a comparison, for a method that has it."""
    if "pooling" not in known:
        return {}
    try:
        check(kind.__init__, {"pooling": READ_OUT})
    except UsageError:  # a method of one's own may mean something else by the word
        return {}
    return {"pooling": READ_OUT}


def check_settings(settings: Settings, rows: Sequence[Row]) -> None:
    """Refuse what would be set for nobody, and what all rows have in common."""
    names = {"*", *(row.name for row in rows), *(row.method for row in rows)}
    for whose, option, _ in settings:
        if whose not in names:
            near = nearest(whose, sorted(names))
            raise UsageError(f"--set {whose}.{option}: {whose} is not compared.", near)
        if option == "folds":  # they are checked against what judges, for all rows at once
            raise UsageError(
                f"--set {whose}.folds: all rows are trained on the same folds.",
                "Write --folds 1-8 for all of them.",
            )
        if option == "seed":
            raise UsageError(
                f"--set {whose}.seed: a row is trained once for each of --seeds.",
                "Write --seeds 0,1,2.",
            )


def _options(method: str) -> dict[str, Any]:
    """Everything that can be set for a method, and its default."""
    import inspect

    from nerula import methods

    own = inspect.signature(methods.find(method)).parameters.values()
    return {one.name: one.default for one in own} | {
        name: field.default for name, field in LOOP.items()
    }


def _fitting(option: str, value: Any, default: Any) -> Any:
    """A value in the shape of the default: 3 may stand for (3,), and (9, 1) for ((9, 1),)."""
    if isinstance(default, tuple):
        value = value if isinstance(value, tuple) else (value,)
        nested = bool(default) and isinstance(default[0], tuple)
        value = (value,) if nested and not isinstance(value[0], tuple) else value
    kinds = (bool, str, tuple)  # a number is whatever is none of these
    if default is not None and [isinstance(value, k) for k in kinds] != [
        isinstance(default, k) for k in kinds
    ]:
        raise UsageError(f"--set {option}: {value!r} is not like its default, {default!r}.")
    return value
