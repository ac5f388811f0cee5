"""Bundle: the folder of a model, written whole and loaded strictly.

    model.safetensors   the tensors that using the model needs
    config.json         method, arguments, preprocessing contract, provenance, digest, fingerprint
    README.md           the model card

Every tensor has to be there under its name, in its shape, with the bits that were written, and the
embedding of a probe recording has to come out as it did after the training.
"""

import inspect
import math
import shutil
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerula import __version__, brought, cards, hub, sample
from nerula.brought import WEIGHTS
from nerula.contract import Contract
from nerula.cores import require
from nerula.errors import NerulaError, UsageError, nearest
from nerula.method import Method
from nerula.methods import METHODS, find
from nerula.model import Model
from nerula.options import frozen
from nerula.recording import Recording
from nerula.run import (
    MODEL,
    SHOWN,
    altered,
    digest,
    digests,
    read_tensors,
    trouble,
    write_tensors,
)
from nerula.schema import CONFIG, TENSORS, Config

DEFAULT = "nerula-small"
"""The model that is taken where none is named; it comes with the package."""
TOLERANCE = 1e-3
"""How far the probe's embedding may be from the stored one, relative to its length."""
_SENSELESS = (ArithmeticError, LookupError, RuntimeError, ValueError)
"""What layers raise when their arguments make no sense."""
LARGEST, MOST = 1 << 16, 1000
"""No whole number among a method's arguments is meant to be larger, and no list of them longer."""


def load(
    name: Path | str,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    method: type[Method] | None = None,
) -> Model:
    """Load a model: its folder, a run's folder, or the name of one that Nerula brings along.

    `hf:USER/NAME`, or `hf:USER/NAME@REVISION`, is fetched from the Hugging Face hub, once; that
    needs the extra `hub`.

    `precision` "bf16" computes matrix products in bfloat16: about twice as fast where the
    processor has instructions for it, with embeddings that agree to two or three digits.
    `method` is the class of a method of your own: a model's config never imports code by itself.

    >>> import nerula
    >>> nerula.load("nerula-small")
    Model(Nerula: II at 100 Hz, windows of 10.24 s)
    """
    if precision not in ("fp32", "bf16"):
        raise UsageError(f"There is no precision {precision!r}.", "Choose fp32 or bf16.")
    require(device)
    folder = found(name)
    config = Config.read(folder)
    kind, arguments = _kind(folder, config, method)
    try:
        with torch.device("meta"):  # shapes only: no config can ask for terabytes
            expected = _build(kind, arguments).state_dict()
    except UsageError as error:
        raise NerulaError(f"{folder / CONFIG}: {error.message}", error.remedy) from None
    tensors, _ = read_tensors(folder / TENSORS, config.each)
    _compare(folder / TENSORS, expected, tensors)
    if digest(tensors) != config.tensors:
        names = altered(tensors, config.each)
        raise NerulaError(
            f"{folder / TENSORS} does not belong to the {CONFIG} beside it: its digest differs"
            + (f", that of {names}." if names else "."),
            "Copy the whole folder again.",
        )
    built = _build(kind, arguments)
    built.load_state_dict(tensors)
    model = Model(built.to(device), config.contract, config.window, config)
    _recognise(folder, model, config)
    model.bf16 = precision == "bf16"
    return model


def save(
    folder: Path,
    method: Method,
    *,
    name: str,
    arguments: Mapping[str, Any],
    contract: Contract,
    window: int,
    training: Mapping[str, Any],
    half: bool = False,
) -> None:
    """Write a model's folder; with `half` its weights are rounded to 16 bits."""
    written = _build(type(method), arguments)
    trained = method.state_dict()
    tensors = {key: trained[key] for key in written.state_dict()}
    if half:
        tensors = {
            key: one.half() if one.is_floating_point() else one for key, one in tensors.items()
        }
    written.load_state_dict(tensors)
    try:
        z = embed_probe(Model(written, contract, window))
    except _SENSELESS as error:
        raise NerulaError(
            f"{type(method).__name__} cannot embed with these arguments: {error}.",
            "--debug shows where.",
        ) from error
    config = Config(
        method=name,
        arguments=dict(arguments),
        contract=contract,
        window=window,
        dimensions=len(z),
        tensors=digest(tensors),
        each=digests(tensors),
        fingerprint=tuple(float(str(value)) for value in z),  # as few digits as float32 has
        training=dict(training),
        nerula=__version__,
    )
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_tensors(partial / TENSORS, tensors, {})
        config.write(partial)
        cards.write(partial, config)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise trouble(folder, error) from error


def rebuilt(method: Method, arguments: Mapping[str, Any]) -> Method:
    """The same weights under other arguments, without what only training needs."""
    made, held = _build(type(method), arguments), method.state_dict()
    made.load_state_dict({name: held[name] for name in made.state_dict()})
    return made


