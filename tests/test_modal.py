"""Twelve aligned autoencoders: equations against NumPy, leads apart, two processes as one."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nerula import sample
from nerula.contract import Contract
from nerula.encoders.masked_autoencoder import Blocks, Linears, Norms
from nerula.encoders.patches import cut
from nerula.errors import UsageError
from nerula.loss import aligned, told_apart
from nerula.method import Batch
from nerula.methods import build
from nerula.methods.modal import Modal
from nerula.recording import Recording
from nerula.writer import StoreWriter

SMALL: dict[str, Any] = {
    "targets": "patches", "crossed": 0.0, "segments": 1, "fraction": 0.75,
    "width": 16, "depth": 2, "heads": 2, "decoder_width": 16, "decoder_depth": 1,
    "decoder_heads": 2, "leads": 4,
}  # fmt: skip
ROWS, TIME, PATCH = 5, 320, 20
ROOT = Path(__file__).parent.parent


def small(**arguments: Any) -> Modal:
    torch.manual_seed(0)
    return Modal(**{**SMALL, **arguments})


def signals(rows: int = ROWS, leads: int = 4, time: int = TIME) -> tuple[Tensor, Tensor]:
    noise = torch.randn(rows, leads, time, generator=torch.Generator().manual_seed(3))
    x = 0.05 * noise.cumsum(-1)
    valid = torch.ones_like(x, dtype=torch.bool)
    if rows > 1:
        valid[0, :, 90:150] = False
        valid[1, 2] = False
    return x, valid


def batch(seed: int = 1, **shape: int) -> Batch:
    x, valid = signals(**shape)
    generator = torch.Generator().manual_seed(seed)
    return Batch(x.unsqueeze(1), valid.unsqueeze(1), torch.arange(len(x)), generator)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# --- the equations -----------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), rows=st.integers(2, 4), slots=st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_alignment_is_a_triplet_loss_over_leads(seed: int, rows: int, slots: int) -> None:
    rng = np.random.default_rng(seed)
    z, s = rng.normal(size=(2, 3, rows, slots, 5)).astype(np.float32)
    there, known = rng.random((2, 3, rows, slots)) < 0.8
    found = aligned(*map(torch.tensor, (z, there, s, known)), margin=0.5)
    for a in range(3):
        each = [
            max(0.0, (1 - cosine(z[a, b, t], s[lead, b, t]))
                - (1 - cosine(z[a, b, t], s[lead, b - 1, t])) + 0.5)
            for lead in range(3) for b in range(rows) for t in range(slots)
            if there[a, b, t] and known[lead, b, t] and known[lead, b - 1, t]
        ]  # fmt: skip
        assert found[a].item() == pytest.approx(np.mean(each) if each else 0, rel=1e-4, abs=1e-6)


@given(seed=st.integers(0, 1000), rows=st.integers(2, 4), slots=st.integers(2, 3))
@settings(deadline=None, max_examples=25)
def test_in_a_batch_a_token_finds_its_recording_in_every_lead(
    seed: int, rows: int, slots: int
) -> None:
    rng = np.random.default_rng(seed)
    z, s = rng.normal(size=(2, 3, rows, slots, 5)).astype(np.float32)
    there, known = rng.random((2, 3, rows, slots)) < 0.8
    subject = rng.integers(-1, 3, rows)
    given = map(torch.tensor, (z, there, s, known))
    found = told_apart(*given, subject=torch.tensor(subject), temperature=0.1)

    def others(b: int, t: int) -> list[tuple[int, int]]:
        strangers = [c for c in range(rows) if subject[c] != subject[b] or subject[c] < 0]
        return [(lead, c) for c in strangers if c != b for lead in range(3) if known[lead, c, t]]

    def likeness(a: int, b: int, t: int, lead: int, c: int) -> float:
        return 10 * cosine(z[a, b, t], s[lead, c, t])

    for a in range(3):
        places = []
        for t in range(slots):
            each = [
                np.log1p(sum(np.exp(likeness(a, b, t, *one)) for one in others(b, t)) / right)
                for lead in range(3) for b in range(rows) if there[a, b, t] and known[lead, b, t]
                for right in [np.exp(likeness(a, b, t, lead, b))]
            ]  # fmt: skip
            places.append(np.mean(each) if each else 0.0)
        expected = (places[0] + np.mean(places[1:])) / 2
        assert found[a].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("crossed", [0.0, 0.7])
def test_the_curricula(progress: float, crossed: float) -> None:
    sine, cosine_ = math.sin(progress * math.pi / 2), math.cos(progress * math.pi / 2)
    for curriculum in ("paper", "released"):
        parts = small(curriculum=curriculum, crossed=crossed)(batch(), progress)
        recon = parts["recon"] + (crossed * parts["crossed"] if crossed else 0)
        expected = sine * parts["align"] + cosine_ * recon
        if curriculum == "released":
            expected = (expected + recon) / (sine + cosine_ + 1)
        assert parts["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def compared(tokens: Tensor, known: Tensor, standardised: bool) -> Tensor:
    """Tokens (L, B, S, D) with their CLS as the alignment is to see it."""
    z = tokens.detach().clone()
    for lead in range(len(z)) if standardised else ():
        cls = z[lead, known[lead, :, 0], 0]
        z[lead, :, 0] = (z[lead, :, 0] - cls.mean(0)) / (cls.var(0, correction=0) + 1e-5).sqrt()
    return z


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("contrast", ["triplet", "batch"])
def test_the_parts_step_by_step(contrast: str, standardised: bool) -> None:
    """What is kept, what is compared, what is asked for: from the networks' inputs and outputs."""
    method = small(contrast=contrast, standardised=standardised)
    seen: dict[str, Any] = {}
    method.encoders.register_forward_hook(lambda _, given_, out: seen.update(e=(given_, out)))
    method.decoders.register_forward_hook(lambda _, given_, out: seen.update(d=(given_, out)))
    parts = method(batch(), 0.5)
    (patches, there, place, _), tokens = seen["e"]
    rebuilt = seen["d"][1].detach().double().numpy()
    x, valid = (one.numpy() for one in signals())
    assert patches.shape == (4, ROWS, 4, PATCH)  # a quarter of 16
    errors, levels = [], []
    for lead in range(4):
        mine, mine_levels = [], []
        for row in range(ROWS):
            ok = valid[row, lead]
            mean = x[row, lead][ok].mean() if ok.any() else 0.0
            scaled = np.where(ok, (x[row, lead] - mean) / 0.2, 0)
            cut, sound = scaled.reshape(-1, PATCH), ok.reshape(-1, PATCH)
            kept = place[row].tolist()
            assert np.allclose(patches[lead, row].numpy(), cut[kept], atol=1e-4)
            for number in range(16):
                if not sound[number].any() or number in kept:
                    continue
                part, where = cut[number], sound[number]
                mean, size = part[where].mean(), math.sqrt(part[where].var() + 1e-3)
                out = rebuilt[lead, row, number]
                mine_levels += [(out[-2] - mean) ** 2, (out[-1] - math.log(size)) ** 2]
                mine += list((out[:PATCH] - (part - mean) / size)[where] ** 2)
        errors.append(np.mean(mine))
        levels.append(np.mean(mine_levels))
    assert parts["recon"].item() == pytest.approx(np.mean(errors) + np.mean(levels), rel=1e-4)
    whole = valid.any(-1).T[..., None]
    known = np.concatenate([whole, there.numpy()], axis=2)
    known = torch.tensor(known)
    z = compared(tokens, known, standardised)
    expected = aligned(z, known, z, known, 0.5).mean()
    if contrast == "batch":
        strangers = {"subject": torch.arange(ROWS), "temperature": 0.1}
        expected = told_apart(z, known, z, known, **strangers).mean()
    assert parts["align"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_half_of_nobodys_recording_is_no_stranger_to_the_other() -> None:
    """Where nothing says whose recordings they are, each is of somebody else."""
    losses = []
    for subject in (torch.arange(ROWS), torch.full((ROWS,), -1), torch.tensor([3, -1, 0, -1, 2])):
        x, valid = signals(rows=2 * ROWS)
        cut_in_two = (one.unflatten(0, (2, ROWS)).transpose(0, 1) for one in (x, valid))
        given_ = Batch(*cut_in_two, subject, torch.Generator().manual_seed(1))
        losses.append(small(contrast="batch", segments=2)(given_, 0.5)["align"].item())
    assert losses[0] == pytest.approx(losses[1]) == pytest.approx(losses[2])


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("contrast", ["triplet", "batch"])
def test_of_two_segments_cls_meets_the_other_ones(contrast: str, standardised: bool) -> None:
    method = small(contrast=contrast, segments=2, standardised=standardised)
    x, valid = signals(rows=2 * ROWS)
    cut = (one.unflatten(0, (2, ROWS)).transpose(0, 1) for one in (x, valid))
    subject = torch.arange(ROWS)
    seen: dict[str, Any] = {}
    method.encoders.register_forward_hook(lambda _, given_, out: seen.update(e=(given_, out)))
    parts = method(Batch(*cut, subject, torch.Generator().manual_seed(1)), 0.5)
    (_, there, *_), tokens = seen["e"]
    whole = valid.any(-1).T[..., None]
    known = torch.cat([whole, there], dim=2)
    z = compared(tokens, known, standardised)
    met, met_known = z.clone(), known.clone()
    for row in range(2 * ROWS):
        other = (row + ROWS) % (2 * ROWS)  # the same recording's other half
        met[:, row, 0], met_known[:, row, 0] = z[:, other, 0], known[:, other, 0]
    if contrast == "triplet":
        expected = aligned(z, known, met, met_known, 0.5).mean()
    else:
        of = torch.cat([subject, subject])
        expected = told_apart(z, known, met, met_known, subject=of, temperature=0.1).mean()
    assert parts["align"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_recordings_of_a_batch_share_a_mask_or_have_their_own() -> None:
    for masks, count in (("batch", 1), ("recording", ROWS)):
        method = small(masks=masks)
        noise = method._noise(batch(), cut(method._scaled(*signals()), PATCH))
        assert len({tuple(row) for row in noise[:, 1:].tolist()}) == count
        assert len(set(noise[:, 0].tolist())) == ROWS  # which lead is decoded crosswise


def test_times_that_nobody_measured_are_kept_last() -> None:
    method = small(masks="recording")
    seen: dict[str, Any] = {}
    method.encoders.register_forward_pre_hook(lambda _, given_: seen.update(place=given_[2]))
    for seed in range(5):
        method(batch(seed), 0.5)
        assert not {5, 6} & set(seen["place"][0].tolist())
        assert all(len(set(row)) == 4 for row in seen["place"].tolist())


def test_no_gradient_crosses_leads() -> None:
    """What a lead's network is told is the same when another's passes its gradients on or not."""
    gradients = []
    for others in (1.0, 0.0):
        method = small(crossed=1.0)
        share = torch.tensor([1.0, others, others, others]).view(4, 1, 1, 1)
        method.encoders.register_forward_hook(
            lambda _, given_, out, share=share: out * share + (out * (1 - share)).detach()
        )
        loss = method(batch(), 0.5)["loss"]
        gradients.append(torch.autograd.grad(loss, method.encoders.patches.weight)[0])
    assert torch.allclose(gradients[0][0], gradients[1][0])
    assert gradients[0][1:].any()
    assert not gradients[1][1:].any()


# --- one network per lead ----------------------------------------------------------------------


def test_leads_networks_are_those_of_torch_one_by_one() -> None:
    torch.manual_seed(0)
    blocks = Blocks(3, 16, 4)
    with torch.no_grad():
        for parameter in blocks.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(3, 2, 7, 16)
    with torch.no_grad():
        together = blocks(x, None)
        for lead in range(3):
            theirs = nn.TransformerEncoderLayer(
                16, 4, 64, 0.0, nn.functional.gelu, batch_first=True, norm_first=True
            ).train()
            linears = (
                (theirs.self_attn.in_proj_weight, theirs.self_attn.in_proj_bias, blocks.qkv),
                (theirs.self_attn.out_proj.weight, theirs.self_attn.out_proj.bias, blocks.out),
                (theirs.linear1.weight, theirs.linear1.bias, blocks.up),
                (theirs.linear2.weight, theirs.linear2.bias, blocks.down),
            )
            for weight, bias, mine in linears:
                weight.copy_(mine.weight[lead].T)
                bias.copy_(mine.bias[lead, 0])
            for norm, mine_ in ((theirs.norm1, blocks.norm), (theirs.norm2, blocks.mlp_norm)):
                norm.weight.copy_(mine_.weight[lead].flatten())
                norm.bias.copy_(mine_.bias[lead].flatten())
            assert torch.allclose(together[lead], theirs(x[lead]), atol=1e-5)


@pytest.mark.parametrize("leads", [slice(1, 3), torch.tensor([0, 2])])
def test_some_leads_are_as_they_are_among_all(leads: slice | Tensor) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2, 7, 8)
    for module in (Linears(3, 8, 5), Norms(3, 8)):
        assert torch.allclose(module(x)[leads], module(x[leads], leads), atol=1e-6)


def test_the_paper_preset_has_1_33_billion_parameters() -> None:
    with torch.device("meta"):
        method = build("modal", preset="paper", rate=500.0)
    assert sum(one.numel() for one in method.parameters()) / 1e9 == pytest.approx(1.33, abs=0.005)
    assert method.patch == 100  # 200 ms


# --- any set of leads --------------------------------------------------------------------------


def test_a_lead_alone_has_its_own_encoders_embedding_and_several_their_mean() -> None:
    method = small().eval()
    x, valid = signals(rows=1)
    with torch.no_grad():
        alone = []
        for lead in range(4):
            only = torch.zeros_like(valid)
            only[:, lead] = True
            alone.append(method.embed(torch.where(only, x, torch.nan), only))
        assert torch.allclose(method.embed(x, valid), torch.stack(alone).mean(0), atol=1e-5)
        some = valid.clone()
        some[:, 1] = False
        assert torch.allclose(
            method.embed(x, some), torch.stack([alone[0], alone[2], alone[3]]).mean(0), atol=1e-5
        )


def test_embeddings_are_standardised_by_what_training_saw() -> None:
    """After some steps on one batch, without a mask: mean 0 and deviation 1, lead by lead."""
    method = small(fraction=0.01)  # of 16 patches none
    for step in range(200):
        method(batch(step), 0.5)
    x, valid = signals()
    method.eval()
    z = []
    for lead in (0, 1, 3):  # the others were not measured everywhere
        only = torch.zeros_like(valid)
        only[:, lead] = valid[:, lead]
        with torch.no_grad():
            whole, _, leads = method._whole(next(method._pieces(method._scaled(x, only))))
            z.append(method.standards(whole[:, :, 0], leads)[0])
    z = torch.stack(z)
    assert z.mean(1).abs().max() < 1e-3
    assert torch.allclose(z.std(1, correction=0), torch.ones(3, 16), atol=1e-2)


def test_labels_are_learned_on_the_embedding_that_predicts() -> None:
    """Fine-tuning embeds in training mode: the batch must not standardise there."""
    method = small()
    for step in range(50):
        method(batch(step), 0.5)
    x, valid = signals()
    assert torch.equal(method.train().embed(x, valid), method.eval().embed(x, valid))
    alone = method.train().embed(x[:1], valid[:1])
    assert torch.allclose(alone, method.embed(x, valid)[:1], atol=1e-6)


def test_decoding_takes_what_other_leads_say() -> None:
    method = small().eval()
    x, valid = signals(rows=2)
    valid[:] = True
    valid[:, 3] = False
    with torch.no_grad():
        first = method.decode(x, valid)
        assert first.shape == x.shape
        changed = x.clone()
        changed[:, 3] = 7
        assert torch.equal(first, method.decode(changed, valid))
        changed[:, 0] = x[:, 0].flip(-1)
        assert not torch.allclose(first[:, 3], method.decode(changed, valid)[:, 3])
        assert torch.equal(method.reconstruct(x, valid)[:, :3], x[:, :3])


def test_decoding_is_the_mean_over_four_ways_to_cut_into_patches() -> None:
    method = small(targets="signal").eval()
    x, valid = signals(rows=2, time=310)
    rebuilt: list[Tensor] = []
    method.decoders.register_forward_hook(lambda _, given_, out: rebuilt.append(out))
    with torch.no_grad():
        found = method.decode(x, valid)
    ok = valid.float()
    mean = (x * ok).sum(-1, keepdim=True) / ok.sum(-1, keepdim=True).clamp(min=1)
    signal = [one.transpose(0, 1).flatten(2) for one in rebuilt]
    shifts = [0, 5, 10, 15]  # samples of the first patch that lie before the signal
    each = [one[..., shift : shift + 310] for one, shift in zip(signal, shifts, strict=True)]
    assert torch.allclose(found, mean + 0.2 * torch.stack(each).mean(0), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["patches", "signal"])
def test_twelve_leads_from_one_are_learned(targets: str) -> None:
    """Leads that are multiples of one source: each comes back from the first lead alone, in mV."""
    method = small(targets=targets, crossed=1.0, align_weight=0.0, leads=3, decoder_depth=2)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(method.parameters(), 3e-3)
    factors = torch.tensor([1.0, -0.5, 2.0]).view(1, 3, 1)

    def drawn(rows: int) -> Tensor:
        phase = torch.rand(rows, 1, 1, generator=generator)
        height = 0.5 + torch.rand(rows, 1, 1, generator=generator)
        return height * torch.sin(2 * math.pi * (torch.arange(200) / 50 + phase)) * factors

    for _ in range(120):
        x = drawn(16).unsqueeze(1)
        given_ = Batch(x, torch.ones_like(x, dtype=torch.bool), torch.arange(16), generator)
        loss = method(given_, 0.0)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x = drawn(8)
    only = torch.zeros_like(x, dtype=torch.bool)
    only[:, 0] = True
    with torch.no_grad():
        error = (method.eval().decode(x, only) - x).square().mean((0, 2))
    assert (error[1:] < 0.5 * x.square().mean((0, 2))[1:]).all()


@pytest.mark.parametrize("name", ["targets", "curriculum", "normalise"])
def test_a_choice_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="Choose from"):
        Modal(**{name: "nonsense"})


