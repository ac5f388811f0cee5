"""Display: what a person sees of a training, on a terminal or in a log file."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_SECONDS = 60.0
"""How long a log file may stay silent."""


class Passes:
    """How far a training on labels is: a line that changes on a terminal, few lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console, self._status = console, console.status("")
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the line away, however the training ended: a terminal has one such line at most."""
        self._status.stop()

    def tell(self, epoch: int, epochs: int, error: float | None) -> None:
        """Show that an epoch has passed, or with 0 that the first one begins."""
        now = time.monotonic()
        if not epoch:
            self._began = now
        line = f"trained on labels: epoch {epoch} of {epochs}"
        line += f"  error {error:.4f}" if error is not None else ""
        if 0 < epoch < epochs:
            line += f"  {_clock((now - self._began) / epoch * (epochs - epoch))} left"
        if self._console.is_terminal:
            self._status.update(line)
            self.stop() if epoch == epochs else self._status.start()
        elif now - self._printed > LINE_SECONDS:
            self._console.print(line, highlight=False, soft_wrap=True)
            self._printed = now


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Display:
    """A progress bar on a terminal, lines elsewhere; a collapse is shouted."""

    def __init__(self, console: Console, steps: int, done: int) -> None:
        self._console, self._shouted, self._steps = console, False, steps
        self._printed = time.monotonic()
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._progress.add_task(
            "", total=steps, completed=done, epoch=0, text=""
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, rows: list[dict[str, Any]]) -> None:
        """Show the newest lines of metrics.jsonl."""
        last = rows[-1]
        text = f"loss {last['loss']:.4f}  {last['recordings_per_second']:.0f} recordings/s"
        self._progress.update(
            self._task, completed=last["step"], epoch=last["epoch"] + 1, text=text
        )
        ended = [row for row in rows if "embedding_rank" in row]
        for row in ended:
            self._epoch(row)
        now = time.monotonic()
        if not self._console.is_terminal and not ended and now - self._printed > LINE_SECONDS:
            self._print(f"step {last['step']} of {self._steps}  {text}")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)
        self._printed = time.monotonic()

    def _epoch(self, row: dict[str, Any]) -> None:
        """Print a line at the end of an epoch."""
        own = {"step", "epoch", "lr", "loss", "norm", "recordings_per_second", "collapsed"}
        parts = "  ".join(
            f"{name} {value:.4g}"
            for name, value in row.items()
            if name not in own and not name.startswith("embedding")
        )
        self._print(
            f"epoch {row['epoch'] + 1}  loss {row['loss']:.4f}  [dim]{escape(parts)}[/]  "
            f"embeddings: rank {row['embedding_rank']:.1f}, spread {row['embedding_spread']:.3f}  "
            f"{row['recordings_per_second']:.0f} recordings/s"
        )
        if row.get("collapsed") and not self._shouted:
            self._shouted = True
            self._console.print(
                "[bold white on red] COLLAPSED [/] [bold red]The embeddings of different "
                f"recordings are nearly the same (effective rank {row['embedding_rank']:.2f}, "
                f"spread {row['embedding_spread']:.4f}). This model will be worth nothing: stop "
                "it, and change the loss weights or the learning rate.[/]"
            )
