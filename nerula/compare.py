"""The verb `compare`: methods x tasks x seeds under one budget, beside the paper's figures."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nerula.completion import RowNames, TaskNames
from nerula.errors import UsageError
from nerula.files import alone

if TYPE_CHECKING:
    from rich.console import Console

    from nerula.comparison.plan import Cell, Plan
    from nerula.comparison.request import Request
    from nerula.comparison.rows import Row
    from nerula.store import Store
    from nerula.tasks import Task

STORES = "stores"
STOPPED = 143
"""Exit code of a comparison that was told to stop: 128 + SIGTERM."""


def compare(
    methods: RowNames = "",
    tasks: TaskNames = "",
    *,
    data: Annotated[Sequence[str], Parameter(consume_multiple=True, negative="")] = (),
    out: Path = Path("compared"),
    epochs: int = 10,
    seeds: str = "0",
    paper: Annotated[bool, Parameter(negative="")] = False,
    quick: Annotated[bool, Parameter(negative="")] = False,
    show: Annotated[bool, Parameter(negative="")] = False,
    gather: Annotated[Sequence[Path], Parameter(consume_multiple=True, negative="")] = (),
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    on: str = "",
    probes: str = "",
    labels: str = "1",
    gaps: str = "",
    leads: Annotated[Sequence[str], Parameter(consume_multiple=True, negative="")] = (),
    finetune: Annotated[bool, Parameter(negative="")] = False,
    settings: Annotated[
        Sequence[str], Parameter(name="--set", consume_multiple=True, negative="")
    ] = (),
    large: bool | None = None,
    label_epochs: int = 0,
    label_pace: float | None = None,
    batch: int = 128,
    folds: str = "1-8",
    window: float = 10.24,
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
) -> int:
    """Train methods alike, ask them the same, and print tables with intervals.

    Everything goes into one folder; killed at any moment, the same command continues, and what is
    finished is not computed again. METHODS are names with commas (nerula, byol, simclr, cmsc,
    timae, supervised, random_init, random_convolutions, heart_rate, majority, ...; docs/compare.md
    has all), TASKS those of `nerula probe`. Exit code 1 where anything failed.

    Parameters
    ----------
    methods
        What to compare, such as "nerula,byol,random_init".
    tasks
        What to ask, such as "sex,age,arrhythmia".
    data
        NAME=FOLDER of each data set: a store, or the publisher's folder, which is prepared.
        Names are ptbxl, challenge2017, ucihar, ecgid. Without any, the bundled sample.
    out
        Where everything goes.
    epochs
        Passes over the recordings, the same for every method.
    seeds
        Of the trainings, such as "0,1,2".
    paper
        All that the paper's tables 1 to 6 need, instead of METHODS and TASKS.
    quick
        All methods in miniature on a part of the bundled sample: shows that everything works.
    show
        Compute nothing: print again what is in --out.
    gather
        Other folders of the same data and budget, such as rows made on other machines: what is
        finished there is copied into --out and counts there. Nothing is computed.
    dry_run
        Check the protocol, list what would be computed, and stop.
    on
        The NAME of the data to pretrain on: ptbxl, unless there is only another.
    probes
        Such as "forest,logistic"; all that a task has, by default.
    labels
        Shares of the training labels, such as "0.01,0.1,1".
    gaps
        Shares of every test recording to take away, such as "0.1,0.3,0.6".
    leads
        Which leads the models are given, one set after the other, such as "all I,II,V2 I": a
        model of several is asked with each, one of a single lead with each set of one. "all:I"
        fits with all and tests with lead I alone.
    finetune
        Train the whole network on each task too, beside the frozen embeddings.
    settings
        Options of a method, such as "nerula.ema=0" or "*.lr=0.0003" for all.
    large
        ResNet-50 for every ResNet, as in the paper; by default on an accelerator only.
    label_epochs
        Passes over the labels of what is trained on them; 0 takes --epochs.
    label_pace
        Learning rate of an encoder under --finetune, as a share of the head's; 0.3 if trained.
    batch
        Recordings per step.
    folds
        Which folds all rows are trained on, such as 1-8, or cpsc_2018,ptb of a Challenge 2020.
        Those that judge are refused.
    window
        Seconds per window.
    device
        auto, cpu or cuda.
    precision
        Of the trainings: auto, bf16 or fp32.
    threads
        Of the CPU; 0 takes all cores.
    """
    from rich.console import Console

    from nerula.comparison import terminal
    from nerula.comparison.gather import gather as gathered
    from nerula.comparison.plan import FAILED, Budget, Plan, parse_seeds
    from nerula.comparison.publish import publish
    from nerula.comparison.request import listed, named, numbers, of_sample, of_tables
    from nerula.comparison.tables import of_paper, of_tasks
    from nerula.leads import Given, given
    from nerula.options import Options

    console = Console(highlight=False)
    if gather:
        if paper or quick or methods or tasks or dry_run:
            raise UsageError("--gather computes nothing.", "Gather first, then compare.")
        with _alone(out):
            terminal.show_gathered(console, gathered(out, gather))
    if show or gather:
        plan = Plan.read(out)
        publish(plan, console)
        return int(any(cell.status == FAILED for cell in plan.cells.values()))
    if sum((paper, quick, bool(methods or tasks))) != 1:
        raise UsageError("Say METHODS and TASKS, or --paper, or --quick.")
    if (paper or quick) and (probes or gaps or leads or finetune or labels != "1"):
        raise UsageError(
            f"--{'paper' if paper else 'quick'} has its own probes, labels, gaps and leads.",
            "Leave out --probes, --labels, --gaps, --leads and --finetune, or say METHODS and "
            "TASKS.",
        )
    machine: dict[str, Any] = {"device": device, "precision": precision, "threads": threads}
    Options(epochs=epochs, batch=batch, window=window, **machine)  # refuses what cannot be meant
    budget = Budget(epochs=epochs, batch=batch, window=window, folds=folds)
    if quick:
        request = of_sample()
    else:
        ways: dict[str, Any] = {"probes": listed(probes), "finetune": finetune}
        ways |= {"labels": numbers(labels), "gaps": numbers(gaps)}
        ways["leads"] = [given(one) for one in leads] or [Given()]
        asked = of_paper() if paper else of_tasks(listed(methods), listed(tasks), **ways)
        request = of_tables(asked, budget, label_epochs or epochs, label_pace)
    request = request.configured(settings, large=_is_large(large, device))
    work = _Work(request, named(data), out, on)
    return work.run(console, parse_seeds(seeds), machine, dry=dry_run)


class _Work:
    """One comparison, from its data to its tables."""

    def __init__(self, request: "Request", data: Mapping[str, Path], out: Path, on: str) -> None:
        self.request, self.data, self.out, self.on = request, data, out, on

    def run(
        self, console: "Console", seeds: Sequence[int], machine: Mapping[str, Any], *, dry: bool
    ) -> int:
        """Prepare, check, compute, publish; the exit code."""
        with _alone(self.out):
            return self._run(console, seeds, machine, dry)

    def _run(
        self, console: "Console", seeds: Sequence[int], machine: Mapping[str, Any], dry: bool
    ) -> int:
        from nerula.comparison import checks, kept, terminal
        from nerula.comparison.publish import publish
        from nerula.comparison.work import Hands, StoppedError, compute
        from nerula.display import Passes
        from nerula.pretrain import pretrain

        request = self.request
        tasks = {task.name: self._store(task.family, task) for task in request.tasks}
        training = {row.name: self._training(row) for row in request.rows.values()}
        request = self.request = request.on(
            {name: store.contract.leads for name, store in training.items()}
        )
        plan, cells = self._planned(tasks, training, seeds)
        terminal.show_taken(console, kept.settle(plan))
        work = kept.work(plan, cells)
        tasks |= self._answered_before(plan, work, tasks)
        terminal.show_checks(console, checks.summed(plan.checks), {})
        if dry:
            terminal.show_plan(console, plan, work)
            return 0
        plan.save()
        passes = Passes(console)

        def say(cell: "Cell", outcome: str) -> None:
            passes.stop()  # one that failed has left its line
            terminal.say(console, plan, cell, outcome)

        hands = Hands(
            asked=work,
            pretrain=pretrain,
            rows=request.rows,
            training={name: store.path for name, store in training.items()},
            tasks=tasks,
            machine=machine,
            say=say,
            told=passes.tell,
        )
        try:
            with passes:
                complete = compute(plan, hands)
        except StoppedError:
            console.print("Stopped; the same command continues.")
            return STOPPED
        page = publish(plan, console)
        console.print(f"Written to {page} and {page.parent / 'tables'}", soft_wrap=True)
        if not complete:
            console.print("[bold red]Something failed[/]; the same command tries it again.")
        console.print(f"Next: nerula compare --show --out {self.out}", soft_wrap=True)
        return int(not complete)

    def _planned(
        self, tasks: Mapping[str, "Store"], training: Mapping[str, "Store"], seeds: Sequence[int]
    ) -> "tuple[Plan, list[str]]":
        """Check the protocol; the plan of the folder, and the cells of it that are wanted now."""
        from nerula.comparison import checks
        from nerula.comparison.plan import FILE, Plan, Sources, make

        request, budget = self.request, self.request.budget
        pairs = {
            (training[row.name].path.name, task): training[row.name]
            for row in request.rows.values()
            for task in request.asked(row)
        }
        counted = checks.before(tasks, pairs, budget.folds)
        sources = Sources(
            tasks={name: store.digest for name, store in tasks.items()},
            training={name: (one.digest, self._epochs(one)) for name, one in training.items()},
        )
        cells = make(
            request.tables, request.rows, seeds,
            budget=budget, sources=sources, tuning=request.tuning,
        )  # fmt: skip
        held = {f"task {name}": _described(store) for name, store in tasks.items()}
        held |= {f"pretraining {name}": _described(store) for name, store in training.items()}
        plan = Plan(
            self.out, asdict(budget), held,
            [asdict(row) for row in request.rows.values()], list(request.tables), cells, counted,
        )  # fmt: skip
        if (self.out / FILE).exists():
            plan = plan.joined(Plan.read(self.out))
        return plan, list(cells)

    def _answered_before(
        self, plan: "Plan", work: Sequence[str], tasks: Mapping[str, "Store"]
    ) -> "dict[str, Store]":
        """The stores of tasks that nobody asks for now, but that may have to be asked again."""
        from nerula.tasks import find

        stores: dict[str, Store] = {}
        for cell in (plan.cells[name] for name in work if plan.cells[name].needs):
            name = cell.inputs["task"]
            if name in tasks or name in stores:
                continue
            why = f"{cell.row} has answered {name} too, and may have to be asked again."
            task = find(name)
            try:
                store = self._store(task.family, task)
            except UsageError as error:
                raise UsageError(f"{why} {error.message}", error.remedy) from None
            if store.digest != cell.inputs["store"]:
                raise UsageError(f"{why} {store.path} is not the store that it was asked on.")
            stores[name] = store
        return stores

    def _store(self, family: str, task: "Task | None" = None, *, alone: bool = False) -> "Store":
        """The store of a data set: the one that was named, or one prepared from it.

        It is prepared with all leads where rows of several are trained on it, unless `alone`.
        """
        from nerula.contract import Contract
        from nerula.probe import opened
        from nerula.readers.names import STANDARD
        from nerula.store import INDEX, Store

        if not self.data and (task is None or task.on_sample):
            return _sample(self.out / STORES, self.request.limit)
        if family not in self.data:
            fetch = task.fetch if task else family
            raise UsageError(
                f"The data set {family} is needed.",
                f"Add --data {family}=FOLDER; it comes from: nerula fetch {fetch} FOLDER",
            )
        folder = self.data[family]
        if (folder / INDEX).exists():
            return Store.open(folder)
        if task is None:
            raise UsageError(f"{folder} is no store.", f"First: nerula prepare {folder} STORE")
        several = family == self._pretrained and not alone and self.request.several(self.out)
        leads = STANDARD if several else ("II",)
        return opened(folder, task, Contract(leads, 100.0), self.out / STORES)

    @property
    def _pretrained(self) -> str:
        """The data set that rows are pretrained on."""
        return self.on or ("ptbxl" if "ptbxl" in self.data else next(iter(self.data), "ptbxl"))

    def _main(self, *, alone: bool = False) -> "Store":
        """The store that rows are pretrained on; of one lead where it is joined with another."""
        from nerula.tasks import TASKS

        name = self._pretrained
        whole = (one for one in TASKS.values() if one.family == name and not one.leads)
        return self._store(name, next(whole, None), alone=alone)

    def _training(self, row: "Row") -> "Store":
        """The store that a row is pretrained on."""
        from nerula.comparison import checks, joined
        from nerula.tasks import find

        main = self._main(alone=bool(row.without))
        if not row.without:
            return main
        task = find(row.without)
        chosen = checks.chosen(main, self.request.budget.folds)
        place = self.out / STORES / f"{main.path.name}-and-{task.family}"
        return joined.join(main, chosen, self._store(task.family, task), task, place)

    def _epochs(self, store: "Store") -> int:
        """Passes over a store, so that as many recordings are seen as of the main one."""
        from nerula.comparison.checks import chosen

        budget = self.request.budget
        main, own = (len(chosen(one, budget.folds)) for one in (self._main(), store))
        return max(1, round(budget.epochs * main / own)) if budget.epochs else 0


def _alone(out: Path) -> AbstractContextManager[None]:
    """Keep other comparisons out of a folder."""
    out.mkdir(parents=True, exist_ok=True)
    return alone(out / ".lock", UsageError(f"Another process is comparing in {out} right now."))


def _sample(folder: Path, limit: int | None) -> "Store":
    """The bundled sample, or a part of it."""
    from nerula import sample
    from nerula.prepare import Options, make_store
    from nerula.store import INDEX, Store

    place = folder / ("sample" if limit is None else f"sample-{limit}")
    if not (place / INDEX).exists():
        folder.mkdir(parents=True, exist_ok=True)
        make_store(sample.load(), place, Options(leads=("II",), limit=limit))
    return Store.open(place)


def _described(store: "Store") -> dict[str, Any]:
    """What a comparison says about its data: no paths."""
    source = store.facts.get("source") or {}
    return {
        "store": store.digest,
        "kind": source.get("kind"),
        "recordings": len(store),
        "parts": source.get("parts"),
    }


def _is_large(asked: bool | None, device: str) -> bool:
    """Whether ResNets are as large as the paper's."""
    if asked is not None:
        return asked
    from nerula.machine import Machine
    from nerula.options import Options

    return Machine.chosen(Options(device=device)).device.startswith("cuda")
