"""Ground: a model, a task and a store, all that is fixed and checked before anything is fitted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nerula import __version__, guards, judgement
from nerula.blend import BLENDED, PLAIN
from nerula.bootstrap import CONFIDENCE, RESAMPLES, SEED, Judged
from nerula.bounds import Count, Number, check
from nerula.errors import UsageError, nearest
from nerula.features import Features, Gap, fingerprint
from nerula.leads import has_leads
from nerula.metrics import Answers
from nerula.probes import Examples, Fitted, Question
from nerula.results import FORMAT, Result
from nerula.store import Store
from nerula.tasks import Facts, Split, Task
from nerula.typed import typed

if TYPE_CHECKING:
    from nerula.model import Model

FINETUNED = "finetuned"
"""What the results of a whole network that was trained on are called, in place of a probe."""
WHOLE = Gap(0.0, "masked")


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How a task is to be evaluated."""

    probes: tuple[str, ...] = ()
    """Which probes, `FINETUNED` among them; all of the task's where empty."""
    labels: tuple[float, ...] = (1.0,)
    """Shares of the training labels."""
    draws: Count = 5
    """How often a share below 1 is drawn."""
    gaps: tuple[float, ...] = ()
    """Shares of every test recording that are taken away, beside none."""
    finetune: bool = False
    """Whether the whole network is trained too, beside these."""
    leads: tuple[str, ...] = ()
    """Which leads the model is given; all that it can have where empty."""
    tested: tuple[str, ...] = ()
    """Which of them test recordings have, where not the same."""
    unverified: bool = False
    """Whether a model is believed that does not say what it was trained on."""
    seed: Number = 0
    resamples: int = RESAMPLES
    tuning: Mapping[str, Any] = field(default_factory=dict)
    """Options of `nerula.finetune.finetune`, such as its epochs."""
    told: Callable[[int, int, float | None], None] | None = None
    """Hears of every epoch of a network that is trained on labels."""

    def __post_init__(self) -> None:
        check(Ways, vars(self))
        if not all(0 < share <= 1 for share in self.labels):
            raise UsageError(f"Shares of labels lie above 0 and up to 1, not {self.labels}.")
        if not all(0 < share < 1 for share in self.gaps):
            raise UsageError(f"Shares that are missing lie between 0 and 1, not {self.gaps}.")

    def asked(self, task: Task) -> tuple[str, ...]:
        """The probes to fit, in their order; what the task does not have is refused."""
        leads = self.leads or self.tested
        if leads and task.kind == "leads":
            raise UsageError(
                f"The task {task.name} gives the model its leads itself, one at a time.",
                "Leave out --leads.",
            )
        if leads and task.view == "leads":
            raise UsageError(f"The task {task.name} has leads of its own.", "Leave out --leads.")
        if self.tested and not task.trained:
            raise UsageError(
                f"In the task {task.name} nothing is fitted; leads are the same throughout.",
                "Name one set of leads, without a colon.",
            )
        chosen = self.probes or task.probes
        whole = (FINETUNED, BLENDED) if task.kind in PLAIN else (FINETUNED,)
        for probe in chosen:
            if probe not in (*task.probes, *whole):
                said = f"The task {task.name} has no probe {probe}."
                raise UsageError(said, nearest(probe, task.probes))
        return (*chosen, FINETUNED) if self.finetune and FINETUNED not in chosen else chosen