# --- leads over processes ----------------------------------------------------------------------

RANKS = """
import sys, torch
from torch import distributed
from nerula.method import Batch
from nerula.methods.modal import Modal
from nerula.recording import Recording
from nerula.writer import StoreWriter
from nerula.ranks import Ranks

rank, world = int(sys.argv[1]), int(sys.argv[2])
if world > 1:
    distributed.init_process_group("gloo", f"file://{sys.argv[3]}", rank=rank, world_size=world)
torch.manual_seed(0)
method = Modal(width=16, depth=2, heads=2, decoder_width=16, decoder_depth=1, decoder_heads=2,
               crossed=0.5, leads=4)
optimiser = torch.optim.AdamW(method.parameters(), 1e-3)
x = 0.05 * torch.randn(20, 8, 2, 4, 160).cumsum(-1)
valid = torch.rand(20, 8, 2, 4, 1).expand_as(x) < 0.9
mine = slice(rank * 8 // world, (rank + 1) * 8 // world)
for step in range(20):
    generator = torch.Generator().manual_seed(100 * step + rank)  # as the loop seeds it
    batch = Batch(x[step][mine], valid[step][mine], torch.arange(8)[mine], generator)
    loss = method(batch, step / 20)["loss"]
    optimiser.zero_grad()
    loss.backward()
    gradients = [one.grad for one in method.parameters()]
    Ranks(rank, world).average(gradients, False)
    optimiser.step()
    print(loss.item())
print(*(one.detach().double().square().sum().item() for one in method.parameters()), sep="\\n")
if world > 1:
    distributed.destroy_process_group()
"""


