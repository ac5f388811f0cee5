"""`nerula demo`: the whole story on the bundled real sample, in a few minutes on two cores."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from nerula.model import Model
    from nerula.store import Store

SHOWN = ("NORM", "AFIB", "CLBBB", "PVC")
"""Statements of which the demo draws one recording each."""
HIDDEN = ((1.2, 1.45), (2.9, 3.2), (4.6, 4.9), (6.4, 6.8), (8.3, 8.6))
"""Stretches in seconds that it hides and fills again."""


def demo(folder: Path = Path("nerula-demo"), *, epochs: int = 8, jobs: int = 2) -> int:
    """Check, prepare, train, embed, fill gaps, ask and report, on 1,200 real recordings.

    Everything it makes lies in one folder. Started again, it continues or only shows the results.

    Parameters
    ----------
    folder
        Where to write.
    epochs
        Passes over the sample's 960 training recordings.
    jobs
        Processes for checking and preparing.
    """
    from nerula.check import check
    from nerula.prepare import prepare

    started = time.monotonic()
    console = Console(highlight=False)
    console.print(
        "1,200 recordings of PTB-XL 1.0.3 (Wagner et al. 2020), lead II, 100 Hz, 10 s,\n"
        "https://doi.org/10.13026/kfzx-aw45, CC BY 4.0: they came with this package.\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    source, place = Path("sample"), folder / "store"

    _say(console, 1, "Can the recordings be trusted?", f"nerula check {source}")
    check(source, jobs=jobs)
    _say(console, 2, "Raw recordings to a store", f"nerula prepare {source} {place} --leads II")
    prepare(source, place, leads="II", jobs=jobs)
    made = [_draw(place, folder)]
    made += _learn(console, place, folder, epochs)
    made.append(_tell(console, place, folder))

    console.print(f"\n[bold]Done in {time.monotonic() - started:.0f} s.[/] Look at")
    for path in made:
        console.print(f"  {escape(str(path))}")
    console.print(
        "\nNext: nerula check FOLDER with your own recordings,\n"
        "or all of PTB-XL: nerula fetch ptbxl100 FOLDER"
    )
    return 0


def _learn(console: Console, place: Path, folder: Path, epochs: int) -> list[Path]:
    """Train a small model, embed every recording, fill what was hidden."""
    from nerula import bundle, figures
    from nerula.embed import embed
    from nerula.pretrain import pretrain
    from nerula.run import METRICS
    from nerula.store import Store

    run, out = folder / "run", folder / "embeddings.npy"
    options = f"--epochs {epochs} --batch 32"
    _say(console, 3, "Learn without labels", f"nerula pretrain nerula {place} {run} {options}")
    pretrain("nerula", place, run, epochs=epochs, batch=32)

    _say(console, 4, "Embed every recording", f"nerula embed {run} {place} {out}")
    embed(str(run), place, out)

    store, model = Store.open(place), bundle.load(run)
    _say(console, 5, "Fill gaps", f"nerula impute {run} FILE OUT.csv --picture OUT.png")
    return [
        figures.curves(run / METRICS, folder / "curves.png"),
        _map(store, out, folder),
        _fill(store, model, folder),
    ]


def _tell(console: Console, place: Path, folder: Path) -> Path:
    """Ask the embeddings two questions, and put everything on one page."""
    from nerula.probe import probe
    from nerula.report import report

    run, out, page = folder / "run", folder / "probed", folder / "report.html"
    for number, (task, kind) in enumerate((("sex", "logistic"), ("age", "ridge")), 6):
        command = f"nerula probe {run} {task} {place} --probes {kind} --out {out}"
        _say(console, number, f"What do they know of {task}?", command)
        probe(str(run), task, place, probes=kind, out=out)
    _say(console, 8, "Everything on one page", f"nerula report {folder} --out {page}")
    report(folder, out=page, title="Nerula: the demo")
    return page


def _say(console: Console, number: int, what: str, command: str) -> None:
    console.rule(f"[bold]{number}  {what}", align="left")
    console.print(f"[dim]$ {escape(command)}[/]", soft_wrap=True)


def _of_statement(store: "Store", statement: str, folds: tuple[str, ...] = ()) -> int:
    """The first recording with a statement, in one of the folds where any are named."""
    labels, fold = store.column("labels"), store.column("fold")
    return next(
        i for i in range(len(store)) if statement in labels[i] and (not folds or fold[i] in folds)
    )


def _draw(place: Path, folder: Path) -> Path:
    """One recording of each kind on ECG paper."""
    from nerula import plot
    from nerula.store import Store

    store = Store.open(place)
    rate = store.contract.rate
    chosen = [_of_statement(store, statement) for statement in SHOWN]
    figure, axes = plot.strip(store.lengths[chosen].max() / rate, len(chosen), millivolts=2.5)
    names = store.column("name")
    for one, statement, i in zip(axes, SHOWN, chosen, strict=True):
        x, valid = store.read(i)
        label = f"{statement}  PTB-XL {names[i]}  II"
        plot.ecg_paper(one, x[0], rate, valid[0], millivolts=2.5, label=label)
    title = "25 mm/s, 10 mm/mV. PTB-XL 1.0.3, Wagner et al. 2020, CC BY 4.0"
    plot.headline(figure, title)
    return plot.save(figure, folder / "recordings.png")


def _map(store: "Store", embeddings: Path, folder: Path) -> Path:
    """Where the recordings lie, coloured by what their reports say."""
    import numpy as np

    from nerula import figures

    labels = store.column("labels")
    groups = {
        name: np.array([statement in held for held in labels])
        for name, statement in (
            ("normal", "NORM"),
            ("atrial fibrillation", "AFIB"),
            ("left bundle branch block", "CLBBB"),
        )
    }
    z = np.load(embeddings, allow_pickle=False)
    return figures.embedding_map(z, groups, folder / "map.png", "Learned without these labels")


def _fill(store: "Store", model: "Model", folder: Path) -> Path:
    """Hide stretches of recordings that were not trained on, and fill them again."""
    from nerula import figures

    rate, names = store.contract.rate, store.column("name")
    rows = []
    for statement in SHOWN[:3]:
        i = _of_statement(store, statement, folds=("9", "10"))
        x, valid = store.read(i)
        for begin, end in HIDDEN:
            valid[:, round(begin * rate) : round(end * rate)] = False
        guess = model.impute(x[0], rate, lead=store.contract.leads[0], valid=valid[0])
        rows.append((f"{statement}  {names[i]}", x[0], valid[0], guess))
    title = "Hidden from the model and filled by it (blue); folds 9 and 10, never trained on"
    return figures.filled(rows, rate, folder / "filled.png", title)
