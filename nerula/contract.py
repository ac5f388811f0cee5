"""Contract: what was done to every recording of a store, and what a model must be fed."""

from dataclasses import dataclass, fields
from typing import Any, Self

from nerula.errors import NerulaError, UsageError

DTYPES = ("int16", "float16")
METHOD = "spectral-1"
"""Names the arithmetic of `nerula.signal.condition`; it changes when its results change."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The preprocessing of a store: complete, comparable, and the same on every machine."""

    leads: tuple[str, ...]
    rate: float
    unit: str = "mV"
    dtype: str = "int16"
    scale: float = 0.001
    """What one count is worth in `unit`; 1 for float16."""
    band: tuple[float, float] | None = None
    """Pass band in Hz, or None where nothing but the resampling filter was applied."""
    method: str = METHOD

    def __post_init__(self) -> None:
        if not self.leads or len(set(self.leads)) != len(self.leads):
            raise UsageError(f"A store needs leads with distinct names, not {self.leads!r}.")
        if not 1 <= self.rate <= 100_000:
            raise UsageError(f"A store's rate must be between 1 Hz and 100 kHz, not {self.rate}.")
        if self.dtype not in DTYPES:
            raise UsageError(f"A store holds {' or '.join(DTYPES)}, not {self.dtype!r}.")
        if not self.scale > 0:
            raise UsageError(f"The scale of a store must be positive, not {self.scale}.")
        if self.band is not None and not 0 < self.band[0] < self.band[1] <= self.rate / 2:
            raise UsageError(
                f"A pass band of {self.band[0]:g}-{self.band[1]:g} Hz does not fit a rate of "
                f"{self.rate:g} Hz.",
                f"Give 0 < low < high <= {self.rate / 2:g}.",
            )

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"leads": list(self.leads), "band": list(self.band) if self.band else None}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Read what `as_json` wrote; anything more, less or else is refused."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise NerulaError("The preprocessing contract is incomplete or from another version.")
        band = values["band"]
        try:
            return cls(
                **values
                | {
                    "leads": tuple(str(lead) for lead in values["leads"]),
                    "rate": float(values["rate"]),
                    "scale": float(values["scale"]),
                    "band": (float(band[0]), float(band[1])) if band is not None else None,
                }
            )
        except (TypeError, ValueError, IndexError) as error:
            raise NerulaError(f"The preprocessing contract cannot be read: {error}") from error
