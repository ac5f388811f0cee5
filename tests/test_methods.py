"""The contract that every method keeps, over every registered method by itself."""

import inspect
import json
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nerula.errors import UsageError
from nerula.method import Batch, Method
from nerula.methods import METHODS, build, find

TIME = 320


@pytest.fixture(params=sorted(METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(name for name in METHODS if find(name).trains))
def learner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(name: str, **arguments: Any) -> Method:
    torch.manual_seed(0)
    return build(name, **arguments)


def signals(rows: int, leads: int, time: int = TIME, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy beats in mV, a stretch of each not valid."""
    generator = torch.Generator().manual_seed(seed)
    moment = torch.arange(time) / 100
    pace = 0.8 + torch.rand(rows, leads, 1, generator=generator)
    x = torch.exp(-((((moment * pace) % 1) - 0.5) * 20).square())
    x = x + 0.1 * torch.randn(rows, leads, time, generator=generator)
    valid = torch.ones(rows, leads, time, dtype=torch.bool)
    for row in range(rows):
        valid[row, :, 20 * row + 10 : 20 * row + 45] = False
    return x, valid


def batch(method: Method, rows: int = 6, time: int = TIME, seed: int = 0) -> Batch:
    needs = method.needs
    x, valid = signals(rows * needs.segments, needs.leads, time, seed)
    shape = (rows, needs.segments, needs.leads, time)
    return Batch(
        x.view(shape),
        valid.view(shape),
        torch.arange(rows),
        torch.Generator().manual_seed(seed),
        torch.arange(rows) % 2 if needs.labels else None,
    )


READ_OUT = [name for name in METHODS if "pooling" in inspect.signature(find(name)).parameters]


@pytest.mark.parametrize("name", READ_OUT)
def test_all_layers_are_the_moments_of_the_tokens_and_more(name: str) -> None:
    read: dict[str, Tensor] = {}
    for pooling in ("mean", "moments", "layers", "steps"):
        method = made(name, pooling=pooling).eval()
        x, valid = signals(3, method.needs.leads)
        valid[2] = False
        with torch.no_grad():
            read[pooling] = method.embed(x, valid)
    width, size = read["mean"].shape[1], read["moments"].shape[1]
    assert read["layers"].shape[1] >= size + width
    assert read["steps"].shape[1] >= read["layers"].shape[1] + 2 * width
    # Directions: of CMSC's embeddings the lengths are taken out.
    own, moments = (F.normalize(z) for z in (read["layers"][:, :size], read["moments"]))
    assert torch.allclose(own, moments, atol=1e-6)
    assert not read["layers"][2].any()
    assert not read["steps"][2].any()


UNLABELLED = [name for name in READ_OUT if find(name).trains and name != "supervised"]
LAST_NORMS = {"nerula": "encoder.norm", "w2v_cmsc_rlm": "encoder.context_norm", "timae": "norm"}
"""The layer whose weights, where they are zero, make all tokens the same."""


@pytest.mark.parametrize("name", UNLABELLED)
def test_a_collapse_is_watched_for_in_what_the_loss_works_on(name: str) -> None:
    """Earlier layers that are read out must not hide last tokens that are all the same."""
    method = made(name, pooling="layers").eval()
    x, valid = signals(6, method.needs.leads)
    with torch.no_grad():
        watched, embedded = method.watched(x, valid), method.embed(x, valid)
        assert watched.shape[1] < embedded.shape[1]
        assert not torch.allclose(watched[0], watched[1], atol=1e-3)
        if name in LAST_NORMS:
            method.get_submodule(LAST_NORMS[name]).weight.zero_()
            watched, embedded = method.watched(x, valid), method.embed(x, valid)
            assert torch.allclose(watched[0], watched[1], atol=1e-4)
            assert not torch.allclose(embedded[0], embedded[1], atol=1e-3)


def test_arguments_are_keyword_only_with_plain_defaults(name: str) -> None:
    parameters = list(inspect.signature(find(name).__init__).parameters.values())[1:]
    assert parameters
    for parameter in parameters:
        assert parameter.kind is parameter.KEYWORD_ONLY, parameter.name
        assert parameter.default is not parameter.empty, parameter.name
        json.dumps(parameter.default)
    arguments = {parameter.name: parameter.default for parameter in parameters}
    back = json.loads(json.dumps(arguments))
    again = made(name, **back)  # a saved configuration builds the same method
    assert str(again) == str(made(name))


def test_presets_are_arguments(name: str) -> None:
    known = set(inspect.signature(find(name).__init__).parameters)
    for preset, arguments in find(name).presets.items():
        assert set(arguments) <= known
        json.dumps(arguments)
        with torch.device("meta"):  # published sizes need not fit into memory
            assert isinstance(made(name, preset=preset), Method)


def test_the_docstring_names_its_source(name: str) -> None:
    text = (find(name).__doc__ or "") + (inspect.getmodule(find(name)).__doc__ or "")
    assert len(text) > 200


def test_the_loss_is_finite_and_its_gradient_reaches_every_parameter(learner: str) -> None:
    method = made(learner)
    parts = method(batch(method), 0.5)
    assert parts["loss"].shape == ()
    assert all(torch.isfinite(part) for part in parts.values())
    assert all(not part.requires_grad for key, part in parts.items() if key != "loss")
    parts["loss"].backward()
    for key, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert torch.isfinite(parameter.grad).all(), key
            assert parameter.grad.any(), key
    method.after_step(0.5)


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_both_ends_of_every_schedule_are_finite(learner: str, progress: float) -> None:
    method = made(learner)
    method(batch(method), progress)["loss"].backward()
    method.after_step(progress)
    assert all(torch.isfinite(value).all() for value in method.state_dict().values())


def test_a_few_steps_learn(learner: str) -> None:
    method = made(learner)
    optimiser = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], 1e-3)
    losses = []
    for step in range(8):
        loss = method(batch(method), 0.5)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.after_step(step / 8)
        losses.append(loss.item())
    assert min(losses[-3:]) < losses[0]


def test_the_batchs_generator_decides_everything(learner: str) -> None:
    losses = []
    for noise in (1, 2):
        method = made(learner)
        torch.manual_seed(noise)  # the global generator must not matter
        losses.append(method(batch(method), 0.5)["loss"])
    assert torch.equal(*losses)


def test_what_is_not_valid_is_irrelevant_to_the_loss(learner: str) -> None:
    losses = []
    for hidden in (0.0, 1e4):
        method = made(learner)
        given = batch(method)
        x = torch.where(given.valid, given.x, hidden)
        given = Batch(x, given.valid, given.subject, given.generator, given.labels)
        losses.append(method(given, 0.5)["loss"])
    assert torch.equal(*losses)


def test_embedding_one_at_a_time_equals_a_batch(name: str) -> None:
    method = made(name).eval()
    x, valid = signals(5, method.needs.leads)
    with torch.no_grad():
        together = method.embed(x, valid)
        apart = torch.cat([method.embed(x[i : i + 1], valid[i : i + 1]) for i in range(5)])
        other = x.clone()
        other[1:] = 5 * x[1:].roll(7, -1)
        with_others = method.embed(other, valid)
    assert together.ndim == 2
    assert together.dtype == torch.float32
    assert torch.allclose(together, apart, atol=1e-5)
    assert torch.equal(together[0], with_others[0])
    assert name == "majority" or not torch.allclose(together[1], with_others[1])


def test_what_is_not_valid_is_irrelevant_to_the_embedding(name: str) -> None:
    method = made(name).eval()
    x, valid = signals(3, method.needs.leads)
    with torch.no_grad():
        first = method.embed(x, valid)
        for hidden in (0.0, -1e5, torch.nan):
            assert torch.equal(first, method.embed(torch.where(valid, x, hidden), valid))


@pytest.mark.parametrize("time", [1, 100, 333, 1000, 1280, 6000])
def test_any_length_has_an_embedding_of_one_size(name: str, time: int) -> None:
    method = made(name).eval()
    x, valid = signals(2, method.needs.leads, time)
    with torch.no_grad():
        z = method.embed(x, torch.ones_like(valid))
        assert z.shape == method.embed(*signals(2, method.needs.leads)).shape
    assert torch.isfinite(z).all()


def test_nothing_valid_has_a_finite_embedding(name: str) -> None:
    method = made(name).eval()
    x, valid = signals(2, method.needs.leads)
    with torch.no_grad():
        z = method.embed(torch.full_like(x, torch.nan), torch.zeros_like(valid))
    assert torch.isfinite(z).all()
    assert torch.equal(z[0], z[1])


def test_nothing_valid_has_a_finite_loss(learner: str) -> None:
    method = made(learner)
    given = batch(method)
    valid = given.valid.clone()
    valid[0] = False
    parts = method(Batch(given.x, valid, given.subject, given.generator, given.labels), 0.5)
    parts["loss"].backward()
    assert torch.isfinite(parts["loss"])
    for key, parameter in method.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key


def test_evaluation_changes_nothing(name: str) -> None:
    method = made(name).eval()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    with torch.no_grad():
        method.embed(*signals(3, method.needs.leads))
    assert all(torch.equal(before[key], value) for key, value in method.state_dict().items())


def test_the_state_is_the_method(name: str) -> None:
    method = made(name)
    if method.trains:
        method(batch(method), 0.5)["loss"].backward()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    torch.manual_seed(99)
    other = build(name)
    other.load_state_dict(method.state_dict(), strict=True)
    x, valid = signals(3, method.needs.leads)
    with torch.no_grad():
        assert torch.equal(method.eval().embed(x, valid), other.eval().embed(x, valid))
    if method.trains:
        first, second = method.train()(batch(method), 0.3), other.train()(batch(other), 0.3)
        assert torch.equal(first["loss"], second["loss"])


def test_reconstruction_keeps_what_was_measured_or_is_refused(name: str) -> None:
    method = made(name).eval()
    x, valid = signals(3, method.needs.leads)
    if type(method).decode is Method.decode:
        with pytest.raises(TypeError, match="reconstruction"):
            method.reconstruct(x, valid)
        return
    with torch.no_grad():
        filled = method.reconstruct(torch.where(valid, x, torch.nan), valid)
    assert torch.equal(filled[valid], x[valid])
    assert torch.isfinite(filled).all()


def test_bfloat16_keeps_the_loss(learner: str) -> None:
    losses = []
    for bf16 in (False, True):
        method = made(learner)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            parts = method(batch(method, rows=30, time=640), 0.5)
            parts["loss"].backward()
        losses.append(parts["loss"].item())
        assert parts["loss"].dtype == torch.float32
    assert losses[1] == pytest.approx(losses[0], rel=0.05, abs=0.02)


def test_bfloat16_keeps_the_embedding(name: str) -> None:
    embeddings = []
    method = made(name).eval()
    for bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16), torch.no_grad():
            embeddings.append(method.embed(*signals(3, method.needs.leads)).float())
    distance = (embeddings[0] - embeddings[1]).norm(dim=1)
    assert (distance <= 0.14 * embeddings[0].norm(dim=1)).all()  # a cosine of 0.99


def test_a_control_learns_nothing_and_says_so(name: str) -> None:
    method = made(name)
    if method.trains:
        return
    with pytest.raises(TypeError, match="learns nothing"):
        method(batch(method), 0.0)


@pytest.mark.parametrize("huge", [1e6, 1e30, -3e38])
def test_an_absurd_signal_has_a_finite_embedding_from_every_control(
    name: str, huge: float
) -> None:
    method = made(name).eval()
    if method.trains or name == "random_init":
        return
    x, valid = signals(2, method.needs.leads)
    x[:, :, 100:130] = huge
    with torch.no_grad():
        assert torch.isfinite(method.embed(x, valid)).all()


def test_a_method_of_ones_own_needs_no_registration() -> None:
    assert find("nerula.methods.nerula:Nerula") is find("nerula")


@pytest.mark.parametrize(
    "wrong", ["nonsense", "no.such.module:Class", "nerula.method:Nothing", "nerula.method:Batch"]
)
def test_what_is_no_method_is_refused_in_words(wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong.split(":", maxsplit=1)[0].replace(".", r"\.")):
        find(wrong)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UsageError, match="paper"):
        build("nerula", preset="nonsense")
