"""wav2vec 2.0 + CMSC + random lead masking: equations against NumPy, the published network."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nerula.augment import fewer_leads, spans
from nerula.encoders.quantiser import Quantiser
from nerula.encoders.transformer import TransformerBlock
from nerula.encoders.wav2vec import Front, Positions
from nerula.errors import UsageError
from nerula.loss import diversity, frame_contrast, mean_square
from nerula.method import Batch
from nerula.methods import build
from nerula.methods.w2v_cmsc_rlm import W2vCmscRlm, others

SMALL: dict[str, Any] = {
    "channels": (16, 16, 32), "width": 32, "depth": 2, "heads": 4, "kernel": 9,
    "kernel_groups": 4, "entries": 8, "codes": 16, "negatives": 10,
}  # fmt: skip
ROWS, LEADS, TIME = 5, 12, 256


def small(**arguments: Any) -> W2vCmscRlm:
    torch.manual_seed(0)
    return W2vCmscRlm(**{**SMALL, **arguments})


def batch(rows: int = ROWS, leads: int = LEADS, time: int = TIME, seed: int = 0) -> Batch:
    noise = torch.randn(rows, 2, leads, time, generator=torch.Generator().manual_seed(seed))
    x = 0.05 * noise.cumsum(-1)
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[0, :, :, 100:180] = False
    valid[1, :, 3:] = False
    return Batch(
        x, valid, torch.tensor([0, 1, 1, -1, -1])[:rows], torch.Generator().manual_seed(1)
    )


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# --- the equations -----------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), frames=st.integers(1, 9), drawn=st.integers(1, 12))
@settings(deadline=None)
def test_each_context_finds_the_code_of_its_own_frame(seed: int, frames: int, drawn: int) -> None:
    rng = np.random.default_rng(seed)
    c, q = rng.normal(size=(2, 3, frames, 6)).astype(np.float32)
    label = rng.integers(0, 4, (3, frames))
    negatives = rng.integers(0, frames, (3, frames, drawn))
    where = rng.random((3, frames)) < 0.7
    each = []
    for b, i in np.argwhere(where):
        own = np.exp(unit(c[b, i]) @ unit(q[b, i]) / 0.1)
        other = [
            np.exp(unit(c[b, i]) @ unit(q[b, j]) / 0.1)
            for j in negatives[b, i]
            if label[b, j] != label[b, i]
        ]
        each.append(-np.log(own / (own + sum(other))))
    found = frame_contrast(
        *map(torch.tensor, (c, q, label, negatives)), where=torch.tensor(where), temperature=0.1
    )
    assert found.item() == pytest.approx(np.mean(each) if each else 0, rel=1e-4, abs=1e-6)


def test_diversity_is_the_unused_share_of_the_books() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(8, 0.3), size=(4, 7, 2))
    where = rng.random((4, 7)) < 0.6
    mean = p[where].mean(0)
    perplexity = np.exp(-(mean * np.log(mean)).sum(-1))
    expected = 1 - perplexity.sum() / 16
    assert diversity(torch.tensor(p), torch.tensor(where)).item() == pytest.approx(expected)
    even = torch.full((4, 7, 2, 8), 1 / 8)
    assert diversity(even, torch.tensor(where)).item() == pytest.approx(0, abs=1e-6)
    one = torch.zeros(4, 7, 2, 8)
    one[..., 3] = 1
    assert diversity(one, torch.tensor(where)).item() == pytest.approx(1 - 1 / 8)


def test_the_loss_is_the_sum_of_its_parts() -> None:
    method = small(rlm=False)
    given_ = batch()
    parts = method(given_, 0.2)
    total = parts["local"] + 0.1 * parts["diversity"] + 10 * parts["penalty"] + parts["cmsc"]
    assert parts["loss"].item() == pytest.approx(total.item(), rel=1e-6)
    seen: dict[str, Tensor] = {}
    method.encoder.front.register_forward_hook(lambda *held: seen.update(f=held[2].values))
    method.encoder.context_norm.register_forward_hook(lambda *held: seen.update(c=held[2]))
    with torch.no_grad():
        method(batch(), 0.2)
    there = given_.valid.any(2).unflatten(-1, (-1, 8)).any(-1).transpose(0, 1).flatten(0, 1)
    f, c, there = seen["f"].double().numpy(), seen["c"].double().numpy(), there.numpy()
    assert parts["penalty"].item() == pytest.approx((f[there] ** 2).mean(), rel=1e-5)
    z = unit((c * there[..., None]).sum(1) / there.sum(1, keepdims=True))
    score = z[:ROWS] @ z[ROWS:].T / 0.1
    pairs = [(i, i) for i in range(ROWS)] + [(1, 2), (2, 1)]  # rows 1 and 2 are one subject's
    terms = [score[i, j] - np.log(np.exp(score[i]).sum()) for i, j in pairs]
    terms += [score[j, i] - np.log(np.exp(score[:, i]).sum()) for i, j in pairs]
    assert parts["cmsc"].item() == pytest.approx(-np.mean(terms), rel=1e-4)


def test_the_four_systems_are_arguments() -> None:
    assert set(small(cmsc=False)(batch(), 0.5)) == {
        "loss", "local", "diversity", "penalty", "spread", "rank",
    }  # fmt: skip
    plain = small(w2v=False)
    assert plain.local is None
    assert set(plain(batch(), 0.5)) == {"loss", "cmsc", "spread", "rank"}
    with pytest.raises(UsageError, match="no objective"):
        small(w2v=False, cmsc=False)
    assert small(rlm=False).encoder.state_dict().keys() == plain.encoder.state_dict().keys()


def test_only_hidden_frames_are_replaced_and_asked_for() -> None:
    method = small(rlm=False, cmsc=False)
    assert method.local is not None
    seen: dict[str, Tensor] = {}
    method.encoder.positions.register_forward_pre_hook(lambda _, held: seen.update(h=held[0]))
    method.local.quantiser.register_forward_hook(lambda *held: seen.update(q=held[1][0]))
    method(batch(), 0.5)
    there = batch().valid.any(2).unflatten(-1, (-1, 8)).any(-1).transpose(0, 1).flatten(0, 1)
    generator = torch.Generator().manual_seed(1)
    masked = spans(there, generator, probability=0.65, length=4)
    blank = (seen["h"] == method.local.blank).all(-1)
    assert torch.equal(blank, masked)
    assert seen["q"].shape[1] == masked.sum(1).max()
    assert (seen["h"][~there] == 0).all()


# --- masks -------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10_000),
    time=st.integers(1, 80),
    length=st.integers(1, 12),
    probability=st.floats(0.05, 0.9),
)
@settings(deadline=None)
def test_hidden_spans_are_runs_where_something_was_measured(
    seed: int, time: int, length: int, probability: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    valid = torch.ones(4, time, dtype=torch.bool)
    valid[1, : time // 2] = False
    masked = spans(valid, generator, probability=probability, length=length)
    assert not (masked & ~valid).any()
    whole = masked[0].int().tolist()
    runs = [len(run) for run in "".join(map(str, whole)).split("0") if run]
    assert all(run >= min(length, time) for run in runs)
    assert sum(runs) <= math.ceil(probability * time / min(length, time)) * min(length, time)


def test_the_published_spans_hide_between_40_and_50_percent() -> None:
    valid = torch.ones(2000, 156, dtype=torch.bool)
    masked = spans(valid, torch.Generator().manual_seed(0), probability=0.65, length=10)
    assert 0.40 < masked.float().mean() < 0.50
    middle = masked.float().mean(0)[20:-20]
    assert middle.max() - middle.min() < 0.1  # no place is preferred
    assert len({tuple(row) for row in masked.tolist()}) > 1990


@given(seed=st.integers(0, 10_000), leads=st.integers(1, 12), chance=st.floats(0, 1))
@settings(deadline=None)
def test_a_lead_is_hidden_whole_and_one_always_stays(seed: int, leads: int, chance: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(6, leads, 20, generator=generator) < 0.5
    valid[0, 1:] = False
    valid[5] = False
    kept = fewer_leads(valid, generator, chance)
    each = [torch.equal(k, v) or not k.any() for k, v in zip(kept[2], valid[2], strict=True)]
    assert all(each)
    assert kept.any(2).any(1)[:5].all()
    assert torch.equal(kept[0], valid[0])  # its only lead
    assert not kept[5].any()


def test_leads_are_hidden_by_half_and_independently() -> None:
    valid = torch.ones(4000, 12, 1, dtype=torch.bool)
    kept = fewer_leads(valid, torch.Generator().manual_seed(0), 0.5)[..., 0].float()
    assert torch.allclose(kept.mean(0), torch.full((12,), 0.5), atol=0.03)
    between = np.corrcoef(kept.numpy().T) - np.eye(12)
    assert np.abs(between).max() < 0.06


@given(seed=st.integers(0, 1000))
@settings(deadline=None)
def test_negatives_are_other_hidden_frames_of_the_row(seed: int) -> None:
    count = torch.tensor([0, 1, 2, 7])
    drawn = others(count, 7, 300, torch.Generator().manual_seed(seed))
    own = torch.arange(7)[None, :, None]
    assert (drawn[2:] != own).all()
    assert (drawn[3] < 7).all()
    assert (drawn[2][:2] < 2).all()
    assert (drawn[:2] == own).all()
    assert set(drawn[3, 0].tolist()) == {1, 2, 3, 4, 5, 6}


# --- the quantiser -----------------------------------------------------------------------------


def test_one_entry_of_each_book_with_the_gradient_of_the_softmax() -> None:
    torch.manual_seed(0)
    quantiser = Quantiser(6, groups=2, entries=5, width=8)
    x = torch.randn(4, 3, 6)
    found = quantiser(x, 0.7, torch.Generator().manual_seed(0))
    for b in range(4):
        for t in range(3):
            expected = torch.cat([quantiser.book[g, found.codes[b, t, g]] for g in range(2)])
            assert torch.allclose(found.values[b, t], expected, atol=1e-6)
    noise = torch.empty(4, 3, 2, 5).exponential_(generator=torch.Generator().manual_seed(0))
    score = quantiser.choice(x).view(4, 3, 2, 5)
    soft = ((score - noise.log()) / 0.7).softmax(-1)
    upstream = torch.randn(found.values.shape)
    found.values.backward(upstream)
    given_ = quantiser.choice.weight.grad
    quantiser.choice.weight.grad = None
    torch.einsum("btgn,gnd->btgd", soft, quantiser.book.detach()).flatten(2).backward(upstream)
    assert torch.allclose(given_, quantiser.choice.weight.grad, atol=1e-5)
    assert torch.allclose(found.shares, score.softmax(-1))


def test_the_choice_cools_over_a_share_of_the_run() -> None:
    method = small(hot=2.0, cold=0.5, cooling=0.5)
    assert method._heat(0.0) == 2.0
    assert method._heat(0.25) == pytest.approx(1.0)
    assert method._heat(0.5) == method._heat(1.0) == pytest.approx(0.5)


def test_noise_chooses_as_often_as_the_shares_say() -> None:
    torch.manual_seed(1)
    quantiser = Quantiser(3, groups=1, entries=4, width=4)
    x = torch.randn(1, 1, 3).expand(1, 20_000, 3)
    found = quantiser(x, 0.5, torch.Generator().manual_seed(0))
    often = torch.bincount(found.codes[0, :, 0], minlength=4) / 20_000
    assert torch.allclose(often, found.shares[0, 0, 0], atol=0.015)


# --- the published network ---------------------------------------------------------------------


def test_the_paper_preset_has_90_9_million_parameters() -> None:
    with torch.device("meta"):
        method = build("w2v_cmsc_rlm", preset="paper")
    count = sum(parameter.numel() for parameter in method.parameters())
    assert count == 90_883_072
    default = sum(parameter.numel() for parameter in build("w2v_cmsc_rlm").parameters())
    assert 1e6 < default < 3e6


def test_the_front_is_strided_convolutions() -> None:
    torch.manual_seed(0)
    front = Front(3, (8, 8), "group")
    x = torch.randn(2, 3, 44)
    h = x
    for number, layer in enumerate(front.layers):
        weight = layer.weight.unflatten(1, (2, -1)).transpose(1, 2)
        h = nn.functional.conv1d(h, weight, stride=2)
        if not number:
            h = nn.functional.group_norm(h, 8, front.norms[0].weight, front.norms[0].bias)
        h = nn.functional.gelu(h)
    found = front(x, torch.ones_like(x, dtype=torch.bool))
    assert torch.allclose(found.values, h.transpose(1, 2), atol=1e-5)
    assert found.valid.all()


def test_positions_are_a_weight_normalised_grouped_convolution() -> None:
    torch.manual_seed(0)
    mine = Positions(16, 8, 4)
    with torch.no_grad():
        mine.size.mul_(1.5)
    theirs = nn.Conv1d(16, 16, 8, padding=4, groups=4)
    theirs = nn.utils.parametrizations.weight_norm(theirs, dim=2)
    held = {"original0": mine.size, "original1": mine.direction}
    with torch.no_grad():
        for name, value in held.items():
            getattr(theirs.parametrizations.weight, name).copy_(value)
        theirs.bias.copy_(mine.bias)
        h = torch.randn(2, 11, 16)
        expected = nn.functional.gelu(theirs(h.transpose(1, 2))[..., :11]).transpose(1, 2)
        assert torch.allclose(mine(h), expected, atol=1e-5)


@pytest.mark.parametrize("post", [False, True])
@pytest.mark.parametrize("bf16", [False, True])
def test_blocks_are_those_of_torch(post: bool, bf16: bool) -> None:
    torch.manual_seed(0)
    mine = TransformerBlock(32, 4, post=post)
    theirs = nn.TransformerEncoderLayer(
        32, 4, 128, 0.0, nn.functional.gelu, batch_first=True, norm_first=not post
    ).train()
    pairs = (
        (theirs.self_attn.in_proj_weight, mine.qkv.weight),
        (theirs.self_attn.in_proj_bias, mine.qkv.bias),
        (theirs.self_attn.out_proj.weight, mine.out.weight),
        (theirs.self_attn.out_proj.bias, mine.out.bias),
        (theirs.linear1.weight, mine.mlp[1].weight),
        (theirs.linear1.bias, mine.mlp[1].bias),
        (theirs.linear2.weight, mine.mlp[3].weight),
        (theirs.linear2.bias, mine.mlp[3].bias),
    )
    x = torch.randn(2, 21, 32)
    valid = torch.ones(2, 21, dtype=torch.bool)
    valid[1, 13:] = False
    with torch.no_grad():
        for to, held in pairs:
            to.copy_(held)
        expected = theirs(x, src_key_padding_mask=~valid)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found = mine(x, valid).float()
    assert torch.allclose(found[valid], expected[valid], atol=0.1 if bf16 else 1e-5)


def published(method: W2vCmscRlm, x: Tensor, masked: Tensor | None) -> tuple[Tensor, Tensor]:
    """Features and contexts of (B, L, T) from torch's own layers with the method's weights."""
    encoder, h = method.encoder, x
    for number, layer in enumerate(encoder.front.layers):
        h = nn.functional.conv1d(h, layer.weight.unflatten(1, (2, -1)).transpose(1, 2), stride=2)
        if not number:
            norm = encoder.front.norms[0]
            h = nn.functional.group_norm(h, h.shape[1], norm.weight, norm.bias)
        h = nn.functional.gelu(h)
    features = h.transpose(1, 2)
    h = encoder.enter(encoder.norm(features))
    if masked is not None and method.local is not None:
        h[masked] = method.local.blank
    place = encoder.positions
    weight = place.size * place.direction / place.direction.norm(dim=(0, 1), keepdim=True)
    around = nn.functional.conv1d(
        h.transpose(1, 2), weight, place.bias, padding=place.kernel // 2, groups=place.groups
    )[..., : h.shape[1]]
    h = encoder.context_norm(h + nn.functional.gelu(around).transpose(1, 2))
    for block in encoder.blocks:
        wide = h.shape[2]
        mixed, _ = nn.functional.multi_head_attention_forward(
            *[h.transpose(0, 1)] * 3, wide, block.heads, block.qkv.weight, block.qkv.bias,
            None, None, False, 0.0, block.out.weight, block.out.bias, need_weights=False,
        )  # fmt: skip
        h = block.norm(h + mixed.transpose(0, 1))
        h = block.mlp[0](h + block.mlp[3](nn.functional.gelu(block.mlp[1](h))))
    return features, h


def test_the_published_network_and_its_loss_step_by_step() -> None:
    method = small(norm="group", post=True, normalise="none", kernel=8, rlm=False)
    assert method.local is not None
    given_ = batch()
    x = torch.cat([given_.x[:, 0], given_.x[:, 1]])
    given_ = Batch(given_.x, torch.ones_like(given_.valid), given_.subject, given_.generator)
    parts = method(given_, 0.3)
    again = torch.Generator().manual_seed(1)
    masked = spans(torch.ones(2 * ROWS, TIME // 8, dtype=torch.bool), again, probability=0.65,
                   length=4)  # fmt: skip
    with torch.no_grad():
        features, context = published(method, x, masked)
        z = unit(context.mean(1).double().numpy())
        rows = [np.flatnonzero(row) for row in masked.numpy()]
        most = max(map(len, rows))
        padded = torch.zeros(2 * ROWS, most, features.shape[2])
        for b, row in enumerate(rows):
            padded[b, : len(row)] = method.encoder.norm(features)[b, row]
            hidden_last = np.setdiff1d(np.arange(TIME // 8), row)[: most - len(row)]
            padded[b, len(row) :] = method.encoder.norm(features)[b, hidden_last]
        found = method.local.quantiser(padded, method._heat(0.3), again)
        q = method.local.from_codes(found.values).double().numpy()
        c = method.local.from_context(context).double().numpy()
        codes, p = found.codes.numpy(), found.shares.double().numpy()
    negatives = others(masked.sum(1), most, 10, again).numpy()
    each = []
    for b, row in enumerate(rows):
        for i, frame in enumerate(row):
            own = np.exp(unit(c[b, frame]) @ unit(q[b, i]) / 0.1)
            other = [np.exp(unit(c[b, frame]) @ unit(q[b, j]) / 0.1)
                     for j in negatives[b, i] if (codes[b, j] != codes[b, i]).any()]  # fmt: skip
            each.append(-np.log(own / (own + sum(other))))
    used = np.concatenate([p[b, : len(row)] for b, row in enumerate(rows)]).mean(0)
    unused = 1 - np.exp(-(used * np.log(used)).sum(-1)).sum() / used.size
    score = z[:ROWS] @ z[ROWS:].T / 0.1
    pairs = [(i, i) for i in range(ROWS)] + [(1, 2), (2, 1)]
    terms = [score[i, j] - np.log(np.exp(score[i]).sum()) for i, j in pairs]
    terms += [score[j, i] - np.log(np.exp(score[:, i]).sum()) for i, j in pairs]
    expected = np.mean(each) + 0.1 * unused + 10 * features.square().mean().item()
    assert parts["loss"].item() == pytest.approx(expected - np.mean(terms), abs=1e-4)


# --- any set of leads --------------------------------------------------------------------------


def test_an_absent_lead_is_a_masked_lead() -> None:
    method = small().eval()
    given_ = batch()
    x, valid = given_.x[:, 0], given_.valid[:, 0].clone()
    valid[:, [0, 4]] = False
    with torch.no_grad():
        some = method.embed(x, valid)
        zero = x.clone()
        zero[:, [0, 4]] = torch.nan
        assert torch.equal(some, method.embed(zero, valid))
        assert not torch.allclose(some, method.embed(x, given_.valid[:, 0]))


def test_lead_masks_are_drawn_for_each_segment_by_itself() -> None:
    method = small()
    seen: dict[str, Tensor] = {}
    method.encoder.front.register_forward_pre_hook(lambda _, held: seen.update(v=held[1]))
    method(batch(), 0.5)
    first, second = seen["v"].any(-1).chunk(2)
    assert not torch.equal(first, second)


def test_mean_square_counts_what_is_there() -> None:
    values = torch.arange(24.0).view(2, 3, 4)
    where = torch.tensor([[True, False, True], [False, False, False]])
    expected = values.numpy()[where.numpy()].__pow__(2).mean()
    assert mean_square(values, where).item() == pytest.approx(expected)
