"""The verb `probe`: one task, its classical models, with intervals."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from nerula.completion import ModelName, TaskName
from nerula.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from nerula.contract import Contract
    from nerula.ground import Ways
    from nerula.results import Result
    from nerula.store import Store
    from nerula.tasks import Task

CACHE, RESULTS = "cache", "results"


def probe(
    model: ModelName,
    task: TaskName,
    data: str | Path | None = None,
    *,
    probes: str | None = None,
    labels: str = "1",
    gaps: str | None = None,
    draws: int = 5,
    finetune: bool = False,
    label_epochs: int = 20,
    label_pace: float | None = None,
    leads: str | None = None,
    out: Path | None = None,
    save: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    unverified: Annotated[bool, Parameter(negative="")] = False,
) -> list[Any]:
    """Ask one question of a model's embeddings, under a fixed protocol, with 95 % intervals.

    A split with a subject on two sides, or a model that was pretrained on what it would be judged
    by, is refused. TASK is one of: arrhythmia, arrhythmia-4, arrhythmia-paper, sex, age,
    infarction, infarction-norm, infarction-windows, statements, diagnoses, activity, identity,
    identity-ptbxl, identity-halves, identity-windows, lead-alignment, leads; or a table of your
    own, labels.csv, with the name of each recording and what is known of it.

    Parameters
    ----------
    model
        Folder of a model or of a finished run, or the name of a model that Nerula brings along.
    task
        What to ask; docs/tasks.md has each protocol. Of a table, labels.csv:afib asks about one
        column alone.
    data
        A store, or a data set's folder, which is prepared first; or the address of one. Without
        it the bundled sample, where that will do for a first look.
    probes
        Such as "forest,logistic"; all that the task has, by default. "finetuned" is the whole
        network, "blended" the mean of what it says and what logistic or ridge says.
    labels
        Shares of the training labels, such as "0.01,0.1,1".
    gaps
        Shares of every test recording to take away, such as "0.1,0.3,0.6".
    draws
        How often a share of labels below 1 is drawn.
    finetune
        Train the whole network too; with --out it is trained once for all that is asked of it.
    label_epochs
        Passes over the labels of a network that is trained on them.
    label_pace
        Learning rate of an encoder under --finetune, as a share of the head's; 0.3 if trained.
    leads
        Which leads the model is given, such as "I,II,V2", in training and in the test: one model
        can be judged with 12, 6, 3, 2 and 1. Others are hidden from it. A model of one lead takes
        any one. "all:I" fits with all and tests with lead I alone.
    out
        Folder for results (JSON with predictions beside), stores and embeddings; what is there
        is not computed again. Without it everything but the table is forgotten.
    save
        Folder for the probes themselves, one safetensors file each: arrays and JSON, no code; of
        --finetune the folder of a model with its head beside it. Of a task with several splits,
        that of the first.
    seed
        Of the probes, and of the draws of labels.
    device
        cpu, or cuda.
    precision
        bf16 embeds about twice as fast where the processor has instructions for it.
    unverified
        Believe a model that does not say what it was trained on; the result says so.
    """
    from rich.console import Console

    from nerula import bundle
    from nerula.addresses import shown
    from nerula.blend import BLENDED
    from nerula.display import Passes
    from nerula.evaluate import evaluate
    from nerula.ground import Ways
    from nerula.leads import given
    from nerula.tasks import find

    asked, chosen = find(task), given(leads)
    console = Console(highlight=False)
    passes = Passes(console)
    ways = Ways(
        probes=tuple(probes.replace(",", " ").split()) if probes else (),
        labels=_shares(labels, "--labels"),
        gaps=_shares(gaps, "--gaps") if gaps else (),
        draws=draws,
        finetune=finetune,
        leads=chosen.fitted,
        tested=chosen.tested,
        unverified=unverified,
        seed=seed,
        tuning={"epochs": label_epochs, "pace": label_pace},
        told=passes.tell,
    )
    if save is not None and BLENDED in ways.probes:
        raise UsageError("A blend is two things.", "Save each: --probes finetuned,logistic")
    if save is not None and (asked.votes > 1 or not asked.trained):
        raise UsageError(
            f"The task {task} leaves no probe that could be saved.", "Leave out --save."
        )
    ways.asked(asked)  # refuses what the task does not have before anything is prepared
    with passes, TemporaryDirectory(prefix="nerula-probe-") as temporary:
        folder = Path(temporary) if out is None else out
        loaded = bundle.load(model, device=device, precision=precision)
        leads_needed = _needed(ways, loaded.contract)
        store = opened(data, asked, loaded.contract, folder / CACHE, leads_needed)
        results: list[Result] = []
        saved: list[Path] = []
        for result in evaluate(loaded, asked, store, folder / CACHE, ways):
            results.append(result)
            console.print(f"[dim]{_in_short(result.document)}[/]")
            if out is not None:
                path = result.write(out / RESULTS)
                if asked.kind == "leads":
                    _draw(result.document["shown"], path.with_suffix(".png"))
            if save is not None:
                saved += _saved(result, save)
            results[-1] = replace(result, fitted=None, tuned=None)  # a forest is large
        _show(console, results)
        for path in saved:
            what = "Network saved" if path.is_dir() else "Probe saved"
            console.print(f"{what}: {path}", markup=False, soft_wrap=True)
        words = ["nerula", "probe", model, task, *([shown(data)] if data else [])]
        _say_next(console, " ".join(words), asked, out, saved)
    return results


def _needed(ways: "Ways", contract: "Contract") -> tuple[str, ...]:
    """The leads that were asked for, in training and test; nothing where none were."""
    if not ways.tested:
        return ways.leads
    return tuple(dict.fromkeys((*(ways.leads or contract.leads), *ways.tested)))


def _saved(result: "Result", folder: Path) -> list[Path]:
    """Save a probe as a file, a network that was trained as a folder; return where."""
    from nerula.portable import SUFFIX

    name = file_name(result.document)
    if result.tuned is not None:
        return [result.tuned.save(folder / name, result.answers, result.about)]
    fitted = result.portable()
    return [fitted.save(folder / f"{name}{SUFFIX}")] if fitted else []


def _draw(shown: dict[str, Any], path: Path) -> None:
    """The picture that a task between leads has: of its matrix, or of its first recording."""
    from nerula import across

    if "matrix" in shown:
        across.heat_map(shown, path)
    elif "example" in shown:
        across.paper(shown["example"], path)


def file_name(document: dict[str, Any]) -> str:
    """Such as "sex.logistic", or "sex.logistic.labels-0.01"."""
    way = document["way"]
    words = [document["task"]["name"], way["probe"]]
    words += [f"labels-{way['labels']:g}"] if way["labels"] < 1 else []
    words += [f"{key}-{'-'.join(way[key])}" for key in ("leads", "tested") if way.get(key)]
    return ".".join(words)


def opened(
    data: str | Path | None,
    task: "Task",
    contract: "Contract",
    cache: Path,
    asked: Sequence[str] = (),
) -> "Store":
    """The store to work on: the one given, or one prepared from a data set, once.

    It has the leads of the task or of the model, or those that are `asked` of a model of one lead.
    """
    from nerula.prepare import Options, make_store
    from nerula.readers import open_source
    from nerula.store import INDEX, Store
    from nerula.transfer import local_store

    if data is None and not task.on_sample:
        raise UsageError(
            f"The task {task.name} cannot be asked on the bundled sample.",
            f"Get its data with: nerula fetch {task.fetch} FOLDER, and name that folder.",
        )
    if data is not None and (held := local_store(data)):
        return Store.open(held)
    source = open_source(data or Path("sample"))
    if not task.suits(source.kind):
        raise UsageError(
            f"The task {task.name} is asked on {task.family}; {source.root} is {source.kind}.",
            f"Get its data with: nerula fetch {task.fetch} FOLDER",
        )
    own = contract.leads
    leads = task.leads or (tuple(asked) if asked and len(own) == 1 else own)
    if source.leads and len(source.leads) == 1 and not (task.leads or asked):
        leads = source.leads  # any model takes the one that there is
    place = cache / _store_name(source.kind, contract, leads)
    cache.mkdir(parents=True, exist_ok=True)
    if not (place / INDEX).exists():
        wanted = Options(leads=leads, rate=contract.rate, band=contract.band)
        make_store(source, place, wanted, quiet=True)
    return Store.open(place)


def _store_name(kind: str, contract: "Contract", leads: Sequence[str]) -> str:
    band = "-".join(f"{edge:g}" for edge in contract.band) if contract.band else "all"
    names = "-".join(leads) if len(leads) < 3 else f"{len(leads)}leads"
    return f"{kind}-{names}-{contract.rate:g}Hz-{band}".replace(" ", "_")


def _shares(written: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(share) for share in written.split(","))
    except ValueError:
        raise UsageError(f"{option} {written} are no shares.", 'Write "0.01,0.1,1".') from None


# --- what a person sees ----------------------------------------------------------------------


def _show(console: "Console", results: "Sequence[Result]") -> None:
    """One table of everything, then what was checked."""
    from rich import box
    from rich.table import Table

    document = results[0].document
    task, data = document["task"], document["data"]
    table = Table(
        title=f"{task['title']}: {data['tested']:,} recordings tested",
        caption=task["protocol"],
        caption_justify="left",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
    )
    for name in ("probe", "metric"):
        table.add_column(name)
    for name in ("value", "95 % interval", "chance", "n"):
        table.add_column(name, justify="right")
    for result in results:
        _add(table, result.document)
    console.print(table)
    _show_leads(console, results)
    _show_checks(console, document)


def _add(table: Any, document: dict[str, Any]) -> None:
    """The rows of one result; the task's main metric is bold."""
    way = way_in_words(document["way"])
    for name, held in document["metrics"].items():
        bold = "bold" if name == document["task"]["main"] else ""
        low, high = _figure(held["low"]), _figure(held["high"])
        table.add_row(
            way, name.replace("_", " "), _figure(held["value"]), f"{low} to {high}",
            _figure(held["chance"]), f"{held['n']:,}", style=bold,
        )  # fmt: skip
        way = ""
    many = document["task"]["kind"] == "labels"  # up to one a statement: a report shows them
    for point in [] if many else document.get("operating_points", []):
        sensitivity, specificity = point["sensitivity"], point["specificity"]
        low, high = _figure(sensitivity["low"]), _figure(sensitivity["high"])
        table.add_row(
            f"  {point['class']}", f"sens. at spec. {_figure(specificity['value'])}",
            _figure(sensitivity["value"]), f"{low} to {high}",
            _figure(1 - point["aimed_specificity"]), "", style="dim",
        )  # fmt: skip
    table.add_section()


