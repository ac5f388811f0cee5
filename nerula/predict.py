"""The verb `predict`: what a saved probe or a fine-tuned network says of recordings."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter

from nerula.completion import KindName
from nerula.errors import UsageError
from nerula.vectors import Result, write_refused, write_table

if TYPE_CHECKING:
    from nerula.model import Model
    from nerula.portable import Probe

ANSWER, CHANCE = "answer", "p_"
"""Columns: the class or the value; and before the name of a class or label, its probability."""
ENDINGS = (".csv", ".parquet")


def predict(
    probe: str | Path,
    source: str | Path,
    out: Path,
    *,
    model: str | None = None,
    lead: Annotated[str | None, Parameter(name=["--lead", "--leads"])] = None,
    kind: KindName = None,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    source_rate: float | None = None,
    source_unit: str | None = None,
    source_leads: str | None = None,
) -> int:
    """Say of every recording what a probe, or a fine-tuned network, makes of it.

    PROBE was written by `nerula probe MODEL TASK DATA --save FOLDER`. One row per recording: whose
    it is, `answer` (of classes and values), and `p_` with the name of each class or label for its
    probability. A file that cannot be trusted goes to OUT.quarantine.csv with its reason.

    Parameters
    ----------
    probe
        A probe's file, or the folder of a network that was fine-tuned.
    source
        What `nerula embed` takes: a store, a data set, a folder or a file; or the address of one.
    out
        OUT.csv or OUT.parquet.
    model
        The model that the probe was fitted on. It need not be named where it comes with Nerula, or
        lies beside its head.
    lead
        Which leads to give the model, such as "I,II,V2"; those of the probe where not said.
    kind
        What the source is, such as "ptbxl" or "edf", where its content does not tell.
    device
        cpu, or cuda.
    precision
        bf16 embeds about twice as fast where the processor has instructions for it.
    source_rate
        Samples per second of files that do not say.
    source_unit
        Unit of files that do not say, such as "uV".
    source_leads
        Names of the signals, in their order, of files that do not say.
    """
    from nerula import bundle, engines
    from nerula.embed import say_absent
    from nerula.embedding import embedded
    from nerula.readers.names import split_names
    from nerula.readers.source import Hints

    if out.suffix not in ENDINGS:
        raise UsageError(f"{out} could be anything.", f"Give it an ending: {', '.join(ENDINGS)}.")
    head, name = _found(Path(probe), model)
    loaded = bundle.load(name, device=device, precision=precision)
    head.require(loaded)
    hints = Hints(source_rate, source_unit, split_names(source_leads))
    result = embedded(
        loaded,
        source,
        lead=lead or _leads(head, loaded),
        kind=kind,
        hints=hints,
        engine=engines.choose("local", 1, None),
    )
    z = np.stack(result.z)
    if head.dimensions != z.shape[1]:
        raise UsageError(
            f"The probe takes {head.dimensions:,} values, and a recording has {z.shape[1]:,}.",
            "Name the leads that it was fitted on with --lead.",
        )
    columns = answers(head, z)
    write_table(out, result.columns | columns)
    _say(head, result, columns, out, write_refused(out, result))
    say_absent(result, any_leads=loaded.method.any_leads)
    return 0


def answers(head: "Probe", z: "np.ndarray[Any, Any]") -> dict[str, list[Any]]:
    """The columns of what a probe says of embeddings (N, D)."""
    if head.kind == "values":
        return {ANSWER: np.round(head.values(z), 4).tolist()}
    shares = np.round(head.probabilities(z), 6).T.tolist()
    chances = {f"{CHANCE}{name}": share for name, share in zip(head.classes, shares, strict=True)}
    if head.kind == "labels":
        return chances
    return {ANSWER: [head.classes[number] for number in head.decide(z)], **chances}


def _found(path: Path, model: str | None) -> tuple["Probe", str]:
    """The probe, and the name or folder of its model."""
    from nerula import probes
    from nerula.brought import WEIGHTS, names
    from nerula.schema import CONFIG, HEAD, Config

    if path.is_dir() and not (path / HEAD).is_file():
        raise UsageError(
            f"{path} has no {HEAD}: it is not a network that was fine-tuned.",
            "Name a probe's file, from: nerula probe MODEL TASK DATA --save FOLDER",
        )
    file = path / HEAD if path.is_dir() else path
    head = probes.load(file)
    if model is not None:
        return head, model
    if file.name == HEAD and (file.parent / CONFIG).is_file():
        return head, str(file.parent)
    wanted = head.embedding.get("tensors")
    for name in names():
        if Config.read(WEIGHTS / name).tensors == wanted:
            return head, name
    raise UsageError(
        f"{path} was fitted on a model that does not come with Nerula.",
        "Say which with --model FOLDER.",
    )


def _leads(head: "Probe", model: "Model") -> str | None:
    """The leads that the probe was fitted with, where these were several or some of several."""
    way = head.about.get("way", {})
    chosen = way.get("tested") or way.get("leads") or ()
    return ",".join(chosen) if max(len(model.contract.leads), len(chosen)) > 1 and chosen else None


def _say(
    head: "Probe", result: Result, columns: dict[str, list[Any]], out: Path, refused: Path | None
) -> None:
    from rich.console import Console

    lines = [f"{len(result.z):,} recording{'s' * (len(result.z) != 1)}: {out}"]
    if head.kind == "classes":
        counted = Counter(columns[ANSWER])
        lines.append(", ".join(f"{name} {counted[name]:,}" for name in head.classes))
    if refused is not None:
        lines.append(f"{len(result.refused)} refused, with reasons: {refused}")
    lines += _how_good(head)
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _how_good(head: "Probe") -> list[str]:
    """What is known of the probe: how well it did where it was tested."""
    metrics, task = head.about.get("metrics"), head.about.get("task")
    if not metrics or not task:
        return ["How well this does was not written down with the probe."]
    main = metrics[task["main"]]
    figure: Callable[[float], str] = "{:.3f}".format
    low, high = (figure(main[end]) for end in ("low", "high"))
    where = head.about["data"]["kind"]
    said = f"{task['main'].replace('_', ' ')} {figure(main['value'])} ({low} to {high})"
    return [f"Where it was tested ({where}, {main['n']:,} recordings): {said}."]
