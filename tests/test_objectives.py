"""Objectives: layouts and signs against formulas, and models that the three engines train with them."""

import inspect
import pickle

import numpy as np
import pytest

import fastloss as fl
from fastloss import objectives
from tests.oracle import oracle

xgb, lgb, cat = oracle("xgboost"), oracle("lightgbm"), oracle("catboost")
datasets, base = oracle("sklearn.datasets"), oracle("sklearn.base")

RNG = np.random.default_rng(5)
N, K = 40, 3
LABELS = RNG.integers(0, K, N).astype(np.float32)
SCORES = RNG.normal(size=(N, K))
WEIGHTS = RNG.uniform(0.5, 2, N).astype(np.float32)
FACTORIES = {name: getattr(objectives, name) for name in objectives.__all__}
FACTORS = {"xgboost": objectives.xgboost, "lightgbm": objectives.lightgbm}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def derivatives(x, labels, weight, class_weight):
    """Those of weighted cross-entropy, from the textbook."""
    p, index = softmax(x), labels.astype(int)
    factor = (class_weight[index] * weight)[:, None]
    return factor * (p - np.eye(K)[index]), factor * p * (1 - p)


class Labelled:
    """What DMatrix and Dataset have in common."""

    def __init__(self, label, weight):
        self.label, self.weight = label, weight

    def get_label(self):
        return self.label

    def get_weight(self):
        return self.weight


