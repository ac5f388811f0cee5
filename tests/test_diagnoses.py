"""The Challenge 2020's diagnoses and score: its published table, its sums, its hospitals apart."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nerula import bundle, guards, sample
from nerula.challenge_score import DIAGNOSES, NEVER, NORMAL, limits, weights
from nerula.compare import compare
from nerula.contract import Contract
from nerula.errors import UsageError
from nerula.evaluate import evaluate
from nerula.ground import Ways
from nerula.metrics import METRICS, Answers
from nerula.model import Model
from nerula.prepare import Options, make_store
from nerula.readers import open_source
from nerula.readers.names import STANDARD
from nerula.store import Store
from nerula.tasks import Facts, find
from tests import layouts
from tests.tiny import NAME, Tiny

PUBLISHED = Path(__file__).parent / "published" / "challenge2020_weights.csv"
"""The table of https://github.com/physionetchallenges/evaluation-2020 (weights.csv), as it is."""
IN_WORDS = {
    "SR": "426783006", "AFIB": "164889003", "STACH": "427084000", "SBRAD": "426177001",
    "SARRH": "427393009", "PVC": "427172004", "CRBBB": "713427006", "CLBBB": "164909002",
    "1AVB": "270492004", "LAFB": "445118002", "IRBBB": "713426002", "LNGQT": "111975006",
}  # fmt: skip
"""Some statements of PTB-XL by the code that the Challenge has for them."""


def test_the_weights_are_the_published_ones() -> None:
    table = list(csv.reader(PUBLISHED.read_text(encoding="utf-8").splitlines()))
    of = {code: n for n, one in enumerate(DIAGNOSES.values()) for code in one.codes}
    codes = table[0][1:]
    assert sorted(of) == sorted(codes)
    ours = weights()
    for row in table[1:]:
        for code, value in zip(codes, row[1:], strict=True):
            assert ours[of[row[0]], of[code]] == pytest.approx(float(value), abs=1e-12)


def summed(truth: NDArray[Any], said: NDArray[Any]) -> float:
    """The published sum over a recording's pairs, recording by recording."""
    table, total = weights(), 0.0
    for t, s in zip(truth, said, strict=True):
        either = max(1, int(np.logical_or(t, s).sum()))
        for j in np.flatnonzero(t):
            for k in np.flatnonzero(s):
                total += table[j, k] / either
    return total


@pytest.mark.parametrize("seed", range(5))
def test_the_score_is_the_published_sum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, said = (rng.random((2, 50, len(DIAGNOSES))) < 0.1).astype(np.int8)
    normal = np.zeros_like(truth)
    normal[:, NORMAL] = 1
    expected = (summed(truth, said) - summed(truth, normal)) / (
        summed(truth, truth) - summed(truth, normal)
    )
    weight = np.stack([np.ones(50), rng.integers(0, 3, 50)])
    found = METRICS["challenge_score"](Answers(truth, truth * 0.5, said), weight.astype(float))
    assert found[0] == pytest.approx(expected)
    twice = np.repeat(np.arange(50), weight[1].astype(int))
    again = Answers(truth[twice], truth[twice] * 0.5, said[twice])
    one = METRICS["challenge_score"](again, np.ones((1, len(twice))))
    assert found[1] == pytest.approx(one[0])


def test_the_ends_of_the_score() -> None:
    truth = np.eye(len(DIAGNOSES), dtype=np.int8)
    normal = np.zeros_like(truth)
    normal[:, NORMAL] = 1
    for said, expected in ((truth, 1.0), (normal, 0.0)):
        answers = Answers(truth, said.astype(float), said)
        assert METRICS["challenge_score"](answers, np.ones((1, len(truth))))[0] == expected


