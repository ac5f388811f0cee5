"""Run: the folder of one training. Whatever happens, what is in it can be continued.

config.json     what was asked for and what was decided; written once, compared on resuming
run.json        how far it is, how it ended, on what machine
metrics.jsonl   one line per step
checkpoints/    the newest two, each one complete and with the digest of its tensors
model/          the finished model
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from nerula.errors import NerulaError, UsageError
from nerula.files import alone, load_json, replacing, write_whole

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, STATE, METRICS, LOCK = "config.json", "run.json", "metrics.jsonl", ".lock"
CHECKPOINTS, MODEL = "checkpoints", "model"
KEPT = 2
SHOWN = 5
"""How many wrong tensors an error names."""
FREE = {"store.path", "options.checkpoint_minutes", "options.checkpoint_steps"}
"""What may differ when a run is continued: nothing that the weights depend on."""


class Run:
    """One training's folder. Opening it takes a lock that ends with the process."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self._counted = time.monotonic()
        try:
            (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            with ExitStack() as opened:
                opened.enter_context(_claimed(folder))
                self.config = self._agreed(config)
                self.state = read_json(folder / STATE) if (folder / STATE).exists() else {}
                self._metrics = opened.enter_context((folder / METRICS).open("ab"))
                self._opened = opened.pop_all()
        except OSError as error:
            raise trouble(folder, error) from error
        for left_over in (*folder.glob("*.partial"), *(folder / CHECKPOINTS).glob("*.partial")):
            if left_over.is_file():
                left_over.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()  # now another process may have the folder

    def note(self, **facts: Any) -> None:
        """Change facts in run.json."""
        self.state = {**self.state, **facts}
        self._write(STATE, json.dumps(self.state, indent=2) + "\n")

    def log(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append lines to metrics.jsonl."""
        try:
            self._metrics.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
            self._metrics.flush()
        except OSError as error:
            raise trouble(self.folder / METRICS, error) from error

    def rows(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        with (self.folder / METRICS).open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    def rewind(self, step: int) -> None:
        """Drop the lines of metrics.jsonl after `step`, and a line that was never finished."""
        end = 0
        with (self.folder / METRICS).open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                    break
                end += len(line)
        self._metrics.truncate(end)

    def save(self, step: int, tensors: Mapping[str, "Tensor"]) -> None:
        """Write a checkpoint; older ones go when it is safely there."""
        path = self.folder / CHECKPOINTS / f"step-{step:09d}.safetensors"
        try:
            os.fsync(self._metrics.fileno())
            write_tensors(path, tensors, {"step": str(step)})
        except OSError as error:
            raise trouble(path, error) from error
        for old in checkpoints(self.folder)[:-KEPT]:
            old.unlink(missing_ok=True)
        now = time.monotonic()
        self._counted, passed = now, now - self._counted
        self.note(step=step, seconds=round(self.state.get("seconds", 0) + passed, 1))

    def _agreed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration of the folder: this one, or the stored one that it must equal."""
        path = self.folder / CONFIG
        asked: dict[str, Any] = json.loads(json.dumps(config))
        if not path.exists():
            self._write(CONFIG, json.dumps(asked, indent=2) + "\n")
            return asked
        stored = read_json(path)
        before, now = dict(_flat(stored)), dict(_flat(asked))
        changed = [
            f"{name}: {before.get(name)!r} in the run, {now.get(name)!r} now"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name) and name not in FREE
        ]
        if changed:
            raise UsageError(
                f"{self.folder} was started with something else: {'; '.join(changed)}.",
                "Give the same again to continue it, or another folder to start afresh.",
            )
        return stored

    def _write(self, name: str, content: str) -> None:
        try:
            write_whole(self.folder / name, content)
        except OSError as error:
            raise trouble(self.folder / name, error) from error


def _claimed(folder: Path) -> AbstractContextManager[None]:
    """Keep other trainings out."""
    busy = f"Another process is training in {folder}."
    return alone(folder / LOCK, UsageError(busy, "Wait for it, or stop it first."))


def checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a run's folder, oldest first."""
    return sorted((folder / CHECKPOINTS).glob("step-*.safetensors"))


def newest(folder: Path) -> "tuple[int, dict[str, Tensor]] | None":
    """Step and tensors of the newest checkpoint that is whole; damaged ones are removed."""
    for path in reversed(checkpoints(folder)):
        try:
            tensors, facts = read_tensors(path)
            return int(facts["step"]), tensors
        except (NerulaError, KeyError, ValueError):
            path.unlink(missing_ok=True)
    return None


def digest(tensors: Mapping[str, "Tensor"]) -> str:
    """SHA-256 over the names, types, shapes and values of tensors."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():
            found.update(tensor.reshape(-1).view(dtype=_bytes()).numpy().data)
    return found.hexdigest()


def digests(tensors: Mapping[str, "Tensor"]) -> dict[str, str]:
    """Sixteen hexadecimal digits for each tensor."""
    return {name: digest({name: one})[:16] for name, one in tensors.items()}


def altered(tensors: Mapping[str, "Tensor"], each: Mapping[str, str]) -> str:
    """Which tensors are not those of which `each` has the digests, as a part of a sentence."""
    found = digests({name: one for name, one in tensors.items() if name in each})
    names = [name for name, one in found.items() if one != each[name]]
    if each:
        names += [f"{name} (missing)" for name in each.keys() - tensors.keys()]
        names += [f"{name} (unknown)" for name in tensors.keys() - each.keys()]
    names.sort()
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def write_tensors(path: Path, tensors: Mapping[str, "Tensor"], facts: Mapping[str, str]) -> None:
    """Write a safetensors file whole, with facts and the tensors' digest in its header."""
    from safetensors.torch import save

    owned = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = save(owned, {**facts, "digest": digest(owned)})
    with replacing(path) as file:
        file.write(content)


def read_tensors(
    path: Path, each: Mapping[str, str] = MappingProxyType({})
) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Read a safetensors file and its facts; refuse it where its digest is not its own.

    With the digest of `each` tensor, the refusal says which it is.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise NerulaError(f"{path} cannot be read: {error}.") from error
    if facts.get("digest") != digest(tensors):
        names = altered(tensors, each) or "its tensors"
        raise NerulaError(
            f"{path} is damaged: {names} are not what was written.", "Copy it again."
        )
    return tensors, facts


def trouble(path: Path, error: OSError) -> NerulaError:
    """What to tell about a failed write: mostly a full disk, and that nothing is lost."""
    return NerulaError(
        f"{path} cannot be written: {error.strerror or error}.",
        "Make room or mend the folder, then give the same command again: "
        "it continues from the last checkpoint.",
    )


def _bytes() -> Any:
    import torch

    return torch.uint8


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    try:
        values = load_json(path)
    except (OSError, ValueError) as error:
        raise NerulaError(f"{path} cannot be read: {error}.") from error
    if not isinstance(values, dict):
        raise NerulaError(f"{path} does not hold an object.")
    return values


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