class TestDerivatives:
    class_weight = np.array([1.0, 2.0, 0.5])

    def test_xgboost_is_float32_in_c_order(self):
        x = SCORES.astype(np.float32)
        objective = objectives.xgboost("cross_entropy", weight=self.class_weight, hessian="exact")
        for got, wanted in zip(objective(LABELS, x, WEIGHTS), derivatives(x, LABELS, WEIGHTS, self.class_weight), strict=True):
            assert got.dtype == np.float32 and got.shape == (N, K) and got.flags.c_contiguous
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)         # of size 1, a few float32 roundings

    @pytest.mark.parametrize("slab", [1 << 18, 16 * K])
    def test_lightgbm_is_float32_in_fortran_order(self, slab, monkeypatch):
        """float64 inside: the derivatives are rounded once, to within a unit of the right float32."""
        monkeypatch.setattr(objectives, "SLAB", slab)
        objective = objectives.lightgbm("cross_entropy", weight=self.class_weight, hessian="exact")
        for x in (np.asfortranarray(SCORES), SCORES):
            for got, wanted in zip(objective(LABELS, x, WEIGHTS), derivatives(x, LABELS, WEIGHTS, self.class_weight), strict=True):
                assert got.dtype == np.float32 and got.shape == (N, K) and got.flags.f_contiguous
                np.testing.assert_allclose(got, wanted, rtol=2.0**-23)

    def test_lightgbm_losses_without_an_axis(self, monkeypatch):
        whole = objectives.lightgbm("multi_margin_loss", p=2)(LABELS, np.asfortranarray(SCORES), WEIGHTS)
        monkeypatch.setattr(objectives, "SLAB", 7 * K)
        pieces = objectives.lightgbm("multi_margin_loss", p=2)(LABELS, np.asfortranarray(SCORES), WEIGHTS)
        _, grad, hess = fl.multi_margin_loss.value_grad_hess(SCORES, LABELS.astype(int), p=2, reduction="sum", sample_weight=WEIGHTS)
        for a, b, wanted in zip(whole, pieces, (grad, np.maximum(hess, 1e-6 * WEIGHTS[:, None])), strict=True):
            assert a.flags.f_contiguous and np.array_equal(a, b) and np.array_equal(a, wanted.astype(np.float32))

    @pytest.mark.parametrize("factory", FACTORS.values(), ids=FACTORS)
    def test_one_output_is_flat(self, factory):
        x, y = SCORES[:, 0], (LABELS > 0).astype(np.float32)
        p = 1 / (1 + np.exp(-x))
        grad, hess = factory(fl.binary_cross_entropy_with_logits)(y, x, WEIGHTS)
        assert grad.dtype == hess.dtype == np.float32 and grad.shape == hess.shape == (N,)
        np.testing.assert_allclose(grad, WEIGHTS * (p - y), rtol=1e-5)
        np.testing.assert_allclose(hess, WEIGHTS * p * (1 - p), rtol=1e-5)

    @pytest.mark.parametrize("factory", FACTORS.values(), ids=FACTORS)
    def test_native_calls_are_the_same(self, factory):
        for loss, x in (("cross_entropy", SCORES), ("mse_loss", SCORES[:, 0])):
            objective = factory(loss)
            for weight, none in ((WEIGHTS, None), (np.empty(0, np.float32), None), (None, None)):
                native = objective(x, Labelled(LABELS, weight))
                labelled = objective(LABELS, x, WEIGHTS if weight is WEIGHTS else none)
                assert all(map(np.array_equal, native, labelled))

    def test_catboost_maximises(self):
        x, y = SCORES[:, 0], (LABELS > 0).astype(np.float32)
        p = 1 / (1 + np.exp(-x))
        pairs = objectives.catboost("binary_cross_entropy_with_logits").calc_ders_range(x.tolist(), y.tolist(), WEIGHTS.tolist())
        assert type(pairs) is list and {type(v) for pair in pairs for v in pair} == {float}
        np.testing.assert_allclose(pairs, np.stack([WEIGHTS * (y - p), -WEIGHTS * p * (1 - p)], 1), rtol=1e-12)

    @pytest.mark.parametrize("loss", ["binary_cross_entropy_with_logits", "l1_loss"])
    def test_catboost_reads_arrays(self, loss):
        """Those that it gives: float64 scores, float32 labels and weights; an array goes back, with the numbers of the list."""
        x, y, objective = SCORES[:, 0].copy(), (LABELS > 0).astype(np.float32), objectives.catboost(loss)
        for weight in (None, WEIGHTS):
            pairs = objective.calc_ders_range(x, y, weight)
            assert type(pairs) is np.ndarray and pairs.dtype == np.float64 and pairs.shape == (N, 2)
            assert pairs.tolist() == [list(pair) for pair in objective.calc_ders_range(x.tolist(), y, weight)]

    def test_catboost_of_classes(self):
        objective = objectives.catboost("cross_entropy", weight=self.class_weight)
        grad, hess = derivatives(SCORES, LABELS, WEIGHTS, self.class_weight)
        for i in range(3):
            first, second = objective.calc_ders_multi(SCORES[i].tolist(), float(LABELS[i]), float(WEIGHTS[i]))
            assert type(first) is list and type(second) is list and type(second[0]) is list
            np.testing.assert_allclose(first, -grad[i], rtol=1e-12)
            np.testing.assert_allclose(second, np.diag(-hess[i]), rtol=1e-12)

    @pytest.mark.parametrize("loss, params", [
        ("cross_entropy", {}), ("cross_entropy", {"weight": [0.5, 0.0, 2.0]}), ("cross_entropy", {"label_smoothing": 0.1, "z_loss": 0.01}),
        ("cross_entropy", {"ignore_index": 1}), ("focal_cross_entropy", {"gamma": 1.5}),
    ])
    @pytest.mark.parametrize("hessian", ["exact", "positive", "one"])
    def test_catboost_of_arrays_and_lists(self, loss, params, hessian):
        """A row as an array goes straight to the kernels, as a list the general way."""
        objective = objectives.catboost(loss, hessian=hessian, **params)
        for scores in (*SCORES[:3].astype(float), np.array([900.0, -900.0, 0.0]), np.array([np.nan, 0.0, 0.0])):
            for label in (0.0, 1.0, 2.0):
                for weight in (None, 0.0, 2.5):
                    np.testing.assert_equal(objective.calc_ders_multi(scores, label, weight), objective.calc_ders_multi(scores.tolist(), label, weight))
        for label in (-1.0, 3.0, 1.5, np.nan):
            with pytest.raises((IndexError, ValueError), match="target"):
                objective.calc_ders_multi(SCORES[0].astype(float), label, 1.0)

    def test_hessians(self):
        x, y = np.linspace(-6, 6, N), np.ones(N, np.float32)
        exact = fl.sigmoid_focal_loss.value_grad_hess(x, y.astype(float), reduction="sum", gamma=3.0)[2]
        assert exact.min() < 0
        for hessian, wanted in (("exact", exact * WEIGHTS), ("positive", np.maximum(exact, 1e-6) * WEIGHTS), ("one", WEIGHTS)):
            got = objectives.lightgbm("sigmoid_focal_loss", gamma=3.0, hessian=hessian)(y, x, WEIGHTS)[1]
            np.testing.assert_allclose(got, wanted, rtol=1e-6)

    @pytest.mark.parametrize("loss, params, wanted", [
        ("cross_entropy", {}, "positive"), ("huber_loss", {"delta": 1e-3}, "positive"), ("squared_hinge_loss", {}, "positive"),
        ("multi_margin_loss", {"p": 2}, "positive"), ("multi_margin_loss", {"weight": [1.0, 2.0]}, "one"), ("l1_loss", {}, "one"),
        ("quantile_loss", {"q": [0.1, 0.9]}, "one"), ("hinge_loss", {}, "one"), ("smooth_l1_loss", {"beta": 0}, "one"),
        ("multilabel_margin_loss", {}, "one"),
    ])  # fmt: skip
    def test_default_hessian(self, loss, params, wanted):
        assert objectives.xgboost(loss, **params).hessian == wanted

    def test_labels_of_signs(self):
        x = SCORES[:, 0]
        zero_one, signs = (LABELS > 0).astype(np.float32), np.where(LABELS > 0, 1.0, -1.0)
        for loss in ("hinge_loss", "squared_hinge_loss", "soft_margin_loss", "exponential_loss", "hinge_embedding_loss"):
            objective = objectives.xgboost(loss)
            assert all(map(np.array_equal, objective(zero_one, x), objective(signs, x)))
            np.testing.assert_array_equal(objective(zero_one, x)[0], getattr(fl, loss).grad(x.astype("f4"), signs, reduction="sum"))

    def test_hinge_of_classes(self):
        grad, _ = objectives.xgboost("hinge_loss")(LABELS, SCORES)
        np.testing.assert_array_equal(grad, fl.hinge_loss.grad(SCORES.astype("f4"), LABELS.astype(int), reduction="sum"))

    def test_several_outputs(self):
        y = RNG.normal(size=(N, K)).astype(np.float32)
        q = np.array([0.1, 0.5, 0.9])
        grad, hess = objectives.xgboost("quantile_loss", q=q)(y, SCORES, WEIGHTS)
        wanted = WEIGHTS[:, None] * np.where(SCORES.astype("f4") > y, 1 - q, -q)
        np.testing.assert_allclose(grad, wanted, rtol=1e-6)
        np.testing.assert_array_equal(hess, np.repeat(WEIGHTS[:, None], K, 1))

    def test_probabilities_as_labels(self):
        q = softmax(RNG.normal(size=(N, K))).astype(np.float32)
        for factory in FACTORS.values():
            np.testing.assert_allclose(factory("cross_entropy")(q, SCORES)[0], softmax(SCORES) - q, atol=1e-6)

    def test_inputs_stay(self):
        x, y, w = SCORES.astype(np.float32), LABELS.copy(), WEIGHTS.copy()
        for factory in FACTORS.values():
            factory("cross_entropy")(y, x, w)
        assert np.array_equal(x, SCORES.astype(np.float32)) and np.array_equal(y, LABELS) and np.array_equal(w, WEIGHTS)

    def test_floating_point_errors_are_not_raised(self):
        x = np.array([1e300, -1e300, 1e-300, np.inf])
        with np.errstate(all="raise"):
            for factory in FACTORS.values():
                factory("mse_loss")(np.zeros(4), x)
                factory("exponential_loss")(np.ones(4), x, np.full(4, 1e-320))
            objectives.catboost("mse_loss").calc_ders_range(x, np.zeros(4), np.full(4, 1e-320))

    def test_nan_stays_in_its_row(self):
        x = SCORES.copy()
        x[4, 1] = np.nan
        for factory in FACTORS.values():
            for array in factory("cross_entropy")(LABELS, x):
                assert np.isnan(array[4]).all() and np.isnan(array).sum() == K