def _show_leads(console: "Console", results: "Sequence[Result]") -> None:
    """Of a task between leads: the main metric of each lead by itself."""
    from rich import box
    from rich.table import Table

    main = results[0].document["task"]["main"]
    held = {
        way_in_words(one.document["way"]): _by_lead(one.document["shown"], main)
        for one in results
        if "shown" in one.document
    }
    leads = list(dict.fromkeys(lead for values in held.values() for lead in values))
    if not leads:
        return
    leads.sort(key=lambda lead: lead.startswith("V"))
    table = Table(title=f"{main.replace('_', ' ')} by lead", title_justify="left",
                  title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 0))  # fmt: skip
    table.add_column("")
    for lead in leads:
        table.add_column(lead, justify="right", min_width=5)
    for way, values in held.items():
        table.add_row(way, *(_figure(values[lead]) if lead in values else "" for lead in leads))
    console.print(table)


def _by_lead(shown: dict[str, Any], main: str) -> dict[str, float]:
    """What each rebuilt lead has; or how much each lead's embedding agrees with the others'."""
    if "matrix" not in shown:
        return {one["lead"]: one["metrics"][main]["value"] for one in shown["each"]}
    size = len(shown["leads"])
    sums = ((sum(row) - row[place]) / (size - 1) for place, row in enumerate(shown["matrix"]))
    return dict(zip(shown["leads"], sums, strict=True))


