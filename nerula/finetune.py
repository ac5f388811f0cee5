"""Fine-tuning: a trained encoder and labels to a model that predicts them.

It knows no task: it is given rows of a store and an array of targets. The whole network learns,
the encoder at a share of the head's pace, and the epoch is kept that has the least error on other
rows: those that are given for it, else a part of the same rows. They share no subject with what is
fitted. From scratch is the same with a method that has not been trained.
"""

import math
import time
from collections.abc import Hashable, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from nerula.batches import Batches, Labelled
from nerula.census import seen
from nerula.contract import Contract
from nerula.epochs import Epochs, Examples, Told
from nerula.errors import UsageError, nearest
from nerula.leads import planned
from nerula.machine import Machine
from nerula.method import Method
from nerula.methods.recogniser import Recogniser
from nerula.methods.supervised import KINDS, Predictor
from nerula.model import Model
from nerula.options import Options
from nerula.run import Run, digest
from nerula.store import Store
from nerula.train import train
from nerula.tuned import Finetuned, Rows, body_of, learnable
from nerula.typed import typed

IDENTITY = "identity"
"""The kind of targets that are people, to be told apart in other recordings and of others."""
PACE = 0.3
"""Learning rate of a trained encoder, as a share of the head's."""
LEAD_CHANCE = 0.5
"""With which each lead is hidden, in training, from a model that takes any set of them."""
LEAST_STEPS = 200
"""However few the labels are, so many steps are made: more epochs then."""
RECIPE = 3
"""Raised whenever the same call would come to other weights."""
LEAST_VALIDATION = 10
"""With fewer recordings to choose an epoch on, the last one is kept."""