class TestObject:
    def test_signatures_that_the_engines_look_at(self):
        assert len(inspect.signature(objectives.lightgbm("mse_loss")).parameters) == 3
        parameter = inspect.signature(objectives.xgboost("mse_loss")).parameters["sample_weight"]
        assert parameter.default is None and len(inspect.signature(objectives.xgboost("mse_loss")).parameters) == 3

    @pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
    def test_pickles(self, factory):
        objective = factory("cross_entropy", weight=[1.0, 2.0, 0.5], label_smoothing=0.1, hessian="exact")
        back = pickle.loads(pickle.dumps(objective))
        assert repr(back) == repr(objective) and back.loss is fl.cross_entropy
        assert back.init_score(LABELS).tobytes() == objective.init_score(LABELS).tobytes()

    def test_pickles_after_use(self):
        objective = objectives.catboost("cross_entropy", weight=[1.0, 2.0, 0.5])
        row = SCORES[0].astype(float), 1.0, 2.0
        want = objective.calc_ders_multi(*row)
        assert pickle.loads(pickle.dumps(objective)).calc_ders_multi(*row) == want

    def test_clones(self):
        for estimator in (
            xgb.XGBClassifier(objective=objectives.xgboost("cross_entropy")),
            lgb.LGBMClassifier(objective=objectives.lightgbm("cross_entropy")),
            cat.CatBoostClassifier(loss_function=objectives.catboost("cross_entropy"), eval_metric="MultiClass"),
        ):
            base.clone(base.clone(estimator))

    def test_name_or_loss(self):
        assert repr(objectives.xgboost("l1_loss")) == repr(objectives.xgboost(fl.l1_loss))
        assert repr(objectives.catboost("huber_loss", delta=2.0)) == "fastloss.objectives.catboost(huber_loss, hessian='positive', delta=2.0)"

    def test_imports_no_engine(self, python):
        program = "import sys, fastloss as fl; fl.objectives.catboost('mse_loss'); print({'xgboost', 'lightgbm', 'catboost', 'numba'} & set(sys.modules))"
        assert python(program).strip() == "set()"


