"""`nerula export`: the file is the model, on real ECGs, in any length; or there is no file."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

import nerula
from nerula import bundle, export, probes, sample
from nerula.cli import main
from nerula.contract import Contract
from nerula.errors import MissingExtraError, NerulaError, UsageError
from nerula.method import Method
from nerula.methods import find
from nerula.methods.supervised import Predictor
from nerula.methods.w2v_cmsc_rlm import LONGEST
from nerula.model import Model
from nerula.onnx import verify
from nerula.onnx.build import build
from nerula.onnx.cost import change
from nerula.onnx.graph import OPSET, Graph
from nerula.onnx.networks import embedding
from nerula.onnx.quantise import WAYS, quantised
from nerula.onnx.recipe import KEY
from nerula.onnx.running import outputs, session
from nerula.portable import Probe
from nerula.probes import Examples, Question
from tests.test_model import SMALL, TRAINING, arguments
from tests.tiny import Tiny

EXAMPLE = Path(__file__).parent.parent / "examples" / "onnx_on_a_device.py"
Array = NDArray[np.float32]

WAVE: dict[str, Any] = {"channels": (16, 24), "width": 32, "depth": 2, "heads": 4, "kernel": 9}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "small, strided": ("nerula", SMALL),
    "without rotation": ("nerula", SMALL | {"rotary": False, "pooling": "stats"}),
    "full attention, separable": (
        "nerula",
        SMALL
        | {"stem": ((8, 2), (12, 2), (16, 1)), "separable": True, "widening": 2}
        | {"blocks": ((9, 1), (0, 1)), "normalise": "none", "rotary": False},
    ),
    "far reach, three leads": (
        "nerula",
        SMALL
        | {"blocks": ((20, 1), (40, 2)), "normalise": "instance", "leads": 3, "pooling": "steps"},
    ),
    "a ResNet of NERULA": (
        "nerula",
        {"encoder": "resnet", "resnet_widths": (8, 8, 16, 16), "decoder_width": 32},
    ),
    "a ResNet with BatchNorm": (
        "random_init",
        {"encoder": "resnet", "norm": "batch", "widths": (8, 8, 8, 8), "leads": 2},
    ),
    "byol": ("byol", {"encoder": "resnet", "widths": (8, 8, 8, 8), "pooling": "moments"}),
    "simclr": ("simclr", {"encoder": "local"}),
    "cmsc": ("cmsc", {"encoder": "local", "pooling": "stats"}),
    "w2v of two leads": ("w2v_cmsc_rlm", WAVE | {"leads": 2}),
    "w2v of three leads": ("w2v_cmsc_rlm", WAVE | {"leads": 3, "pooling": "steps"}),
    "w2v, normalised afterwards": (
        "w2v_cmsc_rlm",
        WAVE | {"post": True, "kernel": 8, "pooling": "mean", "normalise": "instance", "leads": 2},
    ),
}


def made(name: str) -> Method:
    """A method with weights that no training has made small, and statistics of its norms."""
    torch.manual_seed(1)
    method, chosen = METHODS[name]
    built = find(method)(**chosen).eval()
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean = torch.randn(module.num_features) * 0.3
            module.running_var = torch.rand(module.num_features) + 0.5
            torch.nn.init.normal_(module.bias, 0.0, 0.3)
    return built


def real(batch: int, leads: int, time: int) -> Array:
    """Real ECG with gaps: single samples, stretches, the end, a lead."""
    line = sample.load().x[: -(-batch * leads * time // 1000) + 1, 0].reshape(-1)
    x = line[: batch * leads * time].reshape(batch, leads, time).copy()
    rng = np.random.default_rng(time)
    x[rng.random(x.shape) < 0.01] = np.nan
    x[0, 0, time // 3 : time // 2] = np.nan
    x[-1, :, time - time // 5 :] = np.nan
    if leads > 1:
        x[-1, 0] = np.nan
    return x


def truth(method: Method, x: Array) -> Array:
    seen = np.isfinite(x)
    filled = torch.from_numpy(
        np.where(seen, x, np.float32(7))
    )  # what is hidden is never looked at
    with torch.inference_mode():
        return method.embed(filled, torch.from_numpy(seen)).numpy()


def opened(method: Method) -> Any:
    g = Graph()
    z = embedding(g, method, "signal")
    leads = method.needs.leads
    inputs = {"signal": ("batch", leads, "time")}
    file = g.model(inputs, {"embedding": (z, ("batch", "values"))}, {})
    return session(file.SerializeToString())


@pytest.mark.parametrize("name", METHODS)
def test_a_graph_computes_what_its_method_does_in_any_batch_and_length(name: str) -> None:
    method = made(name)
    running = opened(method)
    for batch, time in ((1, 1), (1, 300), (3, 1000), (32, 300), (2, 1024), (1, 3000), (1, 6100)):
        x = real(batch, method.needs.leads, time)
        expected = truth(method, x)
        found = outputs(running, x)["embedding"]
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max()), (
            batch,
            time,
        )


@pytest.mark.parametrize("name", METHODS)
def test_nothing_measured_gives_zeros_and_changes_nothing_beside_it(name: str) -> None:
    method = made(name)
    running = opened(method)
    x = real(3, method.needs.leads, 500)
    x[1] = np.nan
    z = outputs(running, x)["embedding"]
    assert not z[1].any()
    alone = outputs(running, x[:1])["embedding"]
    assert np.abs(z[:1] - alone).max() <= 1e-4 * max(1, np.abs(alone).max())
    infinite = np.where(np.isnan(x), np.float32(np.inf), x)
    assert np.array_equal(outputs(running, infinite)["embedding"], z)


@pytest.mark.parametrize("method", ["random_convolutions", "heart_rate", "majority", "timae"])
def test_methods_whose_graph_is_not_known_are_refused_by_name(method: str) -> None:
    with pytest.raises(UsageError, match="cannot be exported") as refused:
        embedding(Graph(), find(method)(), "signal")
    assert find(method).__name__ in str(refused.value)


def test_what_is_normalised_over_time_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be exported"):
        embedding(Graph(), find("w2v_cmsc_rlm")(**WAVE, norm="group"), "signal")


def test_attention_in_pieces_is_attention_in_the_same_pieces() -> None:
    """Longer than one attention takes: the last piece is shorter than the others, and is so."""
    method = made("w2v of three leads")
    longest = LONGEST * method.encoder.stride  # type: ignore[union-attr, operator]
    running = opened(method)
    for time in (longest, longest + 1, 2 * longest + 357):
        x = real(2, 3, time)
        x[1, :, longest // 2 :] = np.nan  # a whole piece in which nothing is
        assert np.abs(outputs(running, x)["embedding"] - truth(method, x)).max() <= 1e-4


def test_somebody_elses_method_is_refused() -> None:
    with pytest.raises(UsageError, match="Tiny cannot be exported"):
        embedding(Graph(), Tiny(), "signal")


def test_what_labels_were_put_on_has_the_embedding_of_its_body() -> None:
    body = made("small, strided")
    method = Predictor(body, 32, kind="classes", outputs=2).eval()
    x = real(2, 1, 700)
    z = outputs(opened(method), x)["embedding"]
    assert np.abs(z - truth(body, x)).max() <= 1e-4


# --- the bundled model -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def bundled() -> Model:
    return nerula.load("nerula-small")


@pytest.fixture(scope="module")
def file(bundled: Model) -> onnx.ModelProto:
    return build(bundled, 2256)


def test_the_bundled_model_is_one_small_file_of_standard_operations(
    file: onnx.ModelProto, bundled: Model
) -> None:
    content = file.SerializeToString()
    assert len(content) <= 4_000_000
    assert content == build(bundled, 2256).SerializeToString()
    assert [(one.domain, one.version) for one in file.opset_import] == [("", OPSET)]
    assert {node.domain for node in file.graph.node} == {""}
    outside = onnx.TensorProto.EXTERNAL
    assert all(one.data_location != outside for one in file.graph.initializer)
    shapes = {
        one.name: [size.dim_param or size.dim_value for size in one.type.tensor_type.shape.dim]
        for one in (*file.graph.input, *file.graph.output)
    }
    assert shapes == {"signal": ["batch", 1, "time"], "embedding": ["batch", 2256]}


def test_the_file_agrees_with_embed_as_a_user_calls_it(
    file: onnx.ModelProto, bundled: Model
) -> None:
    x = sample.load().x[:100]
    z = outputs(session(file.SerializeToString()), x)["embedding"]
    assert np.abs(z - bundled.embed(x[:, 0], rate=100)).max() <= 1e-4


@pytest.mark.parametrize("way", WAYS)
def test_eight_bits_take_a_quarter_of_the_space_and_little_of_the_embedding(
    file: onnx.ModelProto, bundled: Model, way: str
) -> None:
    rounded = quantised(file, way)
    content = rounded.SerializeToString()
    assert len(content) <= 1_200_000
    x = sample.load().x[:200]
    z = outputs(session(content), x)["embedding"]
    wanted = bundled.embed(x[:, 0], rate=100)
    centred = [(one - wanted.mean(0)) / wanted.std(0) for one in (z, wanted)]
    alike = (centred[0] * centred[1]).sum() / np.sqrt(
        (centred[0] ** 2).sum() * (centred[1] ** 2).sum()
    )
    assert 0.99 < alike < 1
    said = {one.key: one.value for one in rounded.metadata_props}
    assert json.loads(said[KEY])["model"]["weights"] == way


CLASSES = {
    "two": (("no", "yes"), 1, [0, 1]),
    "three": (("a", "b", "c"), 3, [0, 1, 2]),
    "one that training lacked": (("a", "b", "c"), 1, [0, 2]),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_linear_probe_is_the_second_output(name: str, bundled: Model) -> None:
    answers, rows, columns = CLASSES[name]
    probe = linear(bundled, "classes", answers, rows, columns)
    x = sample.load().x[:50]
    content = build(bundled, 2256, probe).SerializeToString()
    found = outputs(session(content), x)
    expected = probe.probabilities(bundled.embed(x[:, 0], rate=100))
    assert found["probabilities"].shape == (50, len(answers))
    assert np.abs(found["probabilities"] - expected).max() <= 1e-4
    assert expected.std(0).max() > 0.01  # they tell recordings apart


def test_labels_are_probabilities_of_their_own(bundled: Model) -> None:
    labels = linear(bundled, "labels", ("a", "b"), 2, [0, 1])
    x = sample.load().x[:20]
    found = outputs(session(build(bundled, 2256, labels).SerializeToString()), x)["probabilities"]
    expected = labels.probabilities(bundled.embed(x[:, 0], rate=100))
    assert np.abs(found - expected).max() <= 1e-4


class Trained:
    """Probes that were fitted on real ECGs."""

    def __init__(self, model: Model) -> None:
        ecg = sample.load()
        self.model, self.x = model, ecg.x[:40]
        self._z = model.embed(ecg.x[:200, 0], rate=100)
        self.z = self._z[:40]
        facts = ecg.facts[:200]
        sexes = np.array([one.sex == "female" for one in facts]) * 1
        ages = np.array([55.0 if one.age is None else one.age for one in facts])
        labels = np.stack([sexes, ages > 60], axis=1) * 1
        self._targets = {"classes": sexes, "labels": labels, "values": ages}
        self._held: dict[tuple[str, str], Probe] = {}

    def __call__(self, kind: str, probe: str) -> Probe:
        """One of them, as arrays; fitted when it is first asked for."""
        if (kind, probe) not in self._held:
            self._held[kind, probe] = self._fitted(kind, probe)
        return self._held[kind, probe]

    def _fitted(self, kind: str, probe: str) -> Probe:
        answers = {
            "classes": ("male", "female"),
            "labels": ("female", "old"),
            "values": ("years",),
        }
        main = {"classes": "auroc", "labels": "auroc", "values": "mae"}[kind]
        examples = Examples(self._z, self._targets[kind], np.arange(len(self._z)))
        question = Question(kind, len(answers[kind]), main)
        fitted = probes.fit(probe, question, examples, None)
        return fitted.portable(answers[kind], self.model.identity, {"task": "none"})


@pytest.mark.parametrize("probe", ["ridge", "mlp", "ensemble"])
def test_values_are_an_output_in_their_own_unit(probe: str, trained: Trained) -> None:
    given = trained("values", probe)
    content = build(trained.model, 2256, given).SerializeToString()
    found = outputs(session(content), trained.x)
    assert set(found) == {"embedding", "values"}
    assert found["values"].shape == (len(trained.x), 1)
    expected = given.values(trained.z)
    assert np.abs(found["values"][:, 0] - expected).max() <= 1e-4 * float(given.arrays["unit"])
    assert expected.std() > 3  # years
    said = json.loads(session(content).get_modelmeta().custom_metadata_map[KEY])
    assert said["outputs"]["values"]["unit"] == "years"


@pytest.mark.parametrize("probe", ["mlp", "ensemble"])
@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_networks_are_probabilities(kind: str, probe: str, trained: Trained) -> None:
    given = trained(kind, probe)
    found = outputs(session(build(trained.model, 2256, given).SerializeToString()), trained.x)
    expected = given.probabilities(trained.z)
    assert np.abs(found["probabilities"] - expected).max() <= 1e-4
    assert expected.std(0).max() > 0.05


@pytest.mark.parametrize("probe", ["svc", "forest"])
def test_what_is_no_matrix_is_refused_by_name(probe: str, trained: Trained) -> None:
    with pytest.raises(UsageError, match="does not go into the file"):
        build(trained.model, 2256, trained("classes", probe))


def test_rounding_says_what_becomes_of_the_probe(trained: Trained) -> None:
    unknown = np.zeros(len(trained.x))
    of = verify.Trial(trained.x, trained.z, unknown > 0, unknown, *(unknown.astype(int),) * 2)
    for kind, decides in (("classes", True), ("values", False)):
        given = trained(kind, "ensemble")
        file = build(trained.model, 2256, given)
        same = outputs(session(file.SerializeToString()), of.signal)
        rounded = outputs(session(quantised(file, WAYS[0]).SerializeToString()), of.signal)
        before, after = change(same, of, given), change(rounded, of, given)
        size = 1 if decides else float(given.arrays["unit"])
        assert before.most <= 1e-4 * size
        assert before.mean < after.mean < 0.05 * size
        assert (before.decisions, after.decisions is None) == (0 if decides else None, not decides)


@pytest.fixture(scope="module")
def trained(bundled: Model) -> Iterator[Trained]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "STEPS", 30)  # how well they answer is not the question here
        yield Trained(bundled)


def linear(
    model: Model, kind: str, answers: tuple[str, ...], rows: int, columns: list[int]
) -> Probe:
    rng = np.random.default_rng(0)
    arrays = {
        "coefficients": rng.normal(0, 0.03, (rows, 2256)),
        "intercepts": rng.normal(0, 0.1, rows),
        "centre": rng.normal(0, 1, 2256),
        "spread": rng.random(2256) + 0.5,
        "columns": np.array(columns),
    }
    return Probe(kind, answers, "linear", arrays, model.identity, {"task": "none"})


# --- the verb --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    chosen = arguments("nerula", **SMALL)
    path = tmp_path_factory.mktemp("model") / "tiny"
    bundle.save(
        path, find("nerula")(**chosen), name="nerula", arguments=chosen,
        contract=Contract(("II",), 100.0), window=1024, training=TRAINING,
    )  # fmt: skip
    return path


def test_the_verb_writes_a_verified_file_and_says_how_to_use_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", str(folder), str(tmp_path / "out.onnx")])
    assert ended.value.code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.onnx"]
    said = capsys.readouterr().out
    for word in ("1,000 real ECGs", "parameters", "multiply-adds", "median", "p99", "memory"):
        assert word in said
    recipe = json.loads((tmp_path / "out.json").read_text())
    running = session((tmp_path / "out.onnx").read_bytes())
    assert json.loads(running.get_modelmeta().custom_metadata_map[KEY]) == recipe
    assert recipe["input"]["rate"] == 100.0
    assert recipe["windows"]["samples"] == 1024


def test_a_file_that_is_not_its_model_is_not_left_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nerula.onnx import networks

    pooled = networks.pooled
    monkeypatch.setattr(
        networks, "pooled", lambda g, *rest: g.op("Add", pooled(g, *rest), g.constant(0.001))
    )
    with pytest.raises(NerulaError, match="Nothing was written"):
        export.export(str(folder), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("difference", ["decisions", "answers", "nan"])
def test_every_difference_is_enough_to_refuse(difference: str) -> None:
    same = {"difference": 1e-5, "decisions": 0, "answers": 1e-6, "recordings": 1000}
    verify.Verdict(**same).refuse()  # type: ignore[arg-type]
    changed: dict[str, dict[str, Any]] = {
        "decisions": {"decisions": 1},
        "answers": {"answers": 2e-4},
        "nan": {"difference": float("nan")},
    }
    with pytest.raises(NerulaError, match="does not compute"):
        verify.Verdict(**same | changed[difference]).refuse()  # type: ignore[arg-type]


@pytest.mark.slow
def test_rounding_that_costs_too_much_writes_nothing_and_shows_the_cost_first(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NerulaError, match="--max-loss"):
        export.export(str(folder), tmp_path / "out.onnx", int8=True, max_loss=-1.0)
    assert not list(tmp_path.iterdir())
    said = capsys.readouterr().out
    assert "sex, AUROC" in said
    assert "age, R2" in said


def test_without_the_optional_packages_the_extra_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"nerula\[onnx\]"):
        export.export(str(folder), tmp_path / "out.onnx")


def test_a_name_that_says_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ending \.onnx"):
        export.export(str(folder), tmp_path / "out.bin")


# --- on a device -----------------------------------------------------------------------------

WITHOUT = """
import runpy, sys
sys.modules["torch"] = sys.modules["nerula"] = sys.modules["scipy"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("rate", [100, 250, 360, 90])
def test_the_example_gives_the_models_embedding_without_nerula_or_torch(
    rate: int, bundled: Model, file: onnx.ModelProto, tmp_path: Path
) -> None:
    from nerula import signal

    line = sample.load().x[:3, 0].reshape(1, -1)
    x = signal.resample(line, 100.0, float(rate))[0]
    x[5 * rate : 6 * rate] = np.nan
    x[12 * rate] = np.nan
    (tmp_path / "m.onnx").write_bytes(file.SerializeToString())
    rows = "\n".join("" if np.isnan(value) else f"{value:.6f}" for value in x)
    rows = rows.replace("\n\n", "\nnan\n").replace("\n\n", "\nnan\n")
    (tmp_path / "ecg.csv").write_text(f"# rate: {rate}\nII (mV)\n{rows}\n")
    words = [sys.executable, "-c", WITHOUT, str(EXAMPLE), "m.onnx", "ecg.csv"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.loadtxt(tmp_path / "ecg.embedding.csv", delimiter=",")
    expected = bundled.embed(np.round(x, 6), rate=rate)
    assert np.abs(found - expected).max() <= 1e-4
    assert (tmp_path / "ecg.embedding.svg").read_text().startswith("<svg")


def test_the_example_gives_a_model_of_many_leads_those_that_there_are(tmp_path: Path) -> None:
    from nerula import signal

    model, names = nerula.load("leads-small"), ["V2", "I", "II"]
    content = build(model, 2832).SerializeToString()
    x = signal.resample(sample.load().x[:9, 0].reshape(3, -1), 100.0, 250.0)
    (tmp_path / "m.onnx").write_bytes(content)
    rows = "\n".join(",".join(f"{value:.6f}" for value in row) for row in x.T)
    titles = ",".join(f"{name} (mV)" for name in names)
    (tmp_path / "ecg.csv").write_text(f"# rate: 250\n{titles}\n{rows}\n")
    words = [sys.executable, "-c", WITHOUT, str(EXAMPLE), "m.onnx", "ecg.csv"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.loadtxt(tmp_path / "ecg.embedding.csv", delimiter=",")
    expected = model.embed(np.round(x, 6), rate=250, leads=names)
    assert np.abs(found - expected).max() <= 1e-4
    (tmp_path / "ecg.csv").write_text("# rate: 250\nX,Y\n0.1,0.2\n")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "The model wants" in done.stderr


def test_a_model_of_any_leads_is_tried_on_the_lead_that_there_is() -> None:
    model = nerula.load("leads-small")
    of = verify.trial(model)
    there = np.isfinite(of.signal).any(2)
    assert there.sum() == len(there)
    assert there[:, model.contract.leads.index("II")].all()
    assert all(np.isfinite(x).any(2).all() for x in verify._odd(model, of)[1:])


@pytest.mark.slow
def test_the_bundled_model_in_eight_bits_end_to_end(tmp_path: Path) -> None:
    assert export.export("nerula-small", tmp_path / "out.onnx", int8=True) == 0
    assert (tmp_path / "out.onnx").stat().st_size <= 1_200_000
