"""`nerula search`: on real recordings of the sample, with a tiny network."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nerula.errors import NerulaError, UsageError
from nerula.methods import find
from nerula.prepare import Options, make_store
from nerula.readers import open_source
from nerula.search import ENOUGH, PICTURE, RESULT, _shares, _study, search
from nerula.searching import space
from nerula.searching.space import Between, OneOf
from nerula.searching.trials import Trial, concluded
from nerula.searching.worth import Judge
from nerula.store import Store

TINY = (
    "width=16", "heads=2", "stem=[8,2],[16,4]", "blocks=[9,1],[9,1]", "decoder_width=16",
    "projector=8",
)  # fmt: skip
OVER = (*TINY, "fraction=0.2:0.8", "recon-weight=1.0:100:log", "views=masks|neighbours")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the sample: every fold is in it."""
    folder = tmp_path_factory.mktemp("search") / "store"
    make_store(open_source(Path("sample")), folder, Options(leads=("II",), limit=400))
    return folder


def ask(store: Path, out: Path, trials: int, **more: Any) -> dict[str, Any]:
    """Search and read what came out."""
    given = {"epochs": 1, "over": OVER, "threads": 1, **more}
    assert search("nerula", store, out, trials=trials, **given) == 0
    document: dict[str, Any] = json.loads((out / RESULT).read_text())
    return document


def test_a_search_begins_with_the_defaults_and_ends_with_a_conclusion(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ask(store, tmp_path, 4)
    assert [trial["default"] for trial in found["trials"]] == [True, True, True, False]
    assert [trial["seed"] for trial in found["trials"]] == [0, 1, 2, 0]
    for trial in found["trials"]:
        assert trial["values"]["width"] == 16
        assert trial["score"] == pytest.approx(np.mean(list(trial["worth"].values())))
    scores = [trial["score"] for trial in found["trials"] if trial["state"] == "complete"]
    assert len(set(scores)) == len(scores) > 2
    assert f"{max(scores):.3f}" in found["conclusion"][0]
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "trials").iterdir())
    shown = capsys.readouterr().out
    assert "Next: nerula pretrain nerula" in shown
    assert "--recon-weight" in shown

    again = ask(store, tmp_path, 4)
    assert again["trials"] == found["trials"]
    with pytest.raises(UsageError, match="epochs"):
        ask(store, tmp_path, 4, epochs=2)


def test_the_same_call_continues_a_search_that_was_stopped(store: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "nerula.cli", "search", "nerula", str(store), str(tmp_path),
        "--trials", "3", "--epochs", "40", "--threads", "1", "--over", *OVER,
    ]  # fmt: skip
    metrics = tmp_path / "trials" / "0" / "metrics.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_for(metrics, 6)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 143
    before = metrics.read_text().splitlines()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_for(metrics, len(before) + 2)
        process.kill()
    assert metrics.read_text().splitlines()[: len(before)] == before
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["0"]


def wait_for(metrics: Path, lines: int) -> None:
    """Until a training has written so many lines."""
    give_up = time.monotonic() + 120
    while not metrics.exists() or metrics.read_text().count("\n") <= lines:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_ranges_are_read_as_they_are_written() -> None:
    assert space.read("fraction=0.2:0.8") == ("fraction", Between(0.2, 0.8))
    assert space.read("recon-weight=1:100:log") == ("recon_weight", Between(1, 100, log=True))
    assert space.read("patches=4,30|15,30") == ("patches", OneOf(((4, 30), (15, 30))))
    assert space.read("rotary=true|false") == ("rotary", OneOf((True, False)))
    for wrong in ("fraction", "=1:2", "fraction=2:1", "lr=0:1:log", "fraction=1:2:3", "a=1.2.3:4"):
        with pytest.raises(UsageError, match="not understood"):
            space.read(wrong)


@given(st.floats(1e-3, 1e3), st.floats(1.1, 10.0), st.booleans())
def test_a_range_holds_what_lies_inside(low: float, factor: float, log: bool) -> None:
    values = Between(low, low * factor, log)
    assert values.stored(low) == low
    assert values.stored(low * factor * 1.01) is None
    assert values.stored(True) is None


def test_every_known_space_names_arguments_of_its_method_and_holds_their_defaults() -> None:
    from nerula.options import split

    for name, known in space.SPACES.items():
        _, own = split(find(name), None, {})
        assert space.of(find(name), name, ()) == known
        for argument, values in known.items():
            assert values.stored(own[argument]) is not None, (name, argument)
    with pytest.raises(UsageError, match="no argument 'temperature'"):
        space.of(find("nerula"), "nerula", ("temperature=0.1:1",))
    with pytest.raises(UsageError, match="what to search"):
        space.of(find("supervised"), "supervised", ())