def way_in_words(way: dict[str, Any]) -> str:
    """Such as "logistic, 1 % of labels" or "forest, 30 % missing, masked"."""
    words = [way["probe"]]
    if way["labels"] < 1:
        words.append(f"{100 * way['labels']:g} % of labels")
    if way["gap"]:
        words.append(f"{100 * way['gap']:g} % missing, {way['filling']}")
    if way.get("leads"):
        words.append(f"leads {' '.join(way['leads'])}")
    if way.get("tested"):
        words.append(f"tested with {' '.join(way['tested'])}")
    return ", ".join(words)


def _in_short(document: dict[str, Any]) -> str:
    main, way = document["task"]["main"], way_in_words(document["way"])
    value = _figure(document["metrics"][main]["value"])
    return f"{way}: {main.replace('_', ' ')} {value} ({document['seconds']:.0f} s)"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _show_checks(console: "Console", document: dict[str, Any]) -> None:
    """Who is on which side, what is shared, what the model has seen, who fares worse."""
    fits = document["fits"]
    first = fits[0]
    sizes = ", ".join(f"{side} {first[side]:,}" for side in ("train", "choose", "test"))
    also = f" (the first of {len(fits)} fits)" if len(fits) > 1 else ""
    console.print(f"Recordings{also}: {sizes}.")
    if lacking := document["data"].get("lacking"):
        console.print(f"Left out because they lack a lead: {lacking:,}.")
    if document["task"]["kind"] != "identity":
        shared = sum(one["shared_subjects"] + one["shared_signals"] for one in fits)
        console.print(f"Subjects and signals on two sides, counted: {shared}.")
    if doubt := document["windows"].get("doubt"):
        console.print(f"[yellow]Leads hidden:[/] {doubt}.")
    status = document["provenance"]
    colour = {"checked": "green", "unknown": "yellow"}.get(status["status"], "red")
    console.print(f"[{colour}]Pretraining {status['status']}:[/] {status['detail']}.")
    main = document["task"]["main"]
    groups = [
        f"{one['group']} {_figure(one['metrics'][main]['value'])} (n {one['n']:,})"
        for one in document["subgroups"]
        if one["metrics"] and one["metrics"][main]["value"] is not None
    ]
    if groups:
        way = way_in_words(document["way"])
        console.print(f"{main.replace('_', ' ')} by group, {way}: {', '.join(groups)}.")


def _say_next(
    console: "Console", command: str, task: "Task", out: Path | None, saved: "Sequence[Path]"
) -> None:
    say = [f"Written to {out / RESULTS / task.name}"] if out else []
    if saved:
        say.append(f"Next: nerula predict {saved[0]} SOURCE answers.csv")
    elif out is None:
        say.append("To keep this: the same command with --out probed")
    elif task.trained:
        say.append(f"Next: {command} --labels 0.01,0.1,1 --gaps 0.1,0.3,0.6 --out {out}")
    else:
        say.append(f"Next: nerula report {out}")
    console.print("\n".join(say), markup=False, soft_wrap=True)