class TestInitialScore:
    y = np.array([0.0, 1, 1, 3, 8, 2, 1])
    weight = np.array([1.0, 2, 1, 0.5, 1, 1, 3])
    signs = np.array([1.0, -1, 1, 1, -1, 1, 1])

    def score(self, loss, y, **params):
        return objectives.xgboost(loss, **params).init_score(y, self.weight)

    def test_closed_forms(self):
        mean = np.average(self.y, weights=self.weight)
        positive = np.average(self.signs > 0, weights=self.weight)
        assert self.score("mse_loss", self.y) == pytest.approx(mean)
        assert self.score("huber_loss", self.y, delta=100.0) == pytest.approx(mean)
        assert self.score("poisson_nll_loss", self.y) == pytest.approx(np.log(mean))
        assert self.score("binary_cross_entropy_with_logits", self.signs > 0) == pytest.approx(np.log(positive / (1 - positive)))
        assert self.score("soft_margin_loss", self.signs) == pytest.approx(np.log(positive / (1 - positive)))
        assert self.score("exponential_loss", self.signs) == pytest.approx(np.log(positive / (1 - positive)) / 2)
        assert self.score("l1_loss", self.y) == 1.0
        assert objectives.xgboost("l1_loss").init_score(self.y[:6]) == np.median(self.y[:6])
        assert self.score("quantile_loss", self.y, q=0.99) == 8.0

    def test_class_shares(self):
        shares = np.array([np.sum(WEIGHTS[LABELS == k]) for k in range(K)])
        score = objectives.lightgbm("cross_entropy").init_score(LABELS, WEIGHTS)
        np.testing.assert_allclose(score, np.log(shares / shares.sum()), rtol=1e-6)

    @pytest.mark.parametrize("loss, params, labels", [
        ("huber_loss", {"delta": 0.7}, y), ("log_cosh_loss", {}, y), ("smooth_l1_loss", {"beta": 0.5}, y), ("msle_loss", {}, y),
        ("quantile_loss", {"q": 0.3}, y), ("poisson_nll_loss", {"log_input": False}, y),
        ("sigmoid_focal_loss", {"gamma": 2.0}, signs > 0), ("squared_hinge_loss", {}, signs), ("hinge_loss", {}, signs),
        ("binary_cross_entropy_with_logits", {"pos_weight": 3.0}, signs > 0),
    ])  # fmt: skip
    def test_no_other_constant_is_better(self, loss, params, labels):
        def value(c):
            x, y = np.full(7, float(c)), labels.astype(float)
            return getattr(fl, loss)(x, y, reduction="sum", sample_weight=self.weight, **params)

        best = self.score(loss, labels, **params)
        assert all(value(best) <= value(best + d) + 1e-9 for d in (-1, -0.1, -1e-3, 1e-3, 0.1, 1))

    @pytest.mark.parametrize("loss, params", [
        ("cross_entropy", {"label_smoothing": 0.2, "weight": [1.0, 3.0, 0.5]}), ("cross_entropy", {"z_loss": 0.1}),
        ("multi_margin_loss", {"p": 2}),
    ])  # fmt: skip
    def test_no_other_class_scores_are_better(self, loss, params):
        def value(c):
            return getattr(fl, loss)(np.tile(c, (N, 1)), LABELS.astype(int), reduction="sum", sample_weight=WEIGHTS, **params)

        best = objectives.xgboost(loss, **params).init_score(LABELS, WEIGHTS)
        assert all(value(best) <= value(best + d * np.eye(K)[k]) + 1e-6 for d in (-0.1, -0.01, 0.01, 0.1) for k in range(K))

    def test_classes_without_rows_and_ignored_rows(self):
        score = objectives.xgboost("cross_entropy", weight=[1.0, 1.0, 1.0, 1.0], ignore_index=-1).init_score([0, 0, 2, -1])
        np.testing.assert_allclose(score, np.log([2 / 3, 1e-15, 1 / 3, 1e-15]))

    def test_minima_at_infinity_are_cut(self):
        for loss in ("binary_cross_entropy_with_logits", "soft_margin_loss", "exponential_loss", "sigmoid_focal_loss"):
            assert 20 < objectives.xgboost(loss).init_score([1, 1]) < 40

    @pytest.mark.parametrize("y, weight, words", [
        ([1.0, np.nan], None, r"target\[1\] is nan"), ([], None, "add up to 0.0"), ([1.0, 2.0], [0, 0], "add up to 0.0"),
        ([1.0, 2.0], [1, 2, 3], r"sample_weight has shape \(3,\)"), (3.0, None, r"target has shape \(\)"),
    ])  # fmt: skip
    def test_errors(self, y, weight, words):
        for loss in ("cross_entropy", "huber_loss", "l1_loss", "mse_loss"):
            with pytest.raises(ValueError, match=words):
                objectives.xgboost(loss).init_score(y, weight)

    def test_one_for_each_output(self):
        y = RNG.normal(size=(N, 2))
        np.testing.assert_allclose(objectives.xgboost("mse_loss").init_score(y), y.mean(0))
        np.testing.assert_allclose(objectives.xgboost("quantile_loss", q=[0.0, 1.0]).init_score(y), [y[:, 0].min(), y[:, 1].max()])


