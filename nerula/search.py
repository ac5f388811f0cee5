"""The verb `search`: which arguments of a method are best, chosen on fold 9 alone."""

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from nerula.completion import MethodName
from nerula.errors import MissingExtraError, NerulaError, UsageError
from nerula.files import write_whole
from nerula.searching.space import said

if TYPE_CHECKING:
    import optuna

    from nerula.method import Method
    from nerula.searching.space import Space
    from nerula.searching.trials import Conclusion, Trial
    from nerula.searching.worth import Judge

JOURNAL, RESULT, PICTURE, TRIALS = "study.journal", "search.json", "surface.png", "trials"
FORMAT = "nerula-search-1"
SEEDS = 3
"""How often the defaults are tried, so that the noise is known."""
ENOUGH = 16
"""Finished trials before it is said how much each argument matters."""
STOPPED = 143
"""Exit code of a search that was told to stop: 128 + SIGTERM."""


class _StoppedError(Exception):
    """Somebody asked the process to end."""


def search(
    method: MethodName,
    store: Path,
    out: Path = Path("searched"),
    *,
    trials: int = 20,
    epochs: int = 2,
    over: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    batch: int = 64,
    folds: str = "1-8",
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
) -> int:
    """Try arguments of a method, and see which are best on fold 9.

    Every trial is a short pretraining on folds 1-8. After each epoch, ridge probes of sex and age
    are fitted on embeddings of folds 1-8 and asked about fold 9; hopeless trials end early. Fold
    10 is never read. Whatever interrupts it, the same call continues.

    Parameters
    ----------
    method
        What to search, such as nerula, or package.module:Class for one of your own.
    store
        A store of PTB-XL, or of the bundled sample.
    out
        Where everything goes: search.json with all trials, and surface.png.
    trials
        How many in all, over all calls; the first three are the defaults with three seeds.
    epochs
        Of a trial.
    over
        Ranges, such as fraction=0.2:0.8, recon-weight=0.1:100:log or views=masks|neighbours. By
        default those that are known for the method.
    batch
        Recordings per step.
    folds
        Which folds to train on; fewer are faster. Those that judge or test are refused.
    seed
        Of every trial but the repeated defaults, which have this one and the next two.
    device
        auto, cpu or cuda.
    precision
        auto, bf16 or fp32.
    threads
        Of the CPU; 0 takes all cores.
    """
    from nerula import methods
    from nerula.options import Options
    from nerula.searching import space as spaces
    from nerula.searching.worth import Judge
    from nerula.store import Store

    kind = methods.find(method)
    if not kind.trains:
        raise UsageError(f"{method} is not trained: there is nothing to search.")
    if trials < 1:
        raise UsageError(f"--trials {trials} is not a number above 0.")
    training: dict[str, Any] = {
        "epochs": epochs, "batch": batch, "folds": folds, "device": device,
        "precision": precision, "threads": threads,
    }  # fmt: skip
    Options(**training, seed=seed)  # refuses what cannot be meant
    ranges = spaces.of(kind, method, over)
    opened = Store.open(store)
    judge = Judge(opened)  # a store that nothing can be judged by is refused before any training
    judge.refuse(folds)
    asked = {
        "method": method, "store": opened.digest, "over": _described(ranges),
        "epochs": epochs, "batch": batch, "folds": folds, "seed": seed,
    }  # fmt: skip
    console = Console(highlight=False)
    work = _Work(method, kind, store, out, ranges, training, seed, judge)
    study = _study(out, asked)
    work.begin(study)
    try:
        while len(_ended(study)) < trials:
            work.one(study)
            work.publish(study, asked)
    except _StoppedError:
        done = f"{len(_ended(study))} of {trials} trials are done"
        console.print(f"Stopped: {done}; the same call continues.")
        return STOPPED
    conclusion = work.publish(study, asked)
    _say(console, work.told(study), conclusion, out)
    if conclusion:
        console.print(work.best(conclusion.best), markup=False, soft_wrap=True)
    return 0 if conclusion else 1


