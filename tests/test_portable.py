"""Probes as arrays and JSON: the same answers without scikit-learn, and nothing slips in."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import nerula
from nerula import probes, sample
from nerula.cli import main
from nerula.errors import NerulaError, UsageError
from nerula.portable import Probe
from nerula.probes import Examples, Fitted, Question

NAMES = {"classes": ("no", "perhaps", "yes"), "labels": ("a", "b", "c"), "values": ("years",)}
MAIN = {"classes": "macro_f1", "labels": "auroc", "values": "mae"}
KINDS = sorted(probes.GRIDS)
EMBEDDING = {"method": "nerula", "tensors": "0123456789abcdef", "precision": "fp32"}


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "TREES", 20)
    monkeypatch.setattr(probes, "CANDIDATE_TREES", 5)
    monkeypatch.setattr(probes, "STEPS", 100)
    monkeypatch.setattr(probes, "NETWORKS", 2)
    monkeypatch.setattr(probes, "CANDIDATE_NETWORKS", 1)


def examples(kind: str, n: int, seed: int, classes: int = 3) -> Examples:
    rng = np.random.default_rng(seed)
    z = rng.normal(5, 3, (n, 8)).astype(np.float32)
    noisy = z[:, :classes] + rng.normal(size=(n, classes))
    target: NDArray[Any] = noisy.argmax(1)
    if kind == "labels":
        target = np.stack([noisy[:, 0] > 5, noisy[:, 1] > 7, np.zeros(n)], axis=1).astype(int)
    if kind == "values":
        target = 60 + 5 * noisy[:, 0].astype(np.float64)
    return Examples(z, target, np.arange(n) // 2)


def fitted(probe: str, kind: str, classes: int = 3) -> Fitted:
    question = Question(kind, len(NAMES[kind]), MAIN[kind])
    train, choose = (examples(kind, n, seed, classes) for seed, n in ((0, 240), (1, 80)))
    return probes.fit(probe, question, train, choose)


def portable(one: Fitted) -> Probe:
    return one.portable(NAMES[one.question.kind], EMBEDDING, {"task": "a test"})


def answers(probe: Probe, z: NDArray[np.float32]) -> NDArray[np.float64]:
    return probe.values(z)[:, None] if probe.kind == "values" else probe.probabilities(z)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = portable(fitted("logistic", "classes"))
    return made.save(tmp_path_factory.mktemp("probe") / "one.safetensors")


# --- the same answers ------------------------------------------------------------------------


@pytest.mark.parametrize(("probe", "kind"), KINDS)
@pytest.mark.parametrize("classes", [2, 3])
def test_a_loaded_probe_answers_as_the_fitted_one(
    probe: str, kind: str, classes: int, tmp_path: Path
) -> None:
    """With two classes in training, the third gets nothing: before and after."""
    if kind != "classes" and classes == 2:
        return
    one = fitted(probe, kind, classes)
    new = examples(kind, 300, 2)
    wanted = one.answer(new.z, new.target)
    held = probes.load(portable(one).save(tmp_path / "probe.safetensors"))
    np.testing.assert_allclose(answers(held, new.z), wanted.score, rtol=1e-9, atol=1e-9)
    if kind == "classes":
        assert (held.decide(new.z) == wanted.predicted).all()
        np.testing.assert_allclose(held.probabilities(new.z[7]), wanted.score[7], atol=1e-9)
        assert held.decide(new.z[7]) == wanted.predicted[7]
    assert held.classes == (() if kind == "values" else NAMES[kind])
    assert held.answers == NAMES[kind]
    assert held.about == {"task": "a test"}


def test_margins_that_nothing_calibrates_are_softened_alike() -> None:
    for classes in (2, 3):
        one = replace(fitted("svc", "classes", classes), margins=probes.Softmax())
        new = examples("classes", 50, 3)
        score = one.answer(new.z, new.target).score
        np.testing.assert_allclose(portable(one).probabilities(new.z), score, atol=1e-9)


def test_no_row_gives_no_answer() -> None:
    for probe in ("forest", "logistic", "svc", "mlp", "ensemble"):
        held = portable(fitted(probe, "classes"))
        assert held.probabilities(np.empty((0, 8))).shape == (0, 3)


def test_neither_scikit_learn_nor_torch_is_needed(saved: Path) -> None:
    code = (
        "import sys; from nerula.portable import Probe; p = Probe.load(sys.argv[1]); "
        "p.probabilities([[0.0] * 8]); print(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & {"sklearn", "torch", "scipy", "pickle5", "joblib"}


# --- refusals --------------------------------------------------------------------------------


Change = Callable[[dict[str, Any]], object]


def altered(saved: Path, place: Path, change: Change) -> Path:
    from safetensors import safe_open

    with safe_open(saved, framework="np") as file:
        facts = file.metadata()
    arrays = load_file(saved)
    change(arrays)
    save_file(arrays, place, facts)
    return place


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("centre"), "centre is missing"),
        (lambda a: a.update(more=np.ones(3)), "more is unknown"),
        (lambda a: a.update(Centre=a.pop("centre")), "Centre is unknown, centre is missing"),
        (lambda a: a["coefficients"].__setitem__((1, 2), 0.5), "coefficients was altered"),
        (lambda a: a.update(spread=a["spread"].astype(np.float32)), "spread was altered"),
        (lambda a: a.update(intercepts=a["intercepts"][None]), "intercepts was altered"),
    ],
)
def test_altered_arrays_are_refused_by_name(
    saved: Path, tmp_path: Path, change: Change, message: str
) -> None:
    with pytest.raises(NerulaError, match=message):
        probes.load(altered(saved, tmp_path / "p.safetensors", change))


def test_what_a_file_says_of_itself_cannot_be_altered(saved: Path, tmp_path: Path) -> None:
    raw = saved.read_bytes()
    (tmp_path / "p.safetensors").write_bytes(raw.replace(b"perhaps", b"PERHAPS"))
    with pytest.raises(NerulaError, match="what it says of itself was altered"):
        probes.load(tmp_path / "p.safetensors")
    for content in (b"", b"\x80\x04K\x01.", raw[:-9], b"{}"):
        (tmp_path / "p.safetensors").write_bytes(content)
        with pytest.raises(NerulaError, match="cannot be read as a probe"):
            probes.load(tmp_path / "p.safetensors")
    save_file({"a": np.ones(2)}, tmp_path / "p.safetensors")
    with pytest.raises(NerulaError, match="no probe of this version"):
        probes.load(tmp_path / "p.safetensors")
    with pytest.raises(NerulaError, match="cannot be read"):
        probes.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("probe", "name", "change"),
    [
        ("forest", "left", lambda a: a * 0),  # a way down that never ends
        ("forest", "right", lambda a: a + 100_000),
        ("forest", "feature", lambda a: a + 100),
        ("forest", "roots", lambda a: a - 1),
        ("forest", "leaf", lambda a: a[:, :2]),
        ("svc", "counts", lambda a: a + 1),
        ("svc", "vectors", lambda a: a[:, :3]),
        ("svc", "intercepts", lambda a: a[:1]),
        ("svc", "calibration.intercepts", lambda a: a[:2]),
        ("mlp", "weights.1", lambda a: a[:5]),
        ("logistic", "coefficients", lambda a: a[:, :7]),
        ("logistic", "columns", lambda a: a + 1),
        ("logistic", "columns", lambda a: a * 0),
        ("logistic", "centre", lambda a: a[:7]),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    probe: str, name: str, change: Callable[[NDArray[Any]], NDArray[Any]], tmp_path: Path
) -> None:
    """Digests do not help against a file that was written with bad intent."""
    one = portable(fitted(probe, "classes"))
    bad = replace(one, arrays={**one.arrays, name: change(one.arrays[name]).astype(
        one.arrays[name].dtype)})  # fmt: skip
    with pytest.raises(NerulaError, match="no sound probe"):
        probes.load(bad.save(tmp_path / "p.safetensors"))


def test_what_cannot_be_meant_is_refused(saved: Path, tmp_path: Path) -> None:
    held = probes.load(saved)
    with pytest.raises(UsageError, match="8 values are wanted"):
        held.probabilities(np.ones((2, 7)))
    with pytest.raises(UsageError, match="gives probabilities"):
        held.values(np.ones((2, 8)))
    years = portable(fitted("ridge", "values"))
    with pytest.raises(UsageError, match="gives values"):
        years.probabilities(np.ones((2, 8)))
    with pytest.raises(UsageError, match="decides on no class"):
        years.decide(np.ones((2, 8)))
    with pytest.raises(UsageError, match=r"ending \.safetensors"):
        held.save(tmp_path / "probe.pkl")


# --- with a model ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `nerula probe ... --save` writes."""
    folder = tmp_path_factory.mktemp("saved")
    words = ["probe", "nerula-small", "sex", "--probes", "logistic", "--save", str(folder)]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    return folder / "sex.logistic.safetensors"


def test_the_verb_saves_what_it_judged(sex: Path) -> None:
    probe = probes.load(sex)
    model = nerula.load("nerula-small")
    probe.require(model)
    ecg = sample.load()
    tested = ecg.folds == 10
    z = model.embed(ecg.x[tested, 0], 100)
    said = probe.probabilities(z)
    female = np.array([facts.sex == "female" for facts in ecg.facts])[tested]
    assert probe.classes == ("male", "female")
    accuracy = (probe.decide(z) == female).mean()
    assert accuracy == pytest.approx(probe.about["metrics"]["accuracy"]["value"], abs=0.001)
    assert (said.sum(1) == pytest.approx(1)) and (said > 0).all()
    assert probe.about["thresholds"][1] is not None
    json.dumps(probe.about, allow_nan=False)


def test_a_probe_of_another_model_is_refused(sex: Path) -> None:
    probe, model = probes.load(sex), nerula.load("nerula-small")
    probe.require(nerula.load("nerula-small", precision="bf16"))
    other = replace(probe, embedding={**probe.embedding, "tensors": "f00d", "window": 500})
    with pytest.raises(UsageError, match="another model: tensors, window differ"):
        other.require(model)