def embed_probe(model: Model) -> NDArray[np.float32]:
    """The embedding of the first recording of the bundled sample, the same for every lead."""
    ecg, leads = sample.load(), model.contract.leads
    x = np.repeat(ecg.x[0], len(leads), axis=0)
    probe = Recording("probe", x, ecg.rate, leads, np.ones(x.shape, np.bool_))
    return next(model.embed_recordings([probe])).mean()


def locate(name: Path | str) -> Path | None:
    """The folder of a model: its own, a run's, one that Nerula brings along, or one of the hub."""
    if str(name).startswith(hub.PREFIX):
        return hub.fetch(str(name))
    for folder in (Path(name), Path(name) / MODEL, WEIGHTS / str(name)):
        if (folder / CONFIG).is_file() and (folder / TENSORS).is_file():
            return folder
    return None


def found(name: Path | str) -> Path:
    """The folder of a model; one of the hub is fetched if it has to be."""
    folder = locate(name)
    if folder is not None:
        return folder
    raise NerulaError(
        f"{name} is no model.",
        "Give the folder of a model or of a run that has ended, hf:USER/NAME of the hub, or one "
        f"that Nerula brings along. {nearest(str(name), brought.names())}",
    )


def _kind(
    folder: Path, config: Config, method: type[Method] | None
) -> tuple[type[Method], dict[str, Any]]:
    """The class that a config names, and the arguments for it."""
    if method is None and config.method not in METHODS:
        raise UsageError(
            f"{folder} holds a model of the method {config.method!r}, which is not one of ours.",
            "If you trust it: nerula.load(..., method=TheClass).",
        )
    kind = method or find(config.method)
    known = inspect.signature(kind).parameters
    if unknown := set(config.arguments) - set(known):
        names = ", ".join(sorted(unknown))
        raise NerulaError(
            f"{folder / CONFIG}: {config.method} has no arguments {names}.",
            f"The model was written by Nerula {config.nerula}; this is {__version__}.",
        )
    # What an older Nerula did not know has its default; the fingerprint tells if that is wrong.
    arguments = {name: one.default for name, one in known.items()}
    arguments |= {name: frozen(value) for name, value in config.arguments.items()}
    for name, value in arguments.items():
        numbers = list(islice(_numbers(value), MOST + 1))
        if len(numbers) > MOST or not all(map(_can_be_meant, numbers)):
            said = f"{str(value)[:40]}..." if isinstance(value, tuple) else str(value)
            raise NerulaError(f"{folder / CONFIG}: {name} = {said} cannot be meant.")
    return kind, arguments


def _numbers(value: Any) -> Iterator[float]:
    """Every number in an argument."""
    if isinstance(value, tuple):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, int | float):
        yield value


def _can_be_meant(number: float) -> bool:
    return math.isfinite(number) if isinstance(number, float) else abs(number) <= LARGEST


def _build(kind: type[Method], arguments: Mapping[str, Any]) -> Method:
    """A method without the parts that only its training needs."""
    try:
        method = kind(**arguments)
    except (*_SENSELESS, TypeError) as error:
        raise NerulaError(f"{kind.__name__} cannot be built: {error}") from error
    for part in kind.training_only:
        if getattr(method, part, None) is not None:
            setattr(method, part, None)
    return method


def _compare(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are missing, unknown, or of another shape or kind, by name."""
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} is unknown" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        want, have = expected[name], found[name]
        if want.shape != have.shape:
            wrong.append(f"{name} is {tuple(have.shape)} instead of {tuple(want.shape)}")
        elif want.is_floating_point() != have.is_floating_point():
            wrong.append(f"{name} is {have.dtype} instead of {want.dtype}")
    if wrong:
        more = f", and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise NerulaError(
            f"{path} is not what its config describes: {', '.join(sorted(wrong)[:SHOWN])}{more}."
        )


def _recognise(folder: Path, model: Model, config: Config) -> None:
    """Compare the embedding of the probe recording with the stored one."""
    stored = np.array(config.fingerprint, np.float32)
    try:
        z = embed_probe(model)
    except _SENSELESS as error:
        raise NerulaError(f"{folder / CONFIG}: its arguments do not embed: {error}.") from error
    apart = math.inf
    if z.shape == stored.shape:
        apart = float(np.linalg.norm(z - stored)) / max(float(np.linalg.norm(stored)), 1e-6)
    if not apart <= TOLERANCE:
        raise NerulaError(
            f"{folder} gives another embedding for the probe recording than when it was written "
            f"(relative difference {apart:.2g}): what computes it here is not what trained it.",
            f"It was written by Nerula {config.nerula}; this is {__version__}.",
        )