ROUNDS = 8


@pytest.fixture(scope="module")
def cancer():
    return datasets.load_breast_cancer(return_X_y=True)


@pytest.fixture(scope="module")
def wine():
    return datasets.load_wine(return_X_y=True)


@pytest.fixture(scope="module")
def diabetes():
    return datasets.load_diabetes(return_X_y=True)


def train_xgboost(x, y, objective, weight=None, rounds=ROUNDS, **params):
    """Raw predictions of the training rows."""
    data = xgb.DMatrix(x, y, weight=weight)
    params = {"nthread": 1, "max_depth": 3, "eta": 0.3, "base_score": 0.0, **params}
    named = isinstance(objective, str)
    model = xgb.train(params | ({"objective": objective} if named else {}), data, rounds, obj=None if named else objective)
    return model.predict(data, output_margin=True)


def train_lightgbm(x, y, objective, weight=None, rounds=ROUNDS, start=None, **params):
    data = lgb.Dataset(x, y, weight=weight, init_score=start)
    params = {"objective": objective, "num_threads": 1, "num_leaves": 7, "verbose": -1, "boost_from_average": False, **params}
    return lgb.train(params, data, rounds).predict(x, raw_score=True)


def train_catboost(x, y, objective, estimator=None, rounds=ROUNDS, weight=None, baseline=None, metric=None, **params):
    params = {"depth": 3, "learning_rate": 0.3, "thread_count": 1, "verbose": False, "allow_writing_files": False, "boost_from_average": False,
              "boosting_type": "Plain", "bootstrap_type": "No", "random_strength": 0, "leaf_estimation_method": "Newton",
              "leaf_estimation_iterations": 1, "eval_metric": metric, **params}  # fmt: skip
    model = (estimator or cat.CatBoostRegressor)(loss_function=objective, iterations=rounds, **params)
    return model.fit(x, y, sample_weight=weight, baseline=baseline).predict(x, prediction_type="RawFormulaVal")