def test_thresholds_are_those_of_the_score() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((400, len(DIAGNOSES))) < 0.1).astype(np.int8)
    score = np.clip(0.1 + 0.2 * truth + rng.normal(0, 0.1, truth.shape), 0, 1)

    def scored(chosen: NDArray[np.float64]) -> float:
        answers = Answers(truth, score, (score >= chosen).astype(np.int8))
        return float(METRICS["challenge_score"](answers, np.ones((1, 400)))[0])

    found = scored(limits(truth.astype(float), score))
    assert found > max(scored(np.full(len(DIAGNOSES), one)) for one in np.linspace(0, 1, 50))
    assert found > scored(np.full(len(DIAGNOSES), NEVER))


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real lead II of 300 people, as if from three hospitals; what it lacks is half of it."""
    root, source = tmp_path_factory.mktemp("challenge"), sample.load()
    parts = ("georgia", "ptb-xl", "cpsc_2018")
    for number in range(300):
        codes = [IN_WORDS[one] for one in source.facts[number].labels if one in IN_WORDS]
        signal = source.microvolts[number]
        leads = np.stack([signal if lead == "II" else signal // 2 for lead in STANDARD])
        comments = f"#Age: 60\n#Sex: Male\n#Dx: {','.join(codes or ['39732003'])}\n"
        stem = root / "training" / parts[number % 3] / "g1" / f"X{number:05d}"
        layouts.write_matrix(stem, leads, STANDARD, 100, comments=comments)
    return root


def model(folder: Path, training: dict[str, Any]) -> Model:
    """An untrained convolution of lead II that says what it was trained on."""
    torch.manual_seed(0)
    chosen = {"width": 24, "leads": 1}
    bundle.save(
        folder, Tiny(**chosen), name=NAME, arguments=chosen, contract=Contract(("II",), 100.0),
        window=1000, training=training,
    )  # fmt: skip
    return bundle.load(folder, method=Tiny)


def test_hospitals_are_apart(challenge: Path, tmp_path: Path) -> None:
    task = find("diagnoses")
    make_store(open_source(challenge), tmp_path / "store", Options(leads=("II",)))
    facts = Facts.of(Store.open(tmp_path / "store"))
    target = task.target(facts)
    (split,) = task.splits(facts, task.counts(facts, target))
    assert set(facts.fold[split.test]) == {"georgia"}
    assert len(split.test) == 100
    assert set(facts.fold[split.train]) == {"ptb-xl", "cpsc_2018"}
    fibrillation = target[:, task.answers.index("AF")]
    assert fibrillation.sum() == sum("164889003" in held for held in facts.labels) > 5
    for trained, folds in (
        ("challenge2020", {"georgia": 1, "ptb-xl": 1}),
        ("challenge2021", {"georgia": 1}),
    ):
        with pytest.raises(guards.LeakError, match="georgia"):
            guards.unseen({"data": {"kind": trained, "folds": folds}}, facts, "challenge2020",
                          "digest", split.test)  # fmt: skip
    others = {"data": {"kind": "challenge2021", "folds": {"ningbo": 5, "ptb-xl": 1}}}
    seen = guards.unseen(others, facts, "challenge2020", "digest", split.test)
    assert seen.status == guards.CHECKED


def test_a_model_is_probed_for_diagnoses(challenge: Path, tmp_path: Path) -> None:
    seen = {"data": {"kind": "ptbxl100", "folds": {"1": 9}}}
    make_store(open_source(challenge), tmp_path / "store", Options(leads=("II",)))
    asked = model(tmp_path / "model", seen), find("diagnoses"), Store.open(tmp_path / "store")
    ways = Ways(probes=("logistic",), resamples=20)
    (result,) = evaluate(*asked, tmp_path / "cache", ways)
    metrics = result.document["metrics"]
    said = METRICS["challenge_score"](result.runs[0].answers, np.ones((1, 100)))[0]
    assert metrics["challenge_score"]["value"] == pytest.approx(said, abs=1e-6)
    assert said < 1
    assert metrics["auroc"]["n"] == 100
    assert result.document["provenance"]["status"] == guards.CHECKED


def test_hospitals_are_compared(challenge: Path, tmp_path: Path) -> None:
    """Pretrained on some hospitals, asked in another; the one that judges is refused."""
    given: dict[str, Any] = {"data": (f"challenge2020={challenge}",), "on": "challenge2020"}
    given |= {"epochs": 1, "batch": 32, "probes": "logistic", "threads": 1}
    given["settings"] = ("nerula.width=32", "nerula.heads=2", "nerula.decoder_width=32")
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="the store has"):
        compare("nerula", "diagnoses", out=tmp_path / "no", **given)
    with pytest.raises(guards.LeakError, match="by which diagnoses is judged"):
        compare("nerula", "diagnoses", out=tmp_path / "leak", folds="georgia,ptb-xl", **given)
    assert compare("nerula", "diagnoses", out=out, folds="cpsc_2018,ptb-xl", **given) == 0
    table = json.loads((out / "tables" / "diagnoses.json").read_text())
    said = [one["heading"] for one in table["columns"]]
    assert said == ["Logistic AUROC", "Logistic Challenge score", "Logistic F1"]
    assert table["rows"][0]["cells"][0]["n"] == 100
