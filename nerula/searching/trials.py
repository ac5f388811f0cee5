"""Trials: what a search has found so far, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from nerula.searching.space import Between, Space, said

NOISE = 2.0
"""Scores this many deviations of the seeds below the best cannot be told from it."""
LEAST_NOISE = 0.002
"""Seeds that agree by chance must not make a flat optimum look sharp."""


@dataclass(frozen=True)
class Trial:
    """One training with some arguments."""

    number: int
    values: Mapping[str, Any]
    """Of the arguments that are searched."""
    seed: int
    state: str
    """complete, pruned or failed."""
    epochs: Mapping[int, float]
    """The score after each epoch that was judged."""
    worth: Mapping[str, float]
    """Each task's figure after the last one."""
    seconds: float
    default: bool
    """Whether these are the method's own defaults, with one seed or another."""
    problem: str = ""
    """Why it failed."""

    @property
    def score(self) -> float:
        """The last score."""
        return self.epochs[max(self.epochs)] if self.epochs else float("nan")

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"score": self.score if self.epochs else None}


@dataclass(frozen=True)
class Conclusion:
    """What the finished trials say."""

    best: Trial
    defaults: tuple[float, ...]
    """Scores of the defaults, one per seed."""
    noise: float
    """Deviation between seeds."""
    as_good: tuple[Trial, ...]
    """Finished trials that the noise cannot tell from the best."""
    finished: int
    ends: tuple[str, ...] = ()
    """Arguments of which the best value lies at an end of what was searched."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of how scores vary, what each argument accounts for."""

    def sentences(self) -> list[str]:
        """The same in words."""
        best = ", ".join(f"{name} {said(value)}" for name, value in self.best.values.items())
        words = [
            f"The best of {self.finished} finished trials scores {self.best.score:.3f}: {best}."
        ]
        if self.defaults:
            mean = float(np.mean(self.defaults))
            gap = self.best.score - mean
            seeds = f"{len(self.defaults)} seed{'s' if len(self.defaults) > 1 else ''}"
            told = "more" if gap > NOISE * self.noise else "no more"
            words.append(
                f"The defaults score {mean:.3f} over {seeds}, {gap:.3f} less; that is {told} than "
                f"what seeds alone may do ({NOISE:g} deviations of {self.noise:.3f})."
            )
        words += [f"{name}: {self._flatness(name)}" for name in self.best.values]
        if self.shares:
            ranked = sorted(self.shares.items(), key=lambda one: -one[1])
            shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in ranked)
            words.append(f"Of how scores vary (functional ANOVA): {shares}.")
        return words

    def _flatness(self, name: str) -> str:
        """Over which values of one argument trials are as good as the best."""
        values = [trial.values[name] for trial in self.as_good]
        end = " The best lies at an end: what is better may lie outside." * (name in self.ends)
        distinct = sorted({said(value) for value in values})
        if len(distinct) == 1:
            return f"only {distinct[0]} reached the best score.{end}"
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            return f"as good from {said(min(values))} to {said(max(values))}.{end}"
        return f"as good with {' or '.join(distinct)}."


def concluded(
    trials: Sequence[Trial], space: Space, shares: Mapping[str, float]
) -> Conclusion | None:
    """What can be said, once a trial has finished."""
    finished = [trial for trial in trials if trial.state == "complete" and trial.epochs]
    if not finished:
        return None
    best = max(finished, key=lambda trial: trial.score)
    defaults = tuple(trial.score for trial in finished if trial.default)
    noise = float(np.std(defaults, ddof=1)) if len(defaults) > 1 else 0.0
    noise = max(noise, LEAST_NOISE)
    near = tuple(trial for trial in finished if trial.score >= best.score - NOISE * noise)
    ends = tuple(
        name
        for name, values in space.items()
        if isinstance(values, Between) and values.at_end(best.values[name])
    )
    return Conclusion(best, defaults, noise, near, len(finished), ends, shares)
