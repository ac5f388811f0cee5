"""The model's config.json: every key known, every key needed."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from nerula.contract import Contract
from nerula.errors import NerulaError
from nerula.files import load_json, write_whole

FORMAT = "nerula-model-1"
CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"
DATA_CARD, RESULTS = "DATA.md", "results.json"
HEAD = "head.safetensors"
"""Beside a model that was fine-tuned: what it says, as a probe of its embeddings."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything about a model that is not a tensor."""

    method: str
    """Registered name of the method, or `package.module:Class`."""
    arguments: dict[str, Any]
    """All arguments of the method's `__init__`."""
    contract: Contract
    """How a signal has to be prepared: leads, rate, unit, band."""
    window: int
    """Samples per window in training, and in `embed`."""
    dimensions: int
    """Values per embedding."""
    tensors: str
    """SHA-256 over the tensors, see `nerula.run.digest`."""
    fingerprint: tuple[float, ...]
    """The embedding of the probe recording, see `nerula.model`."""
    training: dict[str, Any]
    """Where the model comes from: store, options, machine, time, figures."""
    nerula: str
    """Version that wrote the model."""
    each: dict[str, str] = field(default_factory=dict)
    """A digest of every tensor by its name, to name the one that was altered; models of before
    have none."""
    format: str = FORMAT

    def write(self, folder: Path) -> None:
        """Write config.json."""
        values = asdict(self) | {"contract": self.contract.as_json()}
        write_whole(folder / CONFIG, json.dumps(values, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read config.json; anything more, less or else is refused by name."""
        path = folder / CONFIG
        try:
            values = load_json(path)
        except FileNotFoundError:
            raise NerulaError(
                f"{folder} is no model: it has no {CONFIG}.",
                "A training that has ended leaves one in RUN/model.",
            ) from None
        except (OSError, ValueError) as error:
            raise NerulaError(f"{path} cannot be read: {error}.") from error
        if not isinstance(values, dict):
            raise NerulaError(f"{path} does not describe a model.")
        names = {one.name for one in fields(cls)}
        lacking = names - set(values) - {"each"}
        for wrong, what in ((lacking, "lacks"), (set(values) - names, "has unknown")):
            if wrong:
                raise NerulaError(f"{path} {what} {', '.join(sorted(wrong))}.")
        if values["format"] != FORMAT:
            raise NerulaError(f"{path} is of format {values['format']!r}, not {FORMAT!r}.")
        _check(path, values)
        contract = Contract.from_json(values["contract"])
        fingerprint = tuple(values["fingerprint"])
        return cls(**values | {"contract": contract, "fingerprint": fingerprint})


def _check(path: Path, values: Mapping[str, Any]) -> None:
    """Refuse values of the wrong kind."""
    sound = {
        "method": isinstance(values["method"], str),
        "arguments": isinstance(values["arguments"], dict),
        "window": type(values["window"]) is int and 0 < values["window"] < 1 << 24,
        "dimensions": type(values["dimensions"]) is int and values["dimensions"] > 0,
        "tensors": isinstance(values["tensors"], str),
        "training": isinstance(values["training"], dict),
        "nerula": isinstance(values["nerula"], str),
        "each": isinstance(values.get("each", {}), dict)
        and all(isinstance(one, str) for one in values.get("each", {}).values()),
        "fingerprint": isinstance(values["fingerprint"], list)
        and len(values["fingerprint"]) == values["dimensions"]
        and all(isinstance(x, float | int) and math.isfinite(x) for x in values["fingerprint"]),
    }
    for name, holds in sound.items():
        if not holds:
            raise NerulaError(f"{path}: {name} cannot be meant: {str(values[name])[:60]}.")
