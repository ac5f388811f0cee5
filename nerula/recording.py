"""Recording: one signal of one subject, in physical units, with leads by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One signal of one subject, as every reader yields it.

    `x` is (leads, time) float32 in `unit` (mV for every ECG), `valid` has the same shape: False
    where nothing was measured. `x` is finite everywhere; what was NaN in the
    file is 0 and invalid.
    `labels` maps a statement to its likelihood in [0, 1], NaN where the source does not say.
    """

    name: str
    x: NDArray[np.float32]
    rate: float
    leads: tuple[str, ...]
    valid: NDArray[np.bool_]
    unit: str = "mV"
    subject: str | None = None
    age: float | None = None
    sex: str | None = None
    labels: Mapping[str, float] = field(default_factory=dict)
    fold: str | None = None
    path: Path | None = None
    findings: tuple[Finding, ...] = ()
    removed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.x.shape != self.valid.shape:
            raise ValueError(f"x {self.x.shape} and valid {self.valid.shape}: want (leads, time)")
        if len(self.leads) != self.x.shape[0]:
            raise ValueError(f"{len(self.leads)} lead names for {self.x.shape[0]} signals")

    def but(self, **changes: Any) -> "Recording":
        """Return the same with some fields changed: `dataclasses.replace` in a third of its time,
        where readers and preparation do so for every recording."""
        if not changes.keys() <= _FIELDS.keys():
            raise TypeError(f"a recording has no {', '.join(changes.keys() - _FIELDS.keys())}")
        other = object.__new__(Recording)
        for name in _FIELDS:
            value = changes[name] if name in changes else getattr(self, name)
            object.__setattr__(other, name, value)
        other.__post_init__()
        return other

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return float(self.x.shape[1] / self.rate)


_FIELDS = dict.fromkeys(field.name for field in fields(Recording))