class TestBesideTheBuiltIn:
    """Where an engine's own objective has the same derivatives, the models are the same; else they are as good."""

    def test_xgboost_binary(self, cancer):
        x, y = cancer
        weight = np.linspace(0.5, 2, len(y))
        theirs = train_xgboost(x, y, "binary:logistic", weight, base_score=0.5)                # as a probability: the score 0
        ours = train_xgboost(x, y, objectives.xgboost("binary_cross_entropy_with_logits"), weight)
        np.testing.assert_allclose(ours, theirs, atol=1e-4)                     # float32 derivatives, a unit apart here and there

    def test_xgboost_classes(self, wine):
        x, y = wine
        ours = train_xgboost(x, y, objectives.xgboost("cross_entropy"), num_class=3)
        theirs = train_xgboost(x, y, "multi:softprob", num_class=3, base_score=0.5)
        assert fl.cross_entropy(ours, y) <= fl.cross_entropy(theirs, y) and (ours.argmax(1) == y).mean() == 1

    def test_xgboost_squares(self, diabetes):
        """The built-in is half of mse_loss: no difference without regularisation."""
        x, y = diabetes
        start = objectives.xgboost("mse_loss").init_score(y)
        both = [train_xgboost(x, y, o, base_score=start, reg_lambda=0) for o in (objectives.xgboost("mse_loss"), "reg:squarederror")]
        np.testing.assert_allclose(*both, rtol=1e-5)

    def test_lightgbm_binary(self, cancer):
        x, y = cancer
        weight = np.linspace(0.5, 2, len(y))
        both = [train_lightgbm(x, y, o, weight) for o in (objectives.lightgbm("binary_cross_entropy_with_logits"), "binary")]
        np.testing.assert_allclose(*both, atol=1e-6)

    def test_lightgbm_classes(self, wine):
        x, y = wine
        ours = train_lightgbm(x, y, objectives.lightgbm("cross_entropy"), num_class=3)
        theirs = train_lightgbm(x, y, "multiclass", num_class=3)
        assert fl.cross_entropy(ours, y) <= fl.cross_entropy(theirs, y) and (ours.argmax(1) == y).mean() == 1

    def test_lightgbm_squares(self, diabetes):
        x, y = diabetes
        half = objectives.lightgbm("huber_loss", delta=np.inf)
        both = [train_lightgbm(x, y, o, start=np.full(len(y), half.init_score(y))) for o in (half, "regression")]
        np.testing.assert_allclose(*both, rtol=1e-9)

    def test_catboost_binary(self, cancer):
        x, y = cancer
        weight = np.linspace(0.5, 2, len(y))
        objective = objectives.catboost("binary_cross_entropy_with_logits")
        both = [train_catboost(x, y, o, cat.CatBoostClassifier, weight=weight, metric="Logloss") for o in (objective, "Logloss")]
        np.testing.assert_allclose(*both, rtol=1e-9)

    def test_catboost_classes(self, wine):
        """CatBoost's own has the whole matrix of second derivatives."""
        x, y = wine
        objective = objectives.catboost("cross_entropy")
        ours, theirs = (train_catboost(x, y, o, cat.CatBoostClassifier, rounds=6, metric="MultiClass", classes_count=3) for o in (objective, "MultiClass"))
        assert fl.cross_entropy(ours, y) <= fl.cross_entropy(theirs, y) and (ours.argmax(1) == y).mean() > 0.98


ROBUST = [("l1_loss", {}), ("quantile_loss", {"q": 0.8}), ("huber_loss", {"delta": 50.0}), ("log_cosh_loss", {"hessian": "one"})]
MARGINS = [("hinge_loss", {}), ("squared_hinge_loss", {}), ("soft_margin_loss", {}), ("sigmoid_focal_loss", {"gamma": 2.0})]
MULTICLASS = [("focal_cross_entropy", {"gamma": 2.0}), ("cross_entropy", {"weight": [1.0, 2.0, 1.5]})]


