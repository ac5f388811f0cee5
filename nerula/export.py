"""The verb `export`: a model as one ONNX file for devices, verified before it is there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nerula.completion import ModelName
from nerula.errors import NerulaError, UsageError
from nerula.files import replacing, write_whole

if TYPE_CHECKING:
    import onnx
    from rich.console import Console

    from nerula.model import Model
    from nerula.onnx.cost import Change, Cost
    from nerula.onnx.verify import Trial
    from nerula.portable import Probe

SECONDS = 10.0
"""Of ECG, that latency is measured on."""


def export(
    model: ModelName,
    out: Path | None = None,
    *,
    probe: Path | None = None,
    int8: Annotated[bool, Parameter(negative="")] = False,
    max_loss: float = 0.01,
) -> int:
    """Write a model as one ONNX file, with its preprocessing inside.

    The file takes (batch, leads, time) in mV at the model's rate, any batch and any length, with
    NaN where nothing was measured, and gives (batch, D). What a signal of another rate or unit
    needs first is said by the JSON inside it and beside it. Before the file gets its name it is
    compared with the model on 1,000 real ECGs; one that differs is not left behind.

    Parameters
    ----------
    model
        Folder of a model or of a finished run, or the name of a model that Nerula brings along.
    out
        OUT.onnx; OUT.json is written beside it. By default MODEL.onnx in the folder where you are.
    probe
        A probe that `nerula probe --save` has written, linear or a network (logistic, ridge, mlp,
        ensemble); its probabilities or values become a second output.
    int8
        Round the weights to 8 bits: a quarter of the size, and faster. What that costs is measured
        and shown before anything is written.
    max_loss
        Of AUROC or R2, by the worse end of the interval: what rounding may cost at most.
    """
    from rich.console import Console

    from nerula import bundle
    from nerula.onnx.running import require

    require()
    from nerula.onnx.build import build
    from nerula.onnx.graph import arrays
    from nerula.onnx.verify import trial, verify

    out = out or Path(f"{Path(model).resolve().name}.onnx")
    if out.suffix != ".onnx":
        raise UsageError(f"{out} could be anything.", "Give it the ending .onnx.")
    console = Console(highlight=False)
    loaded = bundle.load(model)
    given = _probe(probe, loaded)
    dimensions = len(bundle.embed_probe(loaded))
    file = build(loaded, dimensions, given)
    with console.status("comparing the file with the model on real ECGs"):
        of = trial(loaded)
        verdict = verify(file.SerializeToString(), loaded, of, given)
    verdict.refuse()
    parameters = sum(array.size for array in arrays(file).values() if array.dtype.kind == "f")
    console.print(
        f"The same as the model on {verdict.recordings:,} real ECGs, with gaps and in other "
        f"lengths: embeddings to {verdict.difference:.1e}, every decision of a probe of the sex"
        f"{f', answers of the given probe to {verdict.answers:.1e}' if given else ''}.",
        soft_wrap=True,
    )
    if int8:
        file = _rounded(console, file, of, max_loss, given)
    _write(out, file)
    _show(console, out, loaded, parameters)
    command = "python examples/onnx_on_a_device.py"
    console.print(f"Next: {command} {out} examples/ecg.csv", markup=False, soft_wrap=True)
    return 0


def _probe(path: Path | None, model: "Model") -> "Probe | None":
    if path is None:
        return None
    from nerula import probes

    probe = probes.load(path)
    probe.require(model)
    return probe


def _rounded(
    console: "Console", file: "onnx.ModelProto", of: "Trial", most: float, probe: "Probe | None"
) -> "onnx.ModelProto":
    """The fastest way of rounding that does not cost too much, after showing what each costs."""
    from nerula.onnx.cost import change, cost
    from nerula.onnx.quantise import WAYS, quantised
    from nerula.onnx.recipe import EMBEDDING
    from nerula.onnx.running import outputs, session

    tried, said = [], []
    with console.status("measuring what rounding costs"):
        for way in WAYS:
            rounded = quantised(file, way)
            given = outputs(session(rounded.SerializeToString()), of.signal)
            tried.append((way, rounded, cost(given[EMBEDDING], of)))
            if probe is not None:
                said.append(_in_words(way, change(given, of, probe), probe, len(of.z)))
    _show_costs(console, [(way, costs) for way, _, costs in tried], len(of.z))
    for words in said:
        console.print(words, markup=False, soft_wrap=True)
    for way, rounded, costs in tried:
        if all(one.lost.high <= most for one in costs):
            console.print(f"Taken: {way}.")
            return rounded
    least = min(max(one.lost.high for one in costs) for _, _, costs in tried)
    raise NerulaError(
        f"Rounding to 8 bits may cost {least:.3f}, more than {most:g}. Nothing was written.",
        f"Export without --int8, or allow it: --max-loss {least + 0.001:.3f}",
    )


def _in_words(way: str, changed: "Change", probe: "Probe", recordings: int) -> str:
    """What becomes of the answers of the probe that goes along."""
    unit = f" {probe.answers[0]}" if probe.kind == "values" else ""
    said = f"{way}: the probe's answers change by {changed.mean:.2g}{unit} in the mean, "
    said += f"{changed.most:.2g}{unit} at most"
    if changed.decisions is None:
        return f"{said}."
    return f"{said}; of {recordings:,} decisions {changed.decisions:,} are others."


def _write(out: Path, file: "onnx.ModelProto") -> None:
    """Write file and recipe whole, after reading back what the disk holds."""
    import json

    from nerula.onnx.recipe import KEY, as_text
    from nerula.onnx.running import session

    content = file.SerializeToString()
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:
        partial.write(content)
        partial.seek(0)
        if partial.read() != content:
            raise NerulaError(f"{out} was not written as it should be.", "Check the disk.")
    words = session(content).get_modelmeta().custom_metadata_map[KEY]
    write_whole(out.with_suffix(".json"), as_text(json.loads(words)))


def _show(console: "Console", out: Path, model: "Model", parameters: int) -> None:
    from rich.table import Table

    from nerula.onnx.measure import measure, multiply_adds

    contract = model.contract
    samples = round(SECONDS * contract.rate)
    leads = len(contract.leads)
    with console.status("measuring on one core, in a process of its own"):
        found = measure(out, leads, samples)
    operations = multiply_adds(model, leads, samples)
    rows = {
        "parameters": f"{parameters:,}",
        "multiply-adds": f"{operations / 1e6:,.0f} million for {SECONDS:g} s of ECG",
        "file": f"{out.stat().st_size / 1e6:.2f} MB",
        "latency, one core": f"{found['median']:.2f} ms median, {found['p99']:.2f} ms p99 for "
        f"{SECONDS:g} s of ECG ({found['processor']:.2f} ms of processor time)",
        "working memory": f"{found['memory'] / 1e6:.0f} MB to open it and run it",
    }
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    written = f"Written: {out}, and how to use it: {out.with_suffix('.json')}"
    console.print(written, markup=False, soft_wrap=True)


def _show_costs(
    console: "Console", tried: "list[tuple[str, list[Cost]]]", recordings: int
) -> None:
    from rich.table import Table

    table = Table("", "model", "rounded", "lost (95 % interval)", box=None, pad_edge=False)
    for way, costs in tried:
        for one in costs:
            lost = one.lost
            table.add_row(
                f"{way}: {one.question}",
                f"{one.model.value:.4f}",
                f"{one.rounded.value:.4f}",
                f"{lost.value:+.4f} ({lost.low:+.4f} to {lost.high:+.4f})",
            )
    console.print(
        f"What rounding costs on {recordings:,} ECGs, each fold by probes of the others:"
    )
    console.print(table)
