"""BYOL, SimCLR, CMSC, Ti-MAE and the supervised network: their equations against plain NumPy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nerula.encoders.pool import pool
from nerula.encoders.resnet import ResNet
from nerula.errors import UsageError
from nerula.method import Batch, Method
from nerula.methods import build
from nerula.methods.byol import Byol
from nerula.methods.cmsc import Cmsc
from nerula.methods.simclr import Simclr
from nerula.methods.supervised import Predictor, Supervised
from nerula.methods.timae import Timae, chosen

TINY: dict[str, Any] = {"widths": (4, 4, 4, 4)}
ROWS, TIME = 6, 256


def made(method: type[Method], **arguments: Any) -> Any:
    torch.manual_seed(0)
    return method(**arguments)


def given(segments: int = 1, labels: Tensor | None = None, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, segments, 1, TIME, generator=generator).cumsum(-1) / 10
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[0, :, :, 30:60] = False
    subject = torch.tensor([0, 1, 1, 2, -1, -1])
    return Batch(x, valid, subject, torch.Generator().manual_seed(seed), labels)


def cosines(a: Tensor, b: Tensor) -> np.ndarray:
    x, y = a.detach().double().numpy(), b.detach().double().numpy()
    return (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)


# --- BYOL --------------------------------------------------------------------------------------


def test_byol_is_equation_2_in_both_directions() -> None:
    method = made(Byol, **TINY)
    with torch.no_grad():
        for parameter in method.target.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    x, valid = method._views(given())
    with torch.no_grad():
        online = method.predictor(method.projection(method.encoder(x, valid)))
        aim = method.target.projection(method.target.encoder(x, valid))

    def apart(q: Tensor, z: Tensor) -> float:
        unit_q, unit_z = (one.double() / one.double().norm(dim=1, keepdim=True) for one in (q, z))
        return float((unit_q - unit_z).square().sum(1).mean())

    expected = apart(online[:ROWS], aim[ROWS:]) + apart(online[ROWS:], aim[:ROWS])
    assert method(given(), 0.0)["loss"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_byols_target_follows_and_takes_the_statistics_as_they_are(progress: float) -> None:
    method = made(Byol, **TINY)
    method(given(), progress)["loss"].backward()
    with torch.no_grad():
        for parameter in (*method.encoder.parameters(), *method.projection.parameters()):
            parameter.add_(torch.randn_like(parameter))
    online = torch.nn.ModuleList([method.encoder, method.projection])
    before = [one.clone() for one in method.target.parameters()]
    assert all(one.grad is None and not one.requires_grad for one in method.target.parameters())
    method.after_step(progress)
    rate = 1 - 0.01 * (math.cos(math.pi * progress) + 1) / 2
    trios = zip(before, online.parameters(), method.target.parameters(), strict=True)
    for old, new, found in trios:
        assert torch.allclose(found, rate * old + (1 - rate) * new, atol=1e-6)
    buffers = list(zip(online.buffers(), method.target.buffers(), strict=True))
    assert sum("running" in name for name, _ in method.encoder.named_buffers()) > 30
    assert all(torch.equal(new, found) for new, found in buffers)


def test_byol_without_a_target_compares_with_itself_detached() -> None:
    method = made(Byol, ema=0.0, **TINY)
    assert method.target is None
    x, valid = method._views(given())
    with torch.no_grad():
        z = method.projection(method.encoder(x, valid))
        q = method.predictor(z)
    expected = (2 - 2 * cosines(q[:ROWS], z[ROWS:])).mean()
    expected += (2 - 2 * cosines(q[ROWS:], z[:ROWS])).mean()
    assert method(given(), 0.0)["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_only_the_views_of_table_1_differ() -> None:
    networks = {str(made(Byol, views=views, **TINY)) for views in ("augmentation", "masks")}
    assert networks == {str(made(Byol, views="neighbours", **TINY))}
    augmented = made(Byol, **TINY)._views(given())[0]
    assert not torch.equal(augmented[:ROWS], augmented[ROWS:])
    batch = given(segments=2)
    x, valid = made(Byol, views="neighbours", **TINY)._views(batch)
    assert torch.equal(x, torch.cat([batch.x[:, 0], batch.x[:, 1]]))
    assert torch.equal(valid, torch.cat([batch.valid[:, 0], batch.valid[:, 1]]))
    x, valid = made(Byol, views="masks", **TINY)._views(given())
    first, second = (x != 0).chunk(2)
    assert (first ^ second).all()
    assert (first.sum(-1) == TIME // 2).all()
    assert torch.equal(valid, given().valid[:, 0].repeat(2, 1, 1))  # the encoder is not told


@pytest.mark.parametrize("name", ["views", "encoder", "norm", "pooling", "normalise"])
def test_a_choice_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="Choose from"):
        Byol(**{name: "nonsense"})


def test_every_baseline_can_have_nerulas_encoder() -> None:
    for name in ("byol", "simclr", "cmsc", "random_init", "supervised"):
        method = build(name, encoder="local").eval()
        with torch.no_grad():
            assert method.embed(given().x[:, 0], given().valid[:, 0]).shape == (ROWS, 128)


# --- SimCLR and CMSC ---------------------------------------------------------------------------


def test_simclr_finds_the_other_augmentation() -> None:
    from nerula.augment import augment

    method = made(Simclr, temperature=0.3, **TINY)
    batch = given()
    views = [augment(batch.x[:, 0], batch.valid[:, 0], batch.generator) for _ in range(2)]
    both = [torch.cat([one[part] for one in views]) for part in (0, 1)]
    with torch.no_grad():
        z = method.projection(method.encoder(*both)).double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    similar = np.exp(z @ z.T / 0.3)
    np.fill_diagonal(similar, 0)
    other = np.roll(np.arange(2 * ROWS), ROWS)
    expected = -np.log(similar[np.arange(2 * ROWS), other] / similar.sum(1)).mean()
    assert method(given(), 0.0)["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_cmsc_finds_the_segments_of_the_subject() -> None:
    method = made(Cmsc, **TINY)
    assert method.needs.segments == 2
    batch = given(segments=2)
    x, valid = (
        torch.cat([one[:, 0], one[:, 1]]) for one in (batch.x, batch.valid)
    )  # one pass: BatchNorm sees both segments
    with torch.no_grad():
        z = pool([method.encoder(x, valid)], "mean").double().numpy()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    score = z[:ROWS] @ z[ROWS:].T / 0.1
    pairs = [(i, i) for i in range(ROWS)] + [(1, 2), (2, 1)]  # rows 1 and 2 are one subject's
    there = [score[i, j] - np.log(np.exp(score[i]).sum()) for i, j in pairs]
    back = [score[j, i] - np.log(np.exp(score[:, i]).sum()) for i, j in pairs]
    expected = -(np.mean(there) + np.mean(back)) / 2
    assert method(batch, 0.0)["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_cmsc_gives_directions() -> None:
    method = made(Cmsc, **TINY).eval()
    x, valid = given().x[:, 0], given().valid[:, 0]
    with torch.no_grad():
        z, pooled = method.embed(x, valid), pool([method.encoder(x, valid)], "mean")
        nothing = method.embed(x[:1], torch.zeros_like(valid[:1]))
    assert torch.allclose(z * pooled.norm(dim=1, keepdim=True), pooled, atol=1e-6)
    assert torch.allclose(z.norm(dim=1), torch.ones(ROWS))
    assert not nothing.any()


# --- Ti-MAE ------------------------------------------------------------------------------------


def test_timae_gathers_a_quarter_and_puts_it_back() -> None:
    noise = torch.rand(5, 40, generator=torch.Generator().manual_seed(0))
    kept, restore = chosen(noise, 0.25)
    assert kept.shape == (5, 10)
    for row in range(5):
        assert set(kept[row].tolist()) == set(np.argsort(noise[row].numpy())[:10].tolist())
    values = torch.arange(40.0).expand(5, 40)
    shuffled = torch.cat([values.gather(1, kept), torch.full((5, 30), -1.0)], 1)
    back = shuffled.gather(1, restore)
    visible = torch.zeros(5, 40, dtype=torch.bool).scatter(1, kept, True)
    assert torch.equal(back[visible], values[visible])
    assert (back[~visible] == -1).all()


def test_timae_is_the_squared_error_on_masked_points() -> None:
    method = made(Timae)
    seen: dict[str, Tensor] = {}
    method.decoder[0].register_forward_pre_hook(lambda _, inputs: seen.update(h=inputs[0]))
    method.decoder_norm.register_forward_hook(lambda *held: seen.update(out=held[2]))
    method.encoder[0].register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    batch = given()
    loss = method(batch, 0.0)["loss"].item()
    assert seen["x"].shape == (ROWS, TIME // 4, 64)  # only visible tokens enter the encoder
    assert seen["h"].shape == (ROWS, TIME, 32)
    noise = torch.rand(ROWS, TIME, generator=torch.Generator().manual_seed(1))
    x, valid = (one[:, 0, 0].numpy() for one in (batch.x, batch.valid))
    order = np.argsort(np.where(valid, noise.numpy(), 2.0), axis=1)
    masked = np.ones((ROWS, TIME), bool)
    np.put_along_axis(masked, order[:, : TIME // 4], False, axis=1)
    mean = (x * valid).sum(1, keepdims=True) / valid.sum(1, keepdims=True)
    with torch.no_grad():
        rebuilt = method.out(seen["out"])[..., 0].numpy()
    error = ((rebuilt - (x - mean) / 0.2) ** 2)[masked & valid].mean()
    assert loss == pytest.approx(error, rel=1e-4)
    assert not masked[0, :30].all()
    assert masked[0, 30:60].all()  # what is not valid is never shown


def test_timaes_hidden_points_reach_the_decoder_as_the_learned_token() -> None:
    method = made(Timae)
    seen: dict[str, Tensor] = {}
    method.decoder[0].register_forward_pre_hook(lambda _, inputs: seen.update(h=inputs[0]))
    from nerula.encoders.transformer import sinusoids

    method(given(), 0.0)
    plain = seen["h"] - sinusoids(TIME, 32, torch.device("cpu"))
    learned = (plain - method.hidden).abs().amax(-1) < 1e-5
    assert (learned.sum(1) == TIME - TIME // 4).all()


def test_positions_are_the_sines_and_cosines_of_the_transformer() -> None:
    from nerula.encoders.transformer import sinusoids

    found = sinusoids(50, 8, torch.device("cpu")).numpy()
    place, step = np.arange(50)[:, None], np.arange(4)[None]
    angle = place / 10_000 ** (2 * step / 8)
    assert np.allclose(found[:, 0::2], np.sin(angle), atol=1e-5)
    assert np.allclose(found[:, 1::2], np.cos(angle), atol=1e-5)


def test_timae_fills_in_millivolt_and_any_length_in_pieces() -> None:
    method = made(Timae).eval()
    x = torch.sin(torch.arange(2500) / 10).view(1, 1, -1) + 5
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[..., 1000:1100] = False
    with torch.no_grad():
        filled = method.reconstruct(torch.where(valid, x, torch.nan), valid)
        z = method.embed(x, valid)
    assert torch.equal(filled[valid], x[valid])
    assert (filled[~valid] - 5).abs().mean() < 2
    assert z.shape == (1, 64)


# --- supervised --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "millions"), [((64, 128, 256, 512), 15.95), ((64, 64, 64, 64), 0.94)]
)
def test_the_residual_networks_have_the_sizes_that_are_said(
    widths: tuple[int, ...], millions: float
) -> None:
    network = ResNet(widths=widths, norm="batch")
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def predictor(kind: str, labels: Tensor, **arguments: Any) -> tuple[float, np.ndarray]:
    """The loss, and the linear layer's outputs."""
    method = made(Supervised, kind=kind, **TINY, **arguments)
    batch = given(labels=labels)
    loss = method(batch, 0.0)["loss"].item()
    again = made(Supervised, kind=kind, **TINY, **arguments)
    with torch.no_grad():
        z = pool([again.body.encoder(batch.x[:, 0], batch.valid[:, 0])], "mean")
        return loss, again.head(z).double().numpy()