def finetune(
    model: Model | Method,
    store: Store,
    rows: ArrayLike,
    targets: ArrayLike,
    kind: str,
    *,
    outputs: int | None = None,
    frozen: bool = False,
    balanced: bool = False,
    pace: float | None = None,
    lead_chance: float | None = None,
    people: ArrayLike | None = None,
    choose: tuple[ArrayLike, ArrayLike] | None = None,
    validation: float = 0.15,
    window: float = 10.24,
    epochs: int = 20,
    batch: int = 64,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    seed: int = 0,
    leads: Sequence[str] = (),
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    told: Told | None = None,
    run: Path | str | None = None,
) -> Finetuned:
    """Train a model, or a method that knows nothing yet, on the targets of a store's rows.

    Parameters
    ----------
    model
        What `nerula.load` returns, or a method from `nerula.methods.build`; it is not changed.
    rows, targets
        Rows of `store` and for each of them: a class from 0 on for `kind` "classes", zeros and
        ones (N, labels) for "multilabel", a number or several for "regression". A person from 0
        on for "identity": the result is for `model.embed`, which then tells other people apart.
    outputs
        How many classes there are; the largest target says so where it is None.
    frozen
        Leave the encoder as it is.
    balanced
        Weigh classes by the inverse of their frequency.
    pace
        The encoder's learning rate as a share of `lr`; 0.3 for a trained model, else 1.
    lead_chance
        With which each of several leads is hidden in a step, never the last one; 0.5 for a model
        that takes any set of leads, else 0.
    people
        Whose each of the rows is; what the store says, where nothing is said here.
    choose
        Rows, and their targets, that choose the epoch: of other subjects than `rows`, which are
        then all fitted.
    validation
        Without `choose`, the share of the subjects in `rows` that chooses the epoch; 0 keeps the
        last, as does "identity", whose subjects are what is learned.
    window
        Seconds; a model brings its own.
    leads
        Which leads it may see, such as ("I", "II", "V2"); the others are not valid. A model of one
        lead takes any one.
    told
        Called when it begins and after each epoch: how many have passed, of how many, and the
        error of what chooses, where that was looked at.
    run
        A folder for checkpoints: after an interruption the same call goes on from there.
    """
    body, contract, length = _body(model, store, window, frozen=frozen)
    given = _checked(store, rows, targets, kind, outputs)
    if choose is not None and kind == IDENTITY:
        raise UsageError("Who is who is learned: no others can choose the epoch.")
    if choose is None:
        share = 0.0 if kind == IDENTITY else validation
        whose = subjects_of(store, given[0]) if people is None else np.asarray(people).tolist()
        (chosen, labels), chooses = _parted(given, whose, share, seed)
    else:
        (chosen, labels), known = given, outputs or int(given[1].max()) + 1
        chooses = _checked(store, *choose, kind, known)
        _refuse_mixed(store, given, chooses)
    options = Options(
        epochs=epochs,
        batch=min(batch, len(chosen)),
        lr=lr,
        warmup=0.1,
        weight_decay=weight_decay,
        seed=seed,
        folds="all",
        window=length / contract.rate,
        precision=precision,
        device=device,
        threads=threads,
    )
    least = math.ceil(LEAST_STEPS / max(1, len(chosen) // max(1, options.batch)))
    options = Options(**vars(options) | {"epochs": max(epochs, least)})
    machine = Machine.chosen(options)
    on = machine.enter()
    torch.manual_seed(seed)
    facts = _facts(labels, kind, outputs, balanced=balanced)
    width = _width(body, length)
    if lead_chance is None:
        lead_chance = LEAD_CHANCE if body.any_leads else 0.0
    if not 0 <= lead_chance <= 1:
        raise UsageError(f"A lead is hidden with a chance from 0 to 1, not {lead_chance}.")
    learner: Predictor = (
        Recogniser(body, width, outputs=facts["outputs"], frozen=frozen)
        if kind == IDENTITY
        else Predictor(
            body,
            width,
            kind=kind,
            frozen=frozen,
            standardised=True,
            lead_chance=lead_chance,
            **facts,
        )
    ).to(on)
    if kind in ("classes", "multilabel") and not balanced:
        learner.start_from(_shares(labels, kind, facts["outputs"]).to(on))
    trained = isinstance(model, Model) and _was_trained(model)
    learner.paces = {"body": pace if pace is not None else PACE if trained else 1.0}
    result = Model(learner, contract, length, bf16=machine.bf16)
    only, began = tuple(leads), time.monotonic()
    passing = Epochs(learner, result, store, chooses, options.epochs, leads=only, told=told)
    batches = Batches(
        store,
        learner.needs,
        options,
        on,
        leads=planned(store, contract.leads, only, any_leads=body.any_leads),
        labelled=Labelled(chosen, labels),
    )
    asked = {
        "start": digest(learner.state_dict()),
        "recipe": RECIPE,
        "store": {"path": str(store.path), "digest": store.digest},
        "fitted": _named((chosen, labels)),
        "chooses": _named(chooses),
        "kind": kind,
        "leads": list(only),
        "lead_chance": lead_chance,
        "paces": learner.paces,
        "options": asdict(options),
        "bf16": machine.bf16,
    }
    with nullcontext() if run is None else Run(Path(run), asked) as record:
        done = train(
            learner,
            batches,
            options,
            None if record is None else record.folder,
            bf16=machine.bf16,
            run=record,
            after_epoch=passing.ended,
            beside=passing,
        )
    if done < batches.steps:
        raise KeyboardInterrupt
    seconds = time.monotonic() - began if record is None else record.state["seconds"]
    learner.eval()
    epoch, start = passing.restore(), model if isinstance(model, Model) else None
    training = {
        "data": seen(store, np.concatenate([chosen, chooses[0]]) if choose is None else chosen),
        **({} if choose is None else {"chosen by": seen(store, chooses[0])}),
        "command": typed(),
        "options": asdict(options),
        "machine": machine.facts(),
        "seconds": round(seconds, 1),
        "steps": done,
        "labels": {
            "kind": kind,
            "epoch": epoch,
            "leads": list(only),
            "lead_chance": learner.lead_chance,
        },
        **_before(start),
    }
    return Finetuned(
        result,
        kind,
        only,
        tuple(passing.checks),
        epoch,
        chosen,
        chooses[0],
        start,
        training,
    )


def _parted(
    given: Examples, whose: Sequence[Hashable], share: float, seed: int
) -> tuple[Examples, Examples]:
    """What to fit, and what of it is kept to choose the epoch."""
    rows, targets = given
    if len(whose) != len(rows):
        raise UsageError(f"{len(whose)} people for {len(rows)} rows.")
    fitted, held = split_by_subject(whose, share, seed)
    return (rows[fitted], targets[fitted]), (rows[held], targets[held])


def _refuse_mixed(store: Store, fitted: Examples, chooses: Examples) -> None:
    """What chooses the epoch shares neither a subject nor a form of target with what is fitted."""
    shared = set(subjects_of(store, fitted[0])) & set(subjects_of(store, chooses[0]))
    if shared:
        raise UsageError(
            f"{len(shared)} subjects are among the rows and among those that choose the epoch.",
            "Keep a person's recordings together.",
        )
    if fitted[1].shape[1:] != chooses[1].shape[1:]:
        raise UsageError("The rows that choose the epoch have other targets than those to fit.")


def split_by_subject(
    whose: Sequence[Hashable], share: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Part positions in `whose`: those to fit, and those of a share of the subjects.

    The second part is empty where it would be too small to choose anything.
    """
    if not 0 <= share < 1:
        raise UsageError(f"A validation share of {share} cannot be meant.", "Give 0.15, or 0.")
    known: dict[Hashable, int] = {}
    number = np.array([known.setdefault(one, len(known)) for one in whose], np.int64)
    shuffled = np.random.default_rng((seed, len(known))).permutation(len(known))
    held = np.isin(number, shuffled[: round(share * len(known))])
    if held.sum() < LEAST_VALIDATION:
        held[:] = False
    return np.flatnonzero(~held), np.flatnonzero(held)


def subjects_of(store: Store, rows: Rows) -> list[str]:
    """Whose each row is; a recording of nobody known is a subject of its own."""
    subject = store.column("subject")
    return [subject[row] or f"row {row}" for row in rows]


def _body(
    model: Model | Method, store: Store, window: float, *, frozen: bool
) -> tuple[Method, Contract, int]:
    """A copy of what is to be trained, the contract of its signals, the samples of its window."""
    held = store.contract
    if isinstance(model, Model):
        if model.contract.rate != held.rate:
            raise UsageError(
                f"The model expects {model.contract.rate:g} Hz, {store.path} has {held.rate:g}.",
                f"Prepare the store with --rate {model.contract.rate:g}.",
            )
        body = body_of(model.method)
        return deepcopy(body) if frozen else learnable(model), model.contract, model.window
    body = deepcopy(body_of(model))
    if body.needs.leads != len(held.leads):
        raise UsageError(f"The method has {body.needs.leads} leads, the store {len(held.leads)}.")
    return body, held, round(window * held.rate)


def _named(examples: Examples) -> str:
    """A digest of rows and their targets."""
    rows, targets = map(torch.as_tensor, examples)
    return digest({"rows": rows, "targets": targets})


def _before(start: Model | None) -> Mapping[str, Any]:
    """What the provenance says of the model that the training began with."""
    if start is None or start.config is None:
        return {}
    return {"start": {"tensors": start.config.tensors, "training": start.config.training}}


def _was_trained(model: Model) -> bool:
    return model.config is None or model.config.training.get("steps") != 0


def _checked(
    store: Store, rows: ArrayLike, targets: ArrayLike, kind: str, outputs: int | None
) -> Examples:
    """Rows and targets in the shape that training needs, or an error in words."""
    if kind not in (*KINDS, IDENTITY):
        raise UsageError(f"kind={kind!r}.", nearest(kind, (*KINDS, IDENTITY)))
    chosen, given = np.asarray(rows), np.asarray(targets)
    if chosen.ndim != 1 or len(chosen) < 2 or len(given) != len(chosen):
        raise UsageError(f"{given.shape} targets for rows of shape {chosen.shape}.")
    if chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= len(store):
        raise UsageError(f"Rows must be whole numbers from 0 to {len(store) - 1}.")
    if len(np.unique(chosen)) != len(chosen):
        raise UsageError("A row is named twice.")
    if not np.isfinite(given.astype(np.float64)).all():
        raise UsageError("Targets must be numbers, all of them.", "Leave out rows without one.")
    if kind in ("classes", IDENTITY):
        most = math.inf if outputs is None else outputs
        if given.ndim != 1 or (given != given.astype(np.int64)).any():
            raise UsageError("Classes are one whole number for each row.")
        if given.min() < 0 or given.max() >= most:
            raise UsageError(f"Classes are numbered from 0 to {most - 1:g}.")
        return chosen.astype(np.int64), given.astype(np.int64)
    if kind == "multilabel" and (given.ndim != 2 or not np.isin(given, (0, 1)).all()):
        raise UsageError("Several labels are zeros and ones of shape (N, labels).")
    return chosen.astype(np.int64), given.reshape(len(given), -1).astype(np.float32)


def _shares(labels: NDArray[Any], kind: str, outputs: int) -> torch.Tensor:
    """How often each class or label is met, never 0 or 1."""
    if kind == "classes":
        count, of = np.bincount(labels, minlength=outputs) + 0.5, len(labels) + 0.5 * outputs
    else:
        count, of = labels.reshape(len(labels), -1).sum(0) + 0.5, len(labels) + 1
    return torch.tensor(count / of, dtype=torch.float32)


def _facts(
    labels: NDArray[Any], kind: str, outputs: int | None, *, balanced: bool
) -> dict[str, Any]:
    """What the predictor's arguments say about the targets it is fitted to."""
    if kind == "regression":
        size = labels.std(0)
        return {
            "outputs": labels.shape[1],
            "mean": labels.mean(0).tolist(),
            "size": np.where(size > 0, size, 1.0).tolist(),
        }
    if kind == "multilabel":
        return {"outputs": labels.shape[1]}
    count = np.bincount(labels, minlength=outputs or 0)
    weights = len(labels) / (np.count_nonzero(count) * np.maximum(count, 1))
    return {"outputs": len(count), "weights": weights.tolist() if balanced else ()}


@torch.no_grad()
def _width(body: Method, length: int) -> int:
    """Values of its embedding."""
    device = next((one.device for one in body.parameters()), torch.device("cpu"))
    nothing = torch.zeros(1, body.needs.leads, length, device=device)
    return body.eval().embed(nothing, torch.ones_like(nothing, dtype=torch.bool)).shape[1]