class TestTrains:
    """Losses fall by a good part in a few rounds."""

    @pytest.mark.parametrize("loss, params", ROBUST, ids=lambda v: str(v))
    def test_regression(self, loss, params, diabetes):
        x, y = diabetes
        y, own = y.astype(np.float64), {name: v for name, v in params.items() if name != "hessian"}
        start = objectives.xgboost(loss, **params).init_score(y)
        constant = np.full(len(y), start)
        before = getattr(fl, loss)(constant, y, **own)
        rate = 15.0 if objectives.xgboost(loss, **params).hessian == "one" else 0.3       # a gradient of size 1, errors of size 50
        predictions = {
            "xgboost": train_xgboost(x, y, objectives.xgboost(loss, **params), base_score=start, eta=rate),
            "lightgbm": start + train_lightgbm(x, y, objectives.lightgbm(loss, **params), start=constant, learning_rate=rate),
            "catboost": start + train_catboost(x, y, objectives.catboost(loss, **params), baseline=constant, metric="RMSE", learning_rate=rate),
        }
        for engine, predicted in predictions.items():
            assert getattr(fl, loss)(np.asarray(predicted, float), y, **own) < 0.85 * before, engine

    @pytest.mark.parametrize("loss, params", MARGINS, ids=lambda v: str(v))
    def test_classification(self, loss, params, cancer):
        x, y = cancer
        for engine, train in (("xgboost", train_xgboost), ("lightgbm", train_lightgbm), ("catboost", train_catboost)):
            predicted = train(x, y, FACTORIES[engine](loss, **params), **({"metric": "RMSE"} if engine == "catboost" else {}))
            assert ((np.asarray(predicted) > 0) == y).mean() > 0.95, engine

    @pytest.mark.parametrize("loss, params", MULTICLASS, ids=lambda v: str(v))
    def test_classes(self, loss, params, wine):
        x, y = wine
        predictions = {
            "xgboost": train_xgboost(x, y, objectives.xgboost(loss, **params), num_class=3),
            "lightgbm": train_lightgbm(x, y, objectives.lightgbm(loss, **params), num_class=3),
            "catboost": train_catboost(x, y, objectives.catboost(loss, **params), cat.CatBoostClassifier, rounds=6, metric="MultiClass", classes_count=3),
        }
        for engine, predicted in predictions.items():
            assert (predicted.argmax(1) == y).mean() > 0.97, engine

    def test_class_weights_move_the_balance(self, wine):
        x, y = wine
        for factory, train in ((objectives.xgboost, train_xgboost), (objectives.lightgbm, train_lightgbm)):
            plain, heavy = (train(x, y, factory("cross_entropy", weight=[1.0, w, 1.0]), rounds=2, num_class=3) for w in (1.0, 20.0))
            assert softmax(heavy)[:, 1].mean() > softmax(plain)[:, 1].mean() + 0.02

    def test_a_loss_of_ones_own(self, diabetes):
        pytest.importorskip("numba")
        x, y = diabetes
        squares = pickle.loads(pickle.dumps(objectives.lightgbm(fl.custom_loss("lambda x, y: (x - y) ** 2 / 2"))))
        assert squares.hessian == "positive" and squares.init_score(y) == pytest.approx(y.mean())
        both = [train_lightgbm(x, y, o, start=np.full(len(y), y.mean())) for o in (squares, "regression")]
        np.testing.assert_allclose(*both, rtol=1e-6)

    def test_several_outputs(self, diabetes):
        x, y = diabetes
        y = np.stack([y, -y], 1)
        predicted = train_xgboost(x, y, objectives.xgboost("mse_loss"))
        assert predicted.shape == y.shape and fl.mse_loss(predicted, y) < 0.3 * np.mean(y**2)

    def test_several_outputs_of_catboost(self, diabetes):
        """Half of the squares, as its own."""
        x, y = diabetes
        y = np.stack([y, -y], 1)
        objective = type("Several", (objectives.catboost, cat.MultiTargetCustomObjective), {})("huber_loss", delta=np.inf)
        ours, theirs = (train_catboost(x, y, o, metric="MultiRMSE") for o in (objective, "MultiRMSE"))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


