"""The one loop, for every method. Read it from top to bottom.

What a step does depends on the seed, the step and the weights alone: the order of the data and
the random numbers of a step are derived from (seed, step), the learning rate from the step, and no
clock decides anything that the weights see. So weights and optimiser are all that a checkpoint has
to hold, and a run that was killed ends with the weights of one that was not. Only what torch draws
by itself (dropout) is derived from (seed, step, rank).
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nerula.batches import Batches
from nerula.errors import NerulaError
from nerula.loss import effective_rank, spread
from nerula.method import Batch, Method
from nerula.options import Options
from nerula.ranks import Ranks
from nerula.run import Run, newest

PROBED = 256
"""Recordings whose embeddings are watched for collapse, after every epoch."""
SETTLED, LEAST_RANK, LEAST_SPREAD = 0.1, 1.5, 0.01
"""After this share of the training, embeddings of less rank or spread count as collapsed."""
FLUSH_SECONDS = 1.0

Show = Callable[[list[dict[str, Any]]], None]
"""What shows the newest lines of metrics.jsonl to a person."""


class Beside(Protocol):
    """What goes on beside a training and is part of its checkpoints."""

    def tensors(self) -> Mapping[str, Tensor]:
        """All that it has to remember."""

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what it remembered."""


def train(
    method: Method,
    batches: Batches,
    options: Options,
    folder: Path | None = None,
    *,
    bf16: bool = False,
    ranks: Ranks = Ranks(),  # noqa: B008 (immutable)
    run: Run | None = None,
    show: Show | None = None,
    after_epoch: Callable[[int], None] | None = None,
    beside: Beside | None = None,
) -> int:
    """Train `method` to the end, or until somebody says stop; return the steps that are done.

    `folder` holds the checkpoints to continue from; `run` writes them, on the first rank only.
    `after_epoch` is told how many epochs have passed; a checkpoint holds what is `beside`, too.
    """
    device, steps = batches.device, batches.steps
    optimiser = _optimiser(method, options)
    step = _restore(folder, method, optimiser, beside) if folder else 0
    ranks.agree(step, device)
    journal = Journal(run, batches, step, show)
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    forward = torch.compile(method) if options.compile else method
    generator = torch.Generator(device)
    saved, kept = time.monotonic(), step

    method.train()
    with _listening() as told:
        while step < steps and not told:
            progress, rate = step / steps, _rate(step, steps, options)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["pace"]

            torch.manual_seed(_seed(options.seed, step, ranks.rank))
            generator.manual_seed(_seed(options.seed, step, 0))  # the same on all ranks
            x, valid, subject, labels = batches.at(step)
            batch = Batch(x, valid, subject, generator, labels)

            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                parts = forward(batch, progress)
            optimiser.zero_grad()
            parts["loss"].backward()
            gradients = [one.grad for one in parameters if one.grad is not None]
            measured = [part.detach() for part in parts.values()]
            if ranks.average([*measured, *gradients], bool(told)):
                told.append(signal.SIGTERM)
            norm = nn.utils.clip_grad_norm_(parameters, options.clip or math.inf)
            optimiser.step()
            step += 1
            method.after_step(step / steps)

            ended = step % batches.per_epoch == 0
            watched = None
            if ended:
                with journal.paused(norm):
                    watched = _probe(method, batches, bf16)
            journal.add(step, rate, norm, parts, watched)
            if ended and after_epoch is not None:
                journal.flush()  # first, because it refuses what is not a number
                with journal.paused(norm):
                    after_epoch(step // batches.per_epoch)
            due = _due(step, saved, options)
            if run is not None and (due or told or step == steps):
                journal.flush()
                run.save(step, state(method, optimiser, beside))
                saved, kept = time.monotonic(), step
    journal.flush()
    if run is not None and kept < step:  # told to stop behind the last step's checkpoint
        run.save(step, state(method, optimiser, beside))
    return step


def _due(step: int, saved: float, options: Options) -> bool:
    """Whether it is time for a checkpoint."""
    if options.checkpoint_steps:
        return step % options.checkpoint_steps == 0
    return time.monotonic() - saved > 60 * options.checkpoint_minutes


def state(
    method: Method, optimiser: torch.optim.Optimizer, beside: Beside | None = None
) -> dict[str, Tensor]:
    """Everything that a checkpoint holds, by name."""
    found = {f"method/{name}": tensor for name, tensor in method.state_dict().items()}
    for name, parameter in method.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            found[f"optimiser/{name}/{key}"] = value
    if beside is not None:
        found |= {f"beside/{name}": tensor for name, tensor in beside.tensors().items()}
    return found


def _restore(
    folder: Path, method: Method, optimiser: torch.optim.Optimizer, beside: Beside | None
) -> int:
    """Continue from the newest checkpoint in `folder`, if there is one; return its step."""
    checkpoint = newest(folder)
    if checkpoint is None:
        return 0
    step, tensors = checkpoint
    weights = {name[7:]: one for name, one in tensors.items() if name.startswith("method/")}
    try:
        method.load_state_dict(weights)
    except RuntimeError as error:
        raise NerulaError(f"The checkpoint in {folder} is not of this method: {error}") from error
    numbers = {id(p): i for i, p in enumerate(_grouped(optimiser))}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, parameter in method.named_parameters():
        prefix = f"optimiser/{name}/"
        kept = {one[len(prefix) :]: tensors[one] for one in tensors if one.startswith(prefix)}
        if kept:
            moments[numbers[id(parameter)]] = kept
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    if beside is not None:
        beside.take({name[7:]: one for name, one in tensors.items() if name.startswith("beside/")})
    return step


def _optimiser(method: Method, options: Options) -> torch.optim.AdamW:
    """AdamW: matrices decay, vectors do not, and each part learns at its own pace."""
    groups: dict[tuple[bool, float], list[Tensor]] = {}
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            paces = (pace for part, pace in method.paces.items() if name.startswith(f"{part}."))
            groups.setdefault((parameter.ndim > 1, next(paces, 1.0)), []).append(parameter)
    listed = [
        {"params": members, "weight_decay": options.weight_decay if matrix else 0.0, "pace": pace}
        for (matrix, pace), members in groups.items()
    ]
    return torch.optim.AdamW(listed, lr=options.lr, betas=(0.9, options.beta2), fused=True)


def _grouped(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """The parameters in the order in which the optimiser counts them."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _rate(step: int, steps: int, options: Options) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    warm = max(1, round(options.warmup * steps))
    if step < warm:
        return options.lr * (step + 1) / warm
    return options.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _seed(seed: int, step: int, rank: int) -> int:
    """One number for (seed, step, rank), unlike its neighbours'."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1)


@torch.no_grad()
def _probe(method: Method, batches: Batches, bf16: bool) -> tuple[float, float]:
    """How many directions the embeddings of some recordings use, and how far they spread."""
    rows = batches.index[:: max(1, len(batches.index) // PROBED)][:PROBED]
    x, valid, *_ = batches.windows(rows, np.zeros(len(rows), np.int64))
    method.eval()
    with torch.autocast(batches.device.type, torch.bfloat16, enabled=bf16):
        z = method.watched(x[:, 0], valid[:, 0]).float()
    method.train()
    return float(effective_rank(z)), float(spread(z))


class Journal:
    """Writes one line per step, in bunches, so that no step waits for the device."""

    def __init__(self, run: Run | None, batches: Batches, step: int, show: Show | None) -> None:
        if run is not None:
            run.rewind(step)
        self._run, self._show, self._batches = run, show, batches
        self._rows: list[dict[str, Any]] = []
        self._measured: list[Tensor] = []
        self._flushed = time.monotonic()

    def add(
        self,
        step: int,
        rate: float,
        norm: Tensor,
        parts: Mapping[str, Tensor],
        watched: tuple[float, float] | None = None,
    ) -> None:
        """Remember a step; what it measured stays on the device for now."""
        epoch = (step - 1) // self._batches.per_epoch
        row = {"step": step, "epoch": epoch, "lr": rate, **parts, "norm": norm}
        self._rows.append(row)
        values = [part.detach().float() for part in (*parts.values(), norm)]
        self._measured.append(torch.stack(values))
        if watched is not None:
            rank, spread = watched
            row |= {"embedding_rank": rank, "embedding_spread": spread}
            if step > SETTLED * self._batches.steps:
                row["collapsed"] = rank < LEAST_RANK or spread < LEAST_SPREAD
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    @contextmanager
    def paused(self, last: Tensor) -> Iterator[None]:
        """What is done meanwhile is no training, and counts for no speed.

        A device runs behind: until it has the `last` value of a step, it is training still.
        """
        last.item()
        began = time.monotonic()
        yield
        self._flushed += time.monotonic() - began

    def flush(self) -> None:
        """Write the lines; raise where a loss was not a number."""
        if not self._rows:
            return
        measured = torch.stack(self._measured).tolist()
        seconds = time.monotonic() - self._flushed
        speed = len(self._rows) * self._batches.batch / max(seconds, 1e-9)
        for row, values in zip(self._rows, measured, strict=True):
            names = [name for name, value in row.items() if isinstance(value, Tensor)]
            row.update(zip(names, values, strict=True))
            row["recordings_per_second"] = round(speed, 1)
        rows, self._rows, self._measured = self._rows, [], []
        self._flushed = time.monotonic()
        if self._run is not None:
            self._run.log(row for row in rows if _finite(row))
            for row in rows:
                if "collapsed" in row:
                    self._run.note(collapsed=row["collapsed"])
        if self._show is not None:
            self._show(rows)
        for row in rows:
            if not _finite(row):
                raise NerulaError(
                    f"The loss is not a number at step {row['step']} (loss {row['loss']}, "
                    f"gradient norm {row['norm']}).",
                    "The run keeps its last checkpoint. Start another with a lower --lr, or with "
                    "--precision fp32.",
                )


def _finite(row: Mapping[str, Any]) -> bool:
    return all(math.isfinite(value) for value in row.values())


@contextmanager
def _listening() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying of them: the step in hand is finished first."""
    told: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        told.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield told  # only the main thread may listen
        return
    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