def test_classes_have_a_weighted_cross_entropy() -> None:
    y = np.array([0, 1, 2, 2, 1, 0])
    weights = np.array([1.0, 3.0, 0.5])
    loss, o = predictor("classes", torch.tensor(y), outputs=3, weights=weights.tolist())
    p = np.exp(o) / np.exp(o).sum(1, keepdims=True)
    expected = np.average(-np.log(p[np.arange(6), y]), weights=weights[y])
    assert loss == pytest.approx(expected, rel=1e-4)


def test_several_labels_have_a_binary_cross_entropy_each() -> None:
    y = np.random.default_rng(0).integers(0, 2, (6, 3))
    loss, o = predictor("multilabel", torch.tensor(y), outputs=3)
    p = 1 / (1 + np.exp(-o))
    assert loss == pytest.approx(-np.log(np.where(y == 1, p, 1 - p)).mean(), rel=1e-4)


def test_values_have_a_squared_error_in_standard_deviations() -> None:
    y = np.array([20.0, 80, 50, 40, 60, 70])
    labels = torch.tensor(y).view(6, 1)
    loss, o = predictor("regression", labels, outputs=1, mean=[50.0], size=[20.0])
    assert loss == pytest.approx(np.mean((o[:, 0] - (y - 50) / 20) ** 2), rel=1e-4)


