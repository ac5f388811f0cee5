"""The verb `pretrain`: a method, a store and a folder to a trained model."""

import json
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from nerula import __version__
from nerula.batches import Batches
from nerula.beginning import Beginning, begin
from nerula.bundle import save
from nerula.census import seen
from nerula.display import Display
from nerula.errors import NerulaError, UsageError
from nerula.machine import Machine
from nerula.method import Method
from nerula.methods import find, make
from nerula.options import split
from nerula.ranks import Ranks
from nerula.run import CONFIG, MODEL, Run, read_json
from nerula.store import Store
from nerula.train import train
from nerula.transfer import needed_store

UNFITTING = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What torch and Python raise where shapes or numbers do not fit."""
STOPPED = 143
"""Exit code of a training that was told to stop: 128 + SIGTERM."""


Watch = Callable[[Method, int, int, bool], None]
"""Is told the method, its window in samples, how many epochs have passed, and whether products
are in bfloat16."""


def pretrain(
    method: str,
    store: str | Path,
    run: Path,
    *,
    preset: str | None = None,
    start: str | Path | None = None,
    watch: Watch | None = None,
    farewell: bool = True,
    **options: Any,
) -> int:
    """Train METHOD on STORE; everything goes into the folder RUN, and the model into RUN/model.

    The store of an address, such as s3://bucket/store, is brought into the cache first.

    `options` are those of the loop (`nerula.options.Options`) and the method's own arguments. With
    `start`, a model of the same method, the training goes on from its weights and arguments. A
    run that was interrupted, by whatever, is continued by the same call. Controls have nothing to
    learn, and with no epochs nothing is learned: their model is written at once. `watch` looks at
    the method after each epoch, and may end the training by an exception of its own; without
    `farewell` nothing is said at the end, for whoever has several to train. Returns an exit code.
    """
    store = needed_store(store)
    kind, data = find(method), Store.open(store)
    begun = begin(method, start, preset, data.contract)
    loop, arguments = split(kind, preset, options, begun.arguments)
    if not kind.trains:
        loop = replace(loop, epochs=0)
    leads = begun.leads(loop.leads, data.contract.leads)
    if "leads" in arguments:
        arguments["leads"] = len(leads)
    if "rate" in arguments:
        arguments["rate"] = data.contract.rate
    machine = _kept_machine(run) or Machine.chosen(loop)
    ranks = Ranks.join(machine.device)
    try:
        device = machine.enter(ranks.local)
        torch.manual_seed(loop.seed)
        model = begun.given(make(kind, arguments)).to(device)
        share = (ranks.rank, ranks.world)
        batches = Batches(data, model.needs, loop, device, leads=leads, share=share)
        work = partial(
            train, model, batches, loop, run, bf16=machine.bf16, ranks=ranks,
            after_epoch=_looking(watch, model, batches, machine),
        )  # fmt: skip
        if ranks.rank:
            ranks.wait()
            if batches.steps:
                work()
            return 0
        config = {
            "method": method,
            "arguments": arguments,
            "options": asdict(loop),
            "machine": asdict(machine),
            "store": {"path": str(store), "digest": data.digest, "recordings": len(batches.index)},
            **begun.digest,
        }
        if batches.lacking:
            words = f"{batches.lacking} recordings lack one of {' '.join(leads)}: left out."
            Console(highlight=False).print(words, soft_wrap=True)
        with Run(run, config) as record:
            ranks.wait()
            if record.state.get("status") == "finished" and (run / MODEL).exists():
                if farewell:
                    _farewell(record, store)
                return 0
            given = {"preset": preset, "start": start, **options}
            command = _command(method, store, run, given)
            _say_new_number(record, ranks.world)
            facts = {"command": command, "nerula": __version__, "machine": machine.facts()}
            record.note(**facts, ranks=ranks.world)
            if not batches.steps:  # a control, or --epochs 0: the model as it was built
                record.note(steps=0, seconds=0.0)
            elif not _finished(record, work, batches.steps):
                return STOPPED
            save(
                run / MODEL,
                model,
                name=method,
                arguments=arguments,
                contract=replace(data.contract, leads=batches.leads),
                window=batches.window,
                training=_provenance(record, config, _data(data, batches), begun),
            )
            record.note(status="finished", problem=None)
            if farewell:
                _farewell(record, store)
            return 0
    finally:
        ranks.leave()


def _looking(
    watch: Watch | None, model: Method, batches: Batches, machine: Machine
) -> Callable[[int], None] | None:
    """What the loop tells about epochs, for somebody who wants to see the method."""
    if watch is None:
        return None
    return lambda epoch: watch(model, batches.window, epoch, machine.bf16)


def _kept_machine(run: Path) -> Machine | None:
    """What an earlier start decided."""
    if not (run / CONFIG).exists():
        return None
    try:
        return Machine(**read_json(run / CONFIG)["machine"])
    except (KeyError, TypeError):
        raise UsageError(f"{run} is not the folder of a run.", "Name a new one.") from None


def _say_new_number(record: Run, ranks: int) -> None:
    """Say what changes where a run is continued by another number of processes."""
    before, step = record.state.get("ranks", ranks), record.state.get("step", 0)
    if before != ranks and step:
        Console(highlight=False).print(
            f"{before} processes trained until step {step}, from here on {ranks}. Batches, masks "
            "and losses stay those of the whole batch; sums are taken in another order, so the "
            "weights differ in their last digits from an undisturbed run's, and dropout draws "
            "other numbers.",
            soft_wrap=True,
        )


def _finished(record: Run, work: Callable[..., int], steps: int) -> bool:
    """Train, and write down how it went; False where somebody stopped it."""
    # A kill between the last checkpoint and its note leaves no seconds behind.
    seconds = record.state.get("seconds", 0.0)
    record.note(status="training", problem=None, steps=steps, seconds=seconds)
    console = Console()
    try:
        with Display(console, steps, record.state.get("step", 0)) as display:
            step = work(run=record, show=display.show)
    except (NerulaError, MemoryError, *UNFITTING) as error:
        problem = _out_of_memory(error) or _unfitting(error, record) or error
        with suppress(NerulaError):  # the disk may be full
            record.note(status="failed", problem=str(problem))
        raise problem from error
    if step < steps:
        record.note(status="stopped")
        console.print(
            f"Stopped after step {step} of {steps}; the same command continues.", soft_wrap=True
        )
    return step == steps


def _unfitting(error: Exception, record: Run) -> NerulaError | None:
    """What to say where not even a step was made: arguments that do not go together."""
    if isinstance(error, NerulaError) or next(record.rows(), None):
        return None
    return NerulaError(
        f"The first step failed: {error}.",
        "Arguments of the method that do not go together are the likeliest reason; "
        "--debug shows where.",
    )


def _out_of_memory(error: Exception) -> NerulaError | None:
    """What to say where memory was too small."""
    text = str(error).lower()
    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and (
        "allocate memory" not in text and "out of memory" not in text
    ):
        return None
    return NerulaError(
        "Out of memory.",
        "The run keeps its last checkpoint, but cannot change its batch: start another with a "
        "smaller --batch.",
    )


def _data(store: Store, batches: Batches) -> dict[str, Any]:
    """What was trained on; of a method that saw any of several leads, also which."""
    leads = {"leads": list(store.contract.leads)} if batches.any_lead else {}
    return seen(store, batches.index) | leads


def _provenance(
    record: Run, config: Mapping[str, Any], data: Mapping[str, Any], begun: Beginning
) -> dict[str, Any]:
    """Where a model comes from, for its config and its card."""
    ended = [row for row in record.rows() if "embedding_rank" in row]
    last = ended[-1] if ended else {}
    measured = {name: last[name] for name in last if name not in ("epoch", "lr", "step")}
    return {
        "data": dict(data),
        "command": record.state["command"],
        "options": config["options"],
        "machine": record.state["machine"],
        "seconds": record.state["seconds"],
        "steps": record.state["steps"],
        "collapsed": bool(record.state.get("collapsed")),
        "last epoch": measured,
        **begun.provenance,
    }


def _farewell(record: Run, store: Path) -> None:
    console = Console(highlight=False)
    state, model = record.state, record.folder / MODEL
    if state.get("collapsed"):
        console.print(
            "[bold white on red] COLLAPSED [/] [bold red]The model was written, but it tells "
            "recordings hardly apart.[/]"
        )
    steps = f"{state['steps']} step" + "s" * (state["steps"] != 1)
    seconds = f"{steps} in {state['seconds']:.0f} s"
    console.print(f"{seconds}: {escape(str(model))}", soft_wrap=True)
    out = record.folder / "embeddings.npy"
    console.print(f"Next: nerula embed {model} {store} {out}", markup=False, soft_wrap=True)


def _command(method: str, store: Path, run: Path, options: Mapping[str, Any]) -> str:
    """The command line that asks for the same."""
    words = ["nerula", "pretrain", method, str(store), str(run)]
    for name, value in options.items():
        if value is None:
            continue
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, list | tuple):
            words += [flag, json.dumps(value, separators=(",", ":"))[1:-1]]
        else:
            words += [flag, str(value)]
    return shlex.join(words)


# --- the command line ------------------------------------------------------------------------
