"""ECGEmbedder among scikit-learn's own: its published checks, pipelines, searches, names."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import nerula
from nerula import sample
from nerula.errors import NerulaError
from nerula.sklearn import ECGEmbedder, stack


@pytest.fixture(scope="module")
def ecg() -> NDArray[np.float32]:
    return sample.load().x[:40, 0]


LEFT_OUT = {
    "check_methods_subset_invariance": "alone and among others, float32 products are added up in "
    "another order: embeddings agree to 1e-6, not to 1e-7"
}


@parametrize_with_checks([ECGEmbedder()], expected_failed_checks=lambda _: LEFT_OUT)
def test_it_is_an_estimator(estimator, check) -> None:  # type: ignore[no-untyped-def]
    check(estimator)


def test_what_is_left_out_holds_nearly(ecg: NDArray[np.float32]) -> None:
    embedder = ECGEmbedder().fit(ecg)
    together = embedder.transform(ecg)
    alone = np.concatenate([embedder.transform(x[None]) for x in ecg[:7]])
    np.testing.assert_allclose(alone, together[:7], rtol=1e-5, atol=5e-6)


def test_it_gives_what_the_model_gives(ecg: NDArray[np.float32]) -> None:
    holes = ecg.copy()
    holes[:, 200:260] = np.nan
    model = nerula.load("nerula-small")
    embedder = ECGEmbedder(rate=250, lead="I", unit="uV").fit(1000 * holes)
    np.testing.assert_allclose(
        embedder.transform(1000 * holes), model.embed(holes, 250, lead="I"), rtol=1e-4, atol=1e-5
    )
    own = ECGEmbedder(model).fit(ecg)
    np.testing.assert_allclose(clone(own).fit(ecg).transform(ecg), model.embed(ecg, 100))


def test_rows_of_nothing_become_nan_and_shorter_ones_are_stacked(ecg: NDArray[np.float32]) -> None:
    X = stack([ecg[0], np.zeros(1000), ecg[1][:640], [np.nan]])  # noqa: N806
    z = ECGEmbedder().fit_transform(X)
    assert np.isnan(z).all(1).tolist() == [False, True, False, True]
    model = nerula.load("nerula-small")
    np.testing.assert_allclose(z[2], model.embed(ecg[1][:640], 100), rtol=1e-4, atol=1e-5)
    assert stack([]).shape == (0, 0)


def test_a_pipeline_is_searched_and_named(ecg: NDArray[np.float32]) -> None:
    y = sample.load().has("NORM")[:40]
    pipeline = make_pipeline(ECGEmbedder(), StandardScaler(), LogisticRegression(max_iter=200))
    search = GridSearchCV(
        pipeline,
        {"logisticregression__C": [0.01, 1.0], "ecgembedder__rate": [100.0, 250.0]},
        cv=2,
        error_score="raise",
    )
    search.fit(ecg, y)
    assert set(search.best_params_) == {"logisticregression__C", "ecgembedder__rate"}
    assert search.predict_proba(ecg).shape == (40, 2)
    names = search.best_estimator_[:-1].get_feature_names_out()
    assert names[[0, -1]].tolist() == ["ecgembedder0", "ecgembedder2255"]


def test_pandas_comes_out(ecg: NDArray[np.float32]) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ecg, index=[f"r{row}" for row in range(len(ecg))])
    z = ECGEmbedder().set_output(transform="pandas").fit_transform(frame.rename(columns=str))
    assert z.index.tolist() == frame.index.tolist()
    assert z.columns[-1] == "ecgembedder2255"
    assert (z.dtypes == np.float32).all()


def test_what_is_pickled_is_small(ecg: NDArray[np.float32]) -> None:
    fitted = ECGEmbedder().fit(ecg)
    content = pickle.dumps(fitted)
    assert len(content) < 1000
    assert (pickle.loads(content).transform(ecg[:2]) == fitted.transform(ecg[:2])).all()


def test_a_wrong_model_or_unit_is_refused_when_fitted(
    ecg: NDArray[np.float32], tmp_path: Path
) -> None:
    with pytest.raises(NerulaError, match="is no model"):
        ECGEmbedder(tmp_path).fit(ecg)
    with pytest.raises(NerulaError, match="unit"):
        ECGEmbedder(unit="furlong").fit(ecg).transform(ecg)
    with pytest.raises(ValueError, match="is expecting 1000 features"):
        ECGEmbedder().fit(ecg).transform(ecg[:, :500])