def test_predictions_are_probabilities_or_values_in_their_units() -> None:
    x, valid = given().x[:, 0], given().valid[:, 0]
    with torch.no_grad():
        one = made(Supervised, outputs=3, **TINY).eval()
        assert torch.allclose(one.predict(x, valid).sum(1), torch.ones(ROWS))
        many = made(Supervised, kind="multilabel", outputs=3, **TINY).eval()
        assert ((many.predict(x, valid) > 0) & (many.predict(x, valid) < 1)).all()
        value = made(Supervised, kind="regression", outputs=1, mean=(50,), size=(20,), **TINY)
        value.eval()
        plain = value.head(value.embed(x, valid))
        assert torch.allclose(value.predict(x, valid), plain * 20 + 50)


def test_arguments_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="3 numbers as weights of 2 outputs"):
        Supervised(weights=(1.0, 1.0, 1.0))
    with pytest.raises(UsageError, match="Choose from classes"):
        Supervised(kind="poetry")
    with pytest.raises(TypeError, match="labels"):
        Supervised(**TINY)(given(), 0.0)


def test_a_frozen_body_keeps_weights_and_statistics() -> None:
    body = made(Byol, **TINY)
    method = Predictor(body, 16, kind="classes", outputs=2, frozen=True, standardised=True).train()
    before = {name: value.clone() for name, value in body.state_dict().items()}
    method(given(labels=torch.tensor([0, 1, 0, 1, 0, 1])), 0.0)["loss"].backward()
    assert all(one.grad is None for one in body.parameters())
    assert method.head.weight.grad is not None
    assert all(torch.equal(before[name], value) for name, value in body.state_dict().items())