@dataclass(frozen=True, eq=False)
class Ground:
    """All that is fixed before anything is fitted, and checked."""

    model: "Model"
    task: Task
    store: Store
    ways: Ways
    facts: Facts
    target: NDArray[Any]
    splits: list[Split]
    checks: list[dict[str, int]]
    provenance: dict[str, str]
    features: Features
    tested: Features
    """Those of test recordings, which may have other leads."""
    lacking: int
    """Recordings that would count, but lack a lead."""

    @property
    def question(self) -> Question:
        """What a probe has to know."""
        return Question(self.task.kind, len(self.task.answers), self.task.main)

    def examples(self, rows: NDArray[np.int64]) -> Examples:
        """Embeddings and targets of some rows, those that vote one after the other."""
        z = self.features.of(rows) if len(rows) else np.empty((0, self.task.votes), np.float32)
        each = np.repeat(rows, self.task.votes)
        return Examples(self._votes(z), self.target[each], self.facts.people[each])

    def answered(self, fitted: Fitted, rows: NDArray[np.int64], gap: Gap | None) -> Answers:
        """What a probe says of test recordings, one answer for each."""
        z = self._votes(self.tested.of(rows, gap))
        return self._counted(fitted.answer(z, self.target[np.repeat(rows, self.task.votes)]))

    def held(self, fitted: Fitted) -> Answers | None:
        """What it says of the training side's recordings that it was not fitted on."""
        return fitted.held and self._counted(fitted.held)

    def _votes(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """One row for each example."""
        return z.reshape(len(z) * self.task.votes, z.shape[1] // self.task.votes)

    def _counted(self, answers: Answers) -> Answers:
        """One answer for each recording: the mean of those that vote."""
        if self.task.votes == 1:
            return answers
        score = answers.score.reshape(-1, self.task.votes, answers.score.shape[1]).mean(1)
        return Answers(answers.truth[:: self.task.votes], score, score.argmax(1))

    def judged(self, answers: Answers, rows: NDArray[np.int64], held: Answers | None) -> Judged:
        """Answers about rows, with thresholds from the training side."""
        # a forest gives few values: a limit that is one of them has to meet it again
        answers, held = _as_stored(answers), held and _as_stored(held)
        limits = judgement.thresholds(held, answers.score.shape[1])
        if self.task.kind == "labels":
            answers = replace(answers, predicted=judgement.decided(self.task, answers.score, held))
        return Judged(answers, rows, self.facts.people[rows], limits)

    def fit(
        self,
        number: int,
        draw: int,
        split: Split,
        seconds: float,
        chosen: Mapping[str, Any] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """What a result says of one fit on one split."""
        sides = {"train": split.train, "choose": split.choose, "test": split.test}
        people = self.facts.people
        return {
            "split": number,
            "draw": draw,
            **{side: len(rows) for side, rows in sides.items()},
            "subjects": {side: len(np.unique(people[rows])) for side, rows in sides.items()},
            "dropped_twins": self.facts.name[split.dropped].tolist(),
            "chosen": dict(chosen),
            "seconds": round(seconds, 2),
            **(self.checks[number] if self.checks else {}),
        }

    def result(
        self,
        way: dict[str, Any],
        judged: Sequence[Judged],
        chance: Sequence[Judged] | None,
        fits: list[dict[str, Any]],
        grid: Sequence[Mapping[str, Any]] = (),
    ) -> Result:
        """The document. docs/tasks.md explains every key."""
        task, model, ways = self.task, self.model, self.ways
        counted = np.unique(np.concatenate([run.row for run in judged]))
        document = {
            "format": FORMAT,
            "nerula": __version__,
            "task": {
                "name": task.name,
                "title": task.title,
                "kind": task.kind,
                "answers": list(task.answers),
                "main": task.main,
                "protocol": task.protocol,
            },
            "model": model.identity | {"fingerprint": fingerprint(model)},
            "provenance": self.provenance,
            "data": {
                "store": self.store.digest,
                "kind": _kind(self.store),
                "recordings": len(self.store),
                "lacking": self.lacking,
                "split": guards.split_digest(self.facts, self.splits),
                "tested": len(counted),
            },
            "way": way
            | ({"leads": list(ways.leads)} if ways.leads else {})
            | ({"tested": list(ways.tested)} if ways.tested else {}),
            "windows": {
                "seconds": model.seconds,
                "overlap": task.overlap,
                "view": task.view,
                "leads": list(self.tested.plan.names),
                **({"doubt": doubt} if (doubt := self.tested.doubt) else {}),
            },
            "fits": fits,
            "grid": [dict(one) for one in grid],
            "metrics": judgement.overall(task, judged, chance, ways.resamples),
            **judgement.details(task, judged, self.facts, ways.resamples),
            "bootstrap": {
                "resamples": ways.resamples,
                "over": "subjects",
                "seed": SEED,
                "confidence": CONFIDENCE,
            },
            "seed": ways.seed,
            "seconds": round(sum(one["seconds"] for one in fits), 2),
            "command": typed(),
        }
        return Result(document, tuple(judged), self.facts.name.astype(np.str_))


def prepare_ground(model: "Model", task: Task, store: Store, folder: Path, ways: Ways) -> Ground:
    """Read the facts, draw the splits, and refuse what would break the protocol."""
    kind = _kind(store)
    if not task.suits(kind):
        raise UsageError(
            f"The task {task.name} is asked on {task.family}; {store.path} was made from {kind}.",
            f"Get it with: nerula fetch {task.fetch} FOLDER",
        )
    tuned = FINETUNED in ways.asked(task) and task.learners is None
    if not task.trained and (tuned or ways.labels != (1.0,)):
        raise UsageError(f"In the task {task.name} nothing is trained: no labels, no fine-tuning.")
    facts = task.facts(store)
    target = task.target(facts)
    features = Features(model, store, task, folder, ways.leads)
    tested = replace(features, only=ways.tested) if ways.tested else features
    joined, others = (len(one.plan.names) if one.apart else 1 for one in (features, tested))
    if joined != others:
        raise UsageError(
            f"A model of one lead joins the embeddings of {joined} leads in training and of "
            f"{others} in the test: what is fitted to the first cannot take the second."
        )
    counts, complete = task.counts(facts, target), has_leads(store, features.plan.names)
    complete &= has_leads(store, tested.plan.names)
    splits = task.splits(facts, counts & complete)
    recognised = task.kind == "identity"
    checks = [
        guards.sides_apart(facts, split, strangers=not recognised)
        for split in splits
        if not task.within
    ]
    if task.trained:
        for split in splits:
            guards.answerable(task, facts, target, split)
    asked = np.unique(np.concatenate([one.test for one in splits]))
    judged = np.union1d(asked, np.concatenate([one.choose for one in splits]))
    try:
        training = model.config.training if model.config else {}
        known = guards.unseen(training, facts, kind, store.digest, judged, tested=asked)
        provenance = known._asdict()
    except guards.UnverifiedError as error:
        if not ways.unverified:
            raise
        provenance = guards.Seen(guards.UNVERIFIED, error.message)._asdict()
    lacking = int((counts & ~complete).sum())
    held = (facts, target, splits, checks, provenance, features, tested, lacking)
    return Ground(model, task, store, ways, *held)


def _as_stored(answers: Answers) -> Answers:
    """Scores in the precision of the predictions that are written."""
    return replace(answers, score=answers.score.astype(np.float32).astype(np.float64))


def _kind(store: Store) -> str:
    """What the store was made from."""
    return str((store.facts.get("source") or {}).get("kind", "unknown files"))