def test_what_is_not_trained_cannot_be_searched(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not trained"):
        search("majority", store, tmp_path)


def test_a_store_that_nothing_can_be_judged_by_is_refused_before_any_training(
    tmp_path: Path,
) -> None:
    make_store(open_source(Path("sample")), tmp_path / "few", Options(leads=("II",), limit=3))
    with pytest.raises(NerulaError, match="too small a part of it"):
        search("nerula", tmp_path / "few", tmp_path / "out", trials=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("folds", "said"), [("all", "9 and 10"), ("1-9", "9"), ("1,10", "10"), ("8-12", "9 and 10")]
)
def test_folds_that_judge_or_test_are_refused_before_any_training(
    folds: str, said: str, store: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"would train on fold {said}, by which"):
        search("nerula", store, tmp_path / "out", folds=folds, trials=1, epochs=1, over=TINY)
    assert not (tmp_path / "out").exists()


def test_fewer_folds_may_train(store: Path) -> None:
    for folds in ("1-8", "2,3"):
        Judge(Store.open(store)).refuse(folds)


def test_why_no_trial_has_finished_is_said(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    over = (*TINY, "fraction=0.2:0.8")
    asked = {"trials": 1, "epochs": 1, "over": over, "threads": 1}
    assert search("nerula", store, tmp_path, batch=5000, **asked) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "Trial 0 failed:" in said
    assert "in batches of 5000" in said
    assert "No trial has finished." in said
    assert PICTURE not in said
    (failed,) = json.loads((tmp_path / RESULT).read_text())["trials"]
    assert "in batches of 5000" in failed["problem"]


def test_fold_10_is_never_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Store.open(store)
    test_rows = set(np.flatnonzero(data.column("fold") == "10").tolist())
    assert test_rows
    read: list[int] = []
    plain = Store.read
    monkeypatch.setattr(Store, "read", lambda self, row: (read.append(row), plain(self, row))[1])
    worth = Judge(data)(find("random_convolutions")(kernels=50), 1024)
    assert read
    assert not test_rows & set(read)
    assert 0.4 < worth.sex < 0.9
    assert worth.score == (worth.sex + worth.age) / 2


def trial(number: int, score: float, fraction: float, *, default: bool = False) -> Trial:
    values = {"fraction": fraction, "views": "masks"}
    return Trial(number, values, number, "complete", {1: score}, {}, 1.0, default)


def test_the_conclusion_tells_noise_from_gain() -> None:
    own = [trial(n, 0.50 + 0.01 * n, 0.5, default=True) for n in range(3)]
    tried = [*own, trial(3, 0.60, 0.3), trial(4, 0.59, 0.4), trial(5, 0.40, 0.8)]
    found = concluded(tried, {"fraction": Between(0.2, 0.8)}, {"views": 0.25, "fraction": 0.75})
    assert found is not None
    assert found.noise == pytest.approx(0.01)
    assert found.best.number == 3
    assert [one.number for one in found.as_good] == [3, 4]
    words = " ".join(found.sentences())
    assert "0.090 less; that is more than" in words
    assert "as good from 0.3 to 0.4" in words
    assert "lies at an end" not in words
    assert words.endswith("(functional ANOVA): fraction 75 %, views 25 %.")
    assert concluded([], {}, {}) is None


@pytest.mark.parametrize(
    ("values", "at_end"), [(Between(0.29, 0.8), True), (Between(0.01, 100, log=True), False)]
)
def test_it_says_where_the_best_lies_at_an_end_of_the_range(values: Between, at_end: bool) -> None:
    found = concluded([trial(0, 0.6, 0.3), trial(1, 0.4, 0.5)], {"fraction": values}, {})
    assert found is not None
    assert ("lies at an end" in " ".join(found.sentences())) == at_end


def test_shares_are_those_of_arguments_that_matter(tmp_path: Path) -> None:
    study = _study(tmp_path, {"seed": 0})
    for _ in range(ENOUGH):
        assert not _shares(study)
        tried = study.ask()
        score = tried.suggest_float("fraction", 0, 1) + 0.01 * tried.suggest_float("delta", 0, 1)
        tried.suggest_categorical("views", ["only"])
        study.tell(tried, score)
    shares = _shares(study)
    assert set(shares) == {"fraction", "delta"}
    assert shares["fraction"] > 0.9