def _ranks(world: int, place: Path) -> list[np.ndarray]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RANKS, str(rank), str(world), str(place)],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for rank in range(world)
    ]  # fmt: skip
    return [np.array(one.communicate(timeout=120)[0].split(), float) for one in started]


@pytest.mark.slow
def test_two_processes_with_half_the_leads_are_one_with_all(tmp_path: Path) -> None:
    (alone,) = _ranks(1, tmp_path / "one")
    first, second = _ranks(2, tmp_path / "two")
    assert len(alone) > 40
    assert np.abs(first[:20] - alone[:20]).max() < 1e-5
    assert np.allclose(first[20:], alone[20:], rtol=1e-4, atol=1e-6)
    assert np.array_equal(first, second)


def test_leads_that_cannot_be_shared_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import distributed

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    with pytest.raises(UsageError, match="4 leads cannot be shared by 3"):
        small()._mine()


@pytest.mark.slow
def test_torchrun_with_two_processes_has_the_losses_of_one(tmp_path: Path) -> None:
    """Through the real loop: order, masks, average of gradients, checkpoint and model."""
    with StoreWriter(tmp_path / "store", Contract(("I", "II"), 100.0)) as writer:
        x = sample.load().x[:80, 0]
        for i in range(40):
            both = np.stack([x[2 * i], x[2 * i + 1]])
            writer.add(Recording(str(i), both, 100.0, ("I", "II"), np.ones(both.shape, bool)))
    options = ["--epochs=4", "--batch=8", "--threads=1", "--precision=fp32", "--window=5"]
    options += ["--clip=0"]
    options += [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]
    options = [one for one in options if "leads" not in one]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    losses = []
    for start in ([], torchrun):
        run = tmp_path / f"run-{len(start)}"
        words = [sys.executable, "-m", *start, "nerula.cli", "pretrain", "modal"]
        words += [str(tmp_path / "store"), str(run), *options]
        subprocess.run(words, check=True, capture_output=True, timeout=200, cwd=ROOT)
        lines = (run / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
        assert (run / "model" / "model.safetensors").exists()
    assert len(losses[0]) == 20
    assert np.abs(np.subtract(*losses)).max() < 1e-5
    assert len(set(losses[0])) == 20