@dataclass(frozen=True)
class _Work:
    """One search: what every trial shares."""

    name: str
    kind: "type[Method]"
    store: Path
    out: Path
    space: "Space"
    training: Mapping[str, Any]
    """Options of the loop."""
    seed: int
    judge: "Judge"

    def begin(self, study: "optuna.Study") -> None:
        """Queue the defaults in a new study."""
        if not study.trials:
            defaults = self._defaults()
            for number in range(SEEDS if defaults else 0):
                facts: dict[str, Any] = {"seed": self.seed + number, "default": True}
                study.enqueue_trial(defaults, user_attrs=facts)

    def _defaults(self) -> dict[str, Any]:
        """The method's own values as a trial holds them; none where one is out of range."""
        from nerula.options import split

        _, own = split(self.kind, None, {})
        stored = {name: values.stored(own[name]) for name, values in self.space.items()}
        return {} if None in stored.values() else stored

    def one(self, study: "optuna.Study") -> None:
        """Go on with the trial that was interrupted, or with a new one; tell how it went."""
        import optuna
        from optuna.trial import Trial, TrialState

        begun = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        # Nobody else works in this folder: what is running is what an earlier process left.
        trial = Trial(study, begun[0]._trial_id) if begun else study.ask()
        seed = trial.user_attrs.get("seed", self.seed)
        trial.set_user_attr("seed", seed)
        values = {name: among.suggest(trial, name) for name, among in self.space.items()}
        folder = self.out / TRIALS / str(trial.number)
        try:
            score = self._train(trial, values, seed, folder)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except NerulaError as error:  # such as a loss that is not a number: a bad place to be
            trial.set_user_attr("problem", str(error))
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, score)
        shutil.rmtree(folder, ignore_errors=True)

    def _train(
        self, trial: "optuna.Trial", values: Mapping[str, Any], seed: int, folder: Path
    ) -> float:
        """Pretrain; judged after each epoch, and given up where others were better by then."""
        import optuna

        from nerula import bundle
        from nerula.pretrain import STOPPED as TOLD
        from nerula.pretrain import pretrain

        judged = {
            int(epoch): score for epoch, score in trial.user_attrs.get("earlier", {}).items()
        }

        def watch(model: "Method", window: int, epoch: int, bf16: bool) -> None:
            worth = self.judge(model, window, bf16=bf16)
            judged[epoch] = worth.score
            trial.set_user_attr("worth", worth._asdict())
            trial.report(worth.score, epoch)
            if epoch < self.training["epochs"] and trial.should_prune():
                raise optuna.TrialPruned

        given = {"seed": seed, **self.training, **values}
        if pretrain(self.name, self.store, folder, watch=watch, farewell=False, **given) == TOLD:
            raise _StoppedError
        if self.training["epochs"] not in judged:  # it was killed between its last step and this
            made = bundle.load(folder, method=self.kind)
            watch(made.method, made.window, self.training["epochs"], made.bf16)
        return float(judged[self.training["epochs"]])

    def best(self, trial: "Trial") -> str:
        """The command that trains with a trial's values, and longer."""
        words = ["nerula", "pretrain", self.name, str(self.store), "RUN"]
        for name, value in trial.values.items():
            words += [f"--{name.replace('_', '-')}", said(value)]
        return f"Next: {shlex.join(words)}"

    def told(self, study: "optuna.Study") -> list["Trial"]:
        """All trials that have come to an end, as plain values."""
        from nerula.searching.trials import Trial

        return [
            Trial(
                number=one.number,
                values={name: self.space[name].value(kept) for name, kept in one.params.items()},
                seed=one.user_attrs.get("seed", self.seed),
                state={"FAIL": "failed"}.get(one.state.name, one.state.name.lower()),
                epochs=one.intermediate_values,
                worth=one.user_attrs.get("worth", {}),
                seconds=round(one.duration.total_seconds(), 1) if one.duration else 0.0,
                default=bool(one.user_attrs.get("default")),
                problem=one.user_attrs.get("problem", ""),
            )
            for one in _ended(study)
        ]

    def publish(self, study: "optuna.Study", asked: Mapping[str, Any]) -> "Conclusion | None":
        """Write search.json, and the picture once there is something to see."""
        from nerula.searching.surface import draw
        from nerula.searching.trials import concluded

        trials = self.told(study)
        conclusion = concluded(trials, self.space, _shares(study))
        document = {
            "format": FORMAT,
            "asked": dict(asked),
            "conclusion": conclusion.sentences() if conclusion else [],
            "trials": [trial.as_json() for trial in trials],
        }
        write_whole(self.out / RESULT, json.dumps(document, indent=1) + "\n")
        if conclusion:
            draw(self.out / PICTURE, self.space, trials, conclusion)
        return conclusion


def _ended(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    """The trials that have come to an end."""
    from optuna.trial import TrialState

    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    return study.get_trials(deepcopy=False, states=ended)


def _study(out: Path, asked: Mapping[str, Any]) -> "optuna.Study":
    """The study of a folder, new or continued; another search's is refused."""
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise MissingExtraError("nerula search", "search") from error

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(out / JOURNAL)))
    study = optuna.create_study(
        study_name="nerula",
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_min_trials=4),
    )
    before = study.user_attrs.get("asked")
    if before not in (None, json.loads(json.dumps(asked))):
        changed = [name for name in asked if before.get(name) != asked[name]]
        raise UsageError(
            f"{out} is another search: {', '.join(changed)} differ.", "Name another folder."
        )
    study.set_user_attr("asked", dict(asked))
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=8, multivariate=True, seed=asked["seed"] + len(study.trials)
    )
    return study


def _shares(study: "optuna.Study") -> dict[str, float]:
    """What each argument accounts for of how scores vary; nothing while trials are few."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(finished) < ENOUGH:
        return {}
    values = {name: {trial.params[name] for trial in finished} for name in finished[0].params}
    varied = [name for name, tried in values.items() if len(tried) > 1]
    if len(varied) < 2:
        return {}
    evaluator = FanovaImportanceEvaluator(seed=0)
    return get_param_importances(study, evaluator=evaluator, params=varied)


def _described(space: "Space") -> dict[str, str]:
    return {name: repr(values) for name, values in space.items()}


def _say(
    console: Console, trials: Sequence["Trial"], conclusion: "Conclusion | None", out: Path
) -> None:
    """The best trials as a table, and what follows."""
    table = Table(title="Best on fold 9")
    for heading in ("trial", "score", "sex AUROC", "age R2", "arguments"):
        table.add_column(heading)
    ranked = [trial for trial in trials if trial.state == "complete" and trial.epochs]
    for trial in sorted(ranked, key=lambda one: -one.score)[:8]:
        words = ", ".join(f"{name} {said(value)}" for name, value in trial.values.items())
        mark = " (defaults)" if trial.default else ""
        figures = [f"{trial.worth.get(name, float('nan')):.3f}" for name in ("sex", "age")]
        table.add_row(str(trial.number), f"{trial.score:.3f}", *figures, words + mark)
    console.print(table)
    problems = [f"Trial {one.number} failed: {one.problem}" for one in trials if one.problem]
    concluded = conclusion.sentences() if conclusion else ["No trial has finished."]
    for sentence in (*problems[-1:], *concluded):
        console.print(sentence, markup=False)
    written = [out / RESULT, *([out / PICTURE] if conclusion else [])]
    console.print("\n".join(map(str, written)), markup=False, soft_wrap=True)
