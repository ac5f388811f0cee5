"""The command line as somebody meets it who has read nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from nerula.cli import _VERBS, main
from nerula.methods import METHODS


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("verb", _VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "--help") == 0
    shown = capsys.readouterr().out
    assert "Usage: nerula" in shown
    assert len(shown.splitlines()) > 5


@pytest.mark.parametrize("method", METHODS)
def test_a_method_by_its_name_shows_its_paper_and_its_defaults(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(method, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--epochs" in shown
    assert "[default:" in shown
    paper = sys.modules[METHODS[method].partition(":")[0]].__doc__ or ""
    assert " ".join(paper.split()[:3]) in shown


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("pretrian",), "pretrain"),
        (("check", "--strct", "x"), "--strict"),
        (("pretrain", "nerula", "s", "r", "--epochz", "3"), "--epochs"),
        (("probe", "nerula-small", "sexx", "sample"), "sex"),
        (("prepare", "x", "y", "--as", "ptbx"), "ptbxl"),
        (("simcl", "--help"), "Did you mean simclr"),
        (("pretrain", "Nerula", "s", "r"), "Did you mean nerula"),
        (("compare", "nerulla", "sex"), "Did you mean nerula"),
        (("compare", "nerula", "sex", "--probes", "forrest"), "Did you mean forest"),
        (("compare", "nerula", "sex", "--set", "nerulla.ema=0"), "Did you mean nerula"),
        (("probe", "nerula-small", "sex", "--probes", "logistik"), "Did you mean logistic"),
        (("embed", "nerula-smal", "sample", "z.npy"), "Did you mean nerula-small"),
        (("probe", "nerula-small", "sex", "--leads", "aVRR"), "Did you mean aVR"),
        (("check", "sample", "--source-unit", "mVv"), "Did you mean mV"),
        (("prepare", "sample", "y", "--engine", "rai"), "ray"),
        (("fetch", "ptblx", "y"), "ptbxl"),
        (("prepare", "sample", "y", "--leads", "II,IX"), "Choose from II"),
    ],
)
def test_a_mistyped_word_names_the_nearest(
    words: tuple[str, ...], near: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    assert run(*words) != 0
    shown = capsys.readouterr()
    assert near in " ".join((shown.out + shown.err).split())
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    "words",
    [
        ("check", "nowhere"), ("prepare", "nowhere", "s"), ("merge", "a", "b", "c"),
        ("pretrain", "nerula", "nowhere", "r"), ("pretrain", "unheard", "s", "r"),
        ("embed", "nowhere.csv"), ("embed", "unheard", "sample", "o.npy"),
        ("impute", "nerula-small", "nowhere.csv", "f.csv"), ("probe", "unheard", "sex", "sample"),
        ("compare", "nerula", "unheard"), ("compare", "--show", "--out", "nowhere"),
        ("report", "nowhere"), ("export", "unheard", "o.onnx"), ("fetch", "unheard", "f"),
        ("search", "unheard", "s"), ("search", "nerula", "nowhere"), ("stream", "unheard"),
        ("view", "nowhere", "--no-open"), ("push", "unheard", "somebody/model"),
        ("card", "unheard"), ("check", "sample", "--limit", "-1"), ("stream", "nerula-small", "."),
        ("search", "nerula", "s", "--trials", "0"),
        ("probe", "nerula-small", "sex", "--draws", "0"),
        ("probe", "nerula-small", "sex", "--seed", "-1"),
        ("embed", "nerula-small", "sample", "z.npy", "--device", "no"),
    ],
)  # fmt: skip
def test_what_a_user_can_cause_is_a_sentence(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(*words) in (1, 2)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err
    assert shown.err.strip() or shown.out.strip()


def test_debug_shows_where_it_happened(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "nerula.cli", "report", "nowhere"]
    plain = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    debug = subprocess.run(
        [*words, "--debug"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (plain.returncode, "Traceback" in plain.stderr) == (1, False)
    assert "Traceback" in debug.stderr


def test_without_memory_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy() -> int:
        raise MemoryError

    monkeypatch.setattr("nerula.demo.demo", greedy)
    assert run("demo") == 1
    assert "Not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("pretrain", "ner"), "nerula"),
        (("pretrain", "nerula", "st"), "store/"),
        (("search", ""), "timae"),
        (("probe", "ner"), "nerula-small"),
        (("probe", "st"), "store/"),
        (("probe", "nerula-small", "stat"), "statements"),
        (("compare", "nerula,by"), "nerula,byol"),
        (("compare", "nerula", "sex,a"), "sex,age"),
        (("check", "--as", "pt"), "ptbxl"),
        (("view", "store", "--model", "ner"), "nerula-small"),
    ],
)
def test_the_tab_key_offers_names(
    words: tuple[str, ...], offered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    run("__complete", *words)  # what the installed scripts ask when the key is pressed
    lines = [line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert offered in lines


def test_the_tab_key_does_not_wait_for_torch() -> None:
    asked = (
        "import sys; from nerula.cli import build\n"
        "build()(['__complete', 'pretrain', ''], result_action='return_value')\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "nerula" in done.stdout) == (0, True), done.stderr


def test_completion_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    assert run("--install-completion") == 0
    scripts = [path for path in tmp_path.rglob("nerula") if path.is_file()]
    assert scripts
    written = scripts[0].read_text()
    assert "pretrain" in written
    assert "--strict" in written
    assert "Restart" in capsys.readouterr().out
