"""The verb `embed`: embeddings of a store, or of files as they are."""

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nerula.completion import KindName, ModelName
from nerula.errors import UsageError
from nerula.vectors import WRITERS, Result, write_refused

if TYPE_CHECKING:
    from nerula.model import Model


def embed(
    model: ModelName,
    source: str | Path | None = None,
    out: str | Path | None = None,
    *,
    lead: Annotated[str | None, Parameter(name=["--lead", "--leads"])] = None,
    kind: KindName = None,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    source_rate: float | None = None,
    source_unit: str | None = None,
    source_leads: str | None = None,
) -> int:
    """Embed every recording of a store, a data set, a folder or a file.

    Any rate, unit, length and order of leads: the model brings them to what it was trained on. A
    recording longer than the model's window is embedded in windows, whose mean it gets. A file
    that cannot be trusted goes to OUT.quarantine.csv with its reason, and the work goes on.

    `nerula embed FILE` is enough: MODEL is then the one that Nerula brings along.

    Parameters
    ----------
    model
        Folder of a model or of a finished run, or the name of a model that Nerula brings along.
        May be left out.
    source
        A store, a data set's folder, a folder of recordings, or one file; or the address of one,
        such as s3://bucket/ptb-xl.
    out
        OUT.npy (with OUT.csv beside it that says whose each row is), OUT.npz, OUT.parquet or
        OUT.csv. By default SOURCE.embeddings.npy in the folder where you are. An address, too.
        Of a model of several leads the column `absent` says which were hidden from it: those that
        the recording lacked, that held nothing valid, or that were not asked for.
    lead
        Which leads to give the model, such as "I,II,V2", where not all that it can have: a model
        of several takes fewer; one of a single lead takes any one, whatever its name, or several,
        each by itself, and joins their embeddings. "each" is all twelve.
    kind
        What the source is, such as "ptbxl" or "edf", where its content does not tell.
    device
        cpu, or cuda.
    precision
        bf16 is about twice as fast where the processor has instructions for it, and agrees with
        fp32 to two or three digits.
    engine
        Where the work is done: in this process, or by the workers of a Ray cluster, on CPUs.
    ray_address
        Where that cluster is; by default what RAY_ADDRESS says, or a new one on this machine.
    source_rate
        Samples per second of files that do not say.
    source_unit
        Unit of files that do not say, such as "uV".
    source_leads
        Names of the signals, in their order, of files that do not say.
    """
    from nerula import bundle, engines
    from nerula.embedding import embedded
    from nerula.readers.names import split_names
    from nerula.readers.source import Hints
    from nerula.transfer import file_to

    chosen = engines.choose(engine, None if engine == "ray" else 1, ray_address)
    if chosen.remote and device != "cpu":
        raise UsageError(f"--engine ray embeds on CPUs, not on {device}.", "Leave out --device.")
    model, source, out = _places(model, source, out)
    ending = PurePath(str(out).partition("?")[0]).suffix
    if ending not in WRITERS:
        raise UsageError(f"{out} could be anything.", f"Give it an ending: {', '.join(WRITERS)}.")
    loaded = bundle.load(model, device=device, precision=precision)
    hints = Hints(source_rate, source_unit, split_names(source_leads))
    result = embedded(loaded, source, lead=lead, kind=kind, hints=hints, engine=chosen)
    with file_to(out) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[ending](path, result)
        refused = write_refused(path, result)
        _say(_next(model, loaded), source, result, path, refused)
    say_absent(result, any_leads=loaded.method.any_leads)
    return 0


def _places(
    first: str, second: str | Path | None, third: str | Path | None
) -> tuple[str, str | Path, str | Path]:
    """Read MODEL SOURCE OUT, where MODEL and OUT may be left out."""
    from nerula import bundle
    from nerula.addresses import bare, is_address

    is_model = bundle.locate(first) is not None
    if second is not None and (third is not None or is_model):
        model, source, out = first, second, third
    elif is_model:
        raise UsageError(
            f"{first} is a model; what to embed with it is missing.",
            "Write: nerula embed MODEL SOURCE OUT.npy, or nerula embed SOURCE.",
        )
    else:
        model, source, out = bundle.DEFAULT, first, second
    name = PurePath(bare(str(source))).name if is_address(source) else Path(source).resolve().name
    return model, source, out or Path(f"{PurePath(name).stem}.embeddings.npy")


def say_absent(result: Result, *, any_leads: bool) -> None:
    """Which leads were not there, where any were not."""
    from rich.console import Console

    console, missed = Console(highlight=False), result.absent
    for leads, count in missed.most_common(3):
        if leads:
            many = "" if count == 1 else "s"
            words = f"{count} recording{many} without {' '.join(leads)}: hidden from the model."
            console.print(words, markup=False, soft_wrap=True)
    if not any_leads and sum(missed.values()) > missed[()]:
        console.print(
            "[yellow]This model was trained with all of its leads, and never to do without.[/]",
            soft_wrap=True,
        )


def _next(name: str, model: "Model") -> str:
    """What else the model can do."""
    if model.method.rebuilds():
        return f"nerula impute {name} FILE filled.csv --picture filled.png"
    return f"nerula probe {name} sex"


def _say(then: str, source: str | Path, result: Result, out: Path, refused: Path | None) -> None:
    from rich.console import Console

    one = len(result.z) == 1
    lines = [
        f"{len(result.z)} recording{'' if one else 's'}, {len(result.z[0])} values each: {out}"
    ]
    if out.suffix == ".npy":
        lines.append(f"whose each row is: {out.with_suffix('.csv')}")
    if refused is not None:
        lines.append(f"{len(result.refused)} refused, with reasons: {refused}")
    if result.doubts:
        codes = ", ".join(f"{code} {count:,}" for code, count in result.doubts.most_common())
        lines.append(f"doubtful: {codes}; nerula check {source} says more")
    lines.append(f"Next: {then}")
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