class TestEstimators:
    """scikit-learn's way, with weights, threads, early stopping, pickles."""

    def test_xgboost(self, wine):
        x, y = wine
        model = xgb.XGBClassifier(objective=objectives.xgboost("cross_entropy"), n_estimators=20, early_stopping_rounds=3, n_jobs=2, max_depth=3)
        model.fit(x[::2], y[::2], sample_weight=np.linspace(1, 2, 89), eval_set=[(x[1::2], y[1::2])], verbose=False)
        assert (model.predict(x) == y).mean() > 0.95
        assert np.array_equal(pickle.loads(pickle.dumps(model)).predict_proba(x), model.predict_proba(x))

    def test_lightgbm(self, wine):
        x, y = wine
        objective = objectives.lightgbm("cross_entropy")
        weight = np.linspace(1, 2, 89)
        model = lgb.LGBMClassifier(objective=objective, n_estimators=20, n_jobs=2, num_leaves=7, verbose=-1)
        start = np.tile(objective.init_score(y[::2], weight), (89, 1))
        model.fit(x[::2], y[::2], sample_weight=weight, init_score=start, eval_X=x[1::2], eval_y=y[1::2], eval_metric="multi_logloss",
                  callbacks=[lgb.early_stopping(3, verbose=False)])  # fmt: skip
        assert (model.predict(x, raw_score=True).argmax(1) == y).mean() > 0.95
        assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(x, raw_score=True), model.predict(x, raw_score=True))

    def test_catboost(self, cancer):
        x, y = cancer
        model = cat.CatBoostClassifier(loss_function=objectives.catboost("sigmoid_focal_loss"), eval_metric="Logloss", iterations=10, thread_count=2,
                                       learning_rate=0.3, early_stopping_rounds=3, verbose=False, allow_writing_files=False)  # fmt: skip
        model.fit(x[::2], y[::2], eval_set=(x[1::2], y[1::2]))
        raw = model.predict(x, prediction_type="RawFormulaVal")
        assert ((raw > 0) == y).mean() > 0.9
        assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(x, prediction_type="RawFormulaVal"), raw)


class TestErrors:
    @pytest.mark.parametrize("loss, params, error, words", [
        ("margin_ranking_loss", {}, ValueError, "input1, input2, target"), ("ctc_loss", {}, ValueError, "input_lengths"),
        ("linear_cross_entropy", {}, ValueError, "linear_weight"), ("gaussian_nll_loss", {}, ValueError, "var"),
        ("softmax", {}, TypeError, "softmax.*; it must be a loss"), ("optim", {}, TypeError, "it must be a loss"), ("no_such", {}, TypeError, "no_such"),
        (None, {}, TypeError, "None"), ("mse_loss", {"gamma": 2}, TypeError, "'gamma' is no parameter of mse_loss.* those are weight"),
        ("cross_entropy", {"axis": 0}, TypeError, "axis"), ("mse_loss", {"reduction": "none"}, TypeError, "reduction"),
        ("cross_entropy", {"label_smoothing": 2.0}, ValueError, "label_smoothing is 2.0"),
        ("mse_loss", {"hessian": "two"}, ValueError, "hessian is 'two'; it must be one of 'exact', 'positive', 'one'"),
    ])  # fmt: skip
    def test_when_made(self, loss, params, error, words):
        with pytest.raises(error, match=words):
            objectives.xgboost(loss, **params)

    @pytest.mark.parametrize("factory", FACTORS.values(), ids=FACTORS)
    @pytest.mark.parametrize("loss, y, x, weight, error, words", [
        ("cross_entropy", LABELS, SCORES[:, 0], None, ValueError, r"needs \(rows, classes\)"),
        ("cross_entropy", LABELS + 1, SCORES, None, IndexError, r"target\[\d+\] is 3.0; class indices must be in \[0, 3\)"),
        ("cross_entropy", LABELS - 0.5, SCORES, None, ValueError, r"target\[0\] is .*whole numbers"),
        ("cross_entropy", np.where(np.arange(N) == 5, np.nan, LABELS), SCORES, None, ValueError, r"target\[5\] is nan"),
        ("cross_entropy", LABELS, SCORES, WEIGHTS[:-1], ValueError, r"sample_weight has shape \(39,\)"),
        ("cross_entropy", LABELS[:-1], SCORES, None, ValueError, r"target has shape \(39,\)"),
        ("cross_entropy", LABELS.astype(object), SCORES, None, TypeError, "target has dtype object"),
        ("cross_entropy", LABELS, SCORES.astype(object), None, TypeError, "y_pred has dtype object"),
        ("cross_entropy", LABELS, SCORES[None], None, ValueError, r"y_pred has shape \(1, 40, 3\)"),
        ("mse_loss", LABELS, SCORES, None, ValueError, r"target has shape \(40,\)"),
        ("hinge_loss", LABELS, SCORES[:, 0], None, ValueError, r"is 2.0; labels of a loss of signs must be -1 and 1, or 0 and 1"),
        ("soft_margin_loss", LABELS - 1, SCORES[:, 0], None, ValueError, "-1 and 1, or 0 and 1"),
    ])  # fmt: skip
    def test_when_called(self, factory, loss, y, x, weight, error, words):
        with pytest.raises(error, match=words):
            factory(loss)(y, x, weight)
