"""Sequence models: what they find lies in the order of rows, and nothing beyond the training rows moves a weight."""

import hashlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch

from cryptoquant.backtest.walk_forward import walk_forward
from cryptoquant.errors import ModelError
from cryptoquant.features import Scaler
from cryptoquant.market.slice import Panel
from cryptoquant.models import LSTM, TCN, Scaled
from cryptoquant.models.bundle import Bundle
from cryptoquant.models.examples import Examples
from cryptoquant.models.formats import read_predictor
from cryptoquant.models.model import Continuable, Model
from cryptoquant.models.sequence import _ends, _Windows
from cryptoquant.models.splits import WalkForward, hold_out
from cryptoquant.models.windows import predict_rows
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.strategy import LongFlat
from tests.models.datasets import HOUR, area_under_curve, planted, small_dataset
from tests.models.test_bundle import small_bundle

SMALL_LSTM = LSTM(window=8, units=8, epochs=2, batch=64, learning_rate=1e-2)
SMALL_TCN = TCN(window=8, channels=8, levels=2, epochs=2, batch=64, learning_rate=1e-2)
EACH = pytest.mark.parametrize("model", [SMALL_LSTM, SMALL_TCN], ids=["LSTM", "TCN"])


def remembered(rows: int = 1_500, lag: int = 5, seed: int = 0) -> Examples:
    """Return examples whose odds are moved by the first feature of ``lag`` rows ago; the row itself knows nothing."""
    drawn = planted(rows, 2, seed=seed)
    past = np.concatenate([np.zeros(lag), drawn.features[:-lag, 0]])
    rises = (np.random.default_rng(seed + 100).random(rows) < 1 / (1 + np.exp(-3 * past))).astype(float)
    return replace(drawn, rises=rises, returns=rises - 0.5)


def weights_of(predictor) -> str:
    found = hashlib.sha256()
    for name, array in sorted(predictor.weights.items()):
        found.update(name.encode() + array.tobytes())
    found.update(predictor.standard.mean.tobytes() + predictor.standard.deviation.tobytes())
    return found.hexdigest()


def interleaved(rows: int = 200) -> Examples:
    """Return two symbols, row by row in turn; the features say symbol and place."""
    one = planted(2 * rows, 2)
    symbols, ordinals = np.arange(2 * rows) % 2, np.arange(2 * rows) // 2
    times = HOUR * (ordinals + 1)
    features = np.column_stack([symbols, ordinals]).astype(float)
    return replace(one, features=features, symbols=symbols, ordinals=ordinals, times=times, label_known=times)


@pytest.mark.parametrize(
    "model",
    [replace(SMALL_LSTM, epochs=15, batch=32), replace(SMALL_TCN, epochs=8)],
    ids=["LSTM", "TCN"],
)
def test_a_signal_in_the_order_of_past_rows_is_found(model):
    train, test = remembered(), remembered(seed=1)
    found = predict_rows(model.fit(train), test, np.arange(7, len(test)))
    assert area_under_curve(test.rises[7:], found) > 0.75
    short = replace(model, window=5, epochs=2)
    blind = predict_rows(short.fit(train), test, np.arange(7, len(test)))
    assert abs(area_under_curve(test.rises[7:], blind) - 0.5) < 0.08


@EACH
def test_shuffled_labels_give_no_skill(model):
    train, test = remembered(), remembered(seed=1)
    rng, skills = np.random.default_rng(5), []
    for _ in range(3):
        fitted = model.fit(replace(train, rises=rng.permutation(train.rises)))
        skills.append(area_under_curve(test.rises[7:], predict_rows(fitted, test, np.arange(7, len(test)))))
    assert abs(np.mean(skills) - 0.5) < 0.05


@EACH
def test_a_row_outside_of_the_training_rows_moves_no_weight(model):
    whole = remembered(600)
    rows = np.arange(100, 500)
    altered = whole.features.copy()
    altered[:100] = 1e6
    altered[500:] = -1e6
    other = replace(whole, features=altered, rises=np.where(np.isin(np.arange(600), rows), whole.rises, 1.0))
    assert weights_of(model.fit(whole.take(rows))) == weights_of(model.fit(other.take(rows)))
    inside = whole.features.copy()
    inside[120] += 1.0
    assert weights_of(model.fit(whole.take(rows))) != weights_of(model.fit(replace(whole, features=inside).take(rows)))


@EACH
def test_what_is_held_out_is_purged_and_moves_neither_weight_nor_scale(model):
    train = remembered(600)
    once = replace(model, epochs=1, patience=1, embargo=timedelta(hours=3))
    learned, judged = hold_out(train, once.validation, once.embargo)
    beyond = np.setdiff1d(np.arange(600), learned)
    assert len(beyond) > len(judged)
    shifted = train.features.copy()
    shifted[beyond] *= 1.1
    rises = train.rises.copy()
    rises[np.setdiff1d(beyond, judged)] = 1.0 - rises[np.setdiff1d(beyond, judged)]
    first, second = once.fit(train), once.fit(replace(train, features=shifted, rises=rises))
    assert weights_of(first) == weights_of(second)
    assert first.standard.mean == pytest.approx(train.features[learned].mean(axis=0), abs=1e-12)
    assert first.standard.deviation == pytest.approx(train.features[learned].std(axis=0), abs=1e-12)


def test_learning_stops_when_the_held_out_loss_no_longer_improves_and_keeps_the_best():
    train = remembered(600)
    hasty = replace(SMALL_TCN, learning_rate=0.05, patience=3)
    long, longer = replace(hasty, epochs=40).fit(train), replace(hasty, epochs=80).fit(train)
    assert weights_of(long) == weights_of(longer)
    _, judged = hold_out(train, 0.2)

    def loss(predictor) -> float:
        values, rises = predict_rows(predictor, train, judged), train.rises[judged]
        return float(-np.mean(rises * np.log(values) + (1 - rises) * np.log(1 - values)))

    each = [loss(replace(hasty, epochs=epochs).fit(train)) for epochs in (1, 2, 4)]
    assert (np.diff(each) <= 1e-7).all()
    assert loss(long) <= each[-1] + 1e-7


def test_windows_hold_one_symbol_and_no_hole():
    examples = interleaved()
    kept = np.flatnonzero((examples.ordinals != 50) & ~((examples.symbols == 1) & (examples.ordinals == 120)))
    holed = examples.take(kept)
    order, ends = _ends(holed, 8)
    rows = np.flatnonzero(ends >= 0)
    table = torch.from_numpy(holed.features[order])
    windows = _Windows(torch, table, 8, ends[rows], holed.rises[rows], holed.weights[rows])
    x, rises, _ = windows.of(torch.arange(len(rows)))
    symbols, ordinals = x[..., 0].numpy(), x[..., 1].numpy()
    assert (symbols == symbols[0]).all()
    assert (np.diff(ordinals, axis=0) == 1).all()
    assert np.array_equal(symbols[-1], holed.symbols[rows])
    assert np.array_equal(ordinals[-1], holed.ordinals[rows])
    assert np.array_equal(rises.numpy(), holed.rises[rows])
    # Each longest run gives up its first seven rows: 50 and 149 rows of one symbol, 50, 69 and 79 of the other.
    assert len(rows) == sum(run - 7 for run in (50, 149, 50, 69, 79))


@EACH
def test_the_order_of_two_symbols_rows_does_not_matter_to_their_windows(model):
    examples = replace(interleaved(), features=planted(400, 2).features)
    predictor = model.fit(examples)
    both = predict_rows(predictor, examples, np.arange(400))
    for symbol in (0, 1):
        own = np.flatnonzero(examples.symbols == symbol)
        alone = predictor.predict(examples.features[own])
        assert np.array_equal(both[own][7:], alone)
        assert np.isnan(both[own][:7]).all()


@EACH
def test_the_same_seed_gives_the_same_bytes_whatever_torch_is_told(model, tmp_path):
    train = remembered(400)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    files = []
    for number, (used, chance, grad) in enumerate([(1, 0, True), (2, 99, False)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        torch.manual_seed(chance)
        try:
            torch.set_num_threads(used)
            torch.use_deterministic_algorithms(mode=bool(number))
            with torch.set_grad_enabled(grad):
                told = model.fit(train).save(folder)
            assert torch.get_num_threads() == used
            assert torch.are_deterministic_algorithms_enabled() == bool(number)
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(mode=False)
        assert torch.initial_seed() == chance
        files.append((folder / told["file"]).read_bytes())
    torch.random.set_rng_state(state)
    assert files[0] == files[1]
    assert weights_of(model.fit(train)) != weights_of(replace(model, seed=1).fit(train))


@EACH
def test_folds_that_learn_side_by_side_disturb_neither_each_other_nor_torch(model):
    trains = [remembered(300, seed=seed) for seed in range(4)]
    alone = [weights_of(model.fit(train)) for train in trains]
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(4) as pool:
            beside = [weights_of(one) for one in pool.map(model.fit, trains)]
        seen = []
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert (torch.get_num_threads(), seen) == (2, [2])
    finally:
        torch.set_num_threads(threads)
    assert beside == alone
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_windows_keep_does_not_grow_with_their_length():
    examples = planted(500, 3)
    table = torch.from_numpy(examples.features)
    for window in (2, 200):
        _, ends = _ends(examples, window)
        rows = np.flatnonzero(ends >= 0)
        windows = _Windows(torch, table, window, ends[rows], examples.rises[rows], examples.weights[rows])
        assert windows.table.data_ptr() == table.data_ptr()
        assert sum(kept.numel() for kept in vars(windows).values()) == table.numel() + 3 * len(rows) + window


@pytest.mark.deep
def test_overlapping_windows_are_never_all_in_memory():
    code = (
        "import resource, numpy, torch\n"
        "from cryptoquant.models import TCN\n"
        "from cryptoquant.models.examples import Examples\n"
        "def learn(rows):\n"
        "    rng = numpy.random.default_rng(0)\n"
        "    examples = Examples.of(rng.standard_normal((rows, 8)), rng.integers(0, 2, rows))\n"
        "    TCN(window=256, channels=1, levels=1, kernel=1, epochs=1).fit(examples)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "small = learn(6_000)\n"
        "print(learn(40_000) - small)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    materialised = 40_000 * 256 * 8 * 4 / 1024
    assert int(done.stdout) < materialised / 3


@EACH
def test_weights_and_balance_count(model):
    train = remembered(400)
    single = weights_of(model.fit(train))
    assert single == weights_of(model.fit(replace(train, weights=np.full(400, 3.0))))
    assert single != weights_of(model.fit(replace(train, weights=np.linspace(0.1, 1.0, 400))))
    rare = replace(train, rises=np.where(np.arange(400) % 10 == 0, train.rises, 0.0))
    means = []
    for how in (None, "balanced"):
        predictor = replace(model, epochs=8, class_weight=how).fit(rare)
        means.append(float(np.mean(predictor.predict(train.features))))
    assert means[0] < 0.25
    assert 0.4 < means[1] < 0.6


@EACH
def test_a_feature_that_stands_still_has_no_influence_when_it_moves(model, tmp_path):
    train = remembered(300)
    still = replace(train, features=np.column_stack([train.features, np.full(300, 0.3)]))
    predictor = model.fit(still)
    again = read_predictor(tmp_path, predictor.save(tmp_path))
    found = predictor.predict(still.features)
    assert 0.0 < found.min() < found.max() < 1.0
    for value in (0.3 + 1e-15, -50.0, 1e300):
        moved = np.column_stack([train.features, np.full(300, value)])
        assert np.array_equal(predictor.predict(moved), found)
        assert np.array_equal(again.predict(moved), found)


@EACH
def test_rows_that_cannot_be_learned_are_refused(model):
    train = remembered(200)
    for wrong, text in (
        (train.take(np.arange(0)), "no training rows"),
        (replace(train, rises=np.ones(200)), "all 200 training labels are 1"),
        (train.take(np.arange(6)), "6 rows hold no complete window of 8 to learn from"),
        (replace(train, ordinals=2 * train.ordinals), "no complete window of 8 to learn from"),
        (replace(train, rises=np.where(np.arange(200) < 160, 0.0, train.rises)), "training labels are 0"),
        (replace(train, weights=np.zeros(200)), "none of the 200 training rows has a weight above zero"),
    ):
        with pytest.raises(ModelError, match=text):
            model.fit(wrong)
    early = np.where(np.arange(200) < 150, 1.0, 0.0)
    with pytest.raises(ModelError, match="none of the 40 rows to validate on has a weight above zero"):
        model.fit(replace(train, weights=early))
    late = np.where(np.arange(200) < 160, np.arange(200), 2 * np.arange(200))
    with pytest.raises(ModelError, match="no complete window of 8 to validate on"):
        model.fit(replace(train, ordinals=late))
    broken = train.features.copy()
    broken[7, 1] = np.nan
    with pytest.raises(ModelError, match="training row 7 has no finite value in feature 1"):
        model.fit(replace(train, features=broken))
    with pytest.raises(ModelError, match=r"the loss after epoch \d is nan: learn more slowly"):
        replace(model, learning_rate=900.0, weight_decay=1e9).fit(train)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said_and_auto_takes_the_processor():
    train = remembered(200)
    with pytest.raises(ModelError, match="device 'cuda': torch finds no GPU here"):
        replace(SMALL_TCN, device="cuda").fit(train)
    assert weights_of(replace(SMALL_TCN, device="auto").fit(train)) == weights_of(SMALL_TCN.fit(train))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@EACH
def test_a_gpu_learns_the_same_to_rounding(model):
    train = remembered(400)
    one, other = (replace(model, dropout=0.0, device=device).fit(train) for device in ("cpu", "cuda"))
    assert one.predict(train.features) == pytest.approx(other.predict(train.features), abs=1e-2)


@EACH
def test_parameters_follow_scikit_learns_conventions(model):
    assert isinstance(model, Model)
    assert isinstance(model, Continuable)
    assert model.with_params(**model.get_params()) == model
    assert model.with_params(epochs=7).get_params()["epochs"] == 7
    with pytest.raises(ValueError, match="has no parameter depth"):
        model.with_params(depth=1)
    scaled = Scaled(model, Scaler("rank")).with_params(window=4)
    assert scaled.get_params()["window"] == 4
    predictor = scaled.fit(remembered(300))
    assert (predictor.window, predictor.predict(np.zeros((9, 2))).shape) == (4, (6,))


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 0}, {"units": 2.5}, {"layers": True}, {"epochs": 0}, {"batch": 0}, {"patience": 0}, {"seed": -1},
        {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"weight_decay": -1.0}, {"dropout": 1.0},
        {"validation": 0.0}, {"validation": 1.0}, {"embargo": timedelta(-1)}, {"class_weight": "even"},
        {"device": "tpu"},
    ],
    ids=str,
)  # fmt: skip
def test_a_parameter_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LSTM(**wrong)


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"levels": 0}, {"kernel": 1.0}], ids=str)
def test_a_size_of_a_convolution_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TCN(**wrong)


@EACH
def test_a_walk_forward_study_learns_windows_and_does_not_depend_on_jobs(model, tmp_path):
    dataset = small_dataset(days=20)
    splits = WalkForward(timedelta(days=8), timedelta(days=6))
    studies = [
        walk_forward(
            dataset,
            replace(model, epochs=1),
            LongFlat(0.5),
            splits,
            ledger=TrialLedger(tmp_path / str(jobs)),
            jobs=jobs,
        )
        for jobs in (1, 2)
    ]
    assert studies[0].signals.equals(studies[1].signals)
    assert studies[0].key == studies[1].key
    assert weights_of(studies[0].predictor) == weights_of(studies[1].predictor)
    assert studies[0].signals.height == sum(len(one.fold.test) for one in studies[0].folds)


@EACH
def test_a_loaded_bundle_says_slice_by_slice_what_research_said(model, tmp_path):
    bundle = small_bundle(replace(model, epochs=1))
    loaded = Bundle.load(bundle.save(tmp_path / "bundle"))
    dataset = small_dataset(days=15)
    examples = dataset.examples
    offline = predict_rows(bundle.predictor, examples, np.arange(len(examples)))
    names = dict(enumerate(dataset.symbols))
    wanted = {
        (names[int(symbol)], int(time)): value
        for symbol, time, value in zip(examples.symbols, examples.times, offline, strict=True)
        if value == value
    }
    panel = Panel.from_frame(dataset.bars)
    rows = bundle.features.compute_panel(panel)
    forecaster = loaded.forecaster()
    said = [signal for number, market in enumerate(panel) for signal in forecaster.update(market, rows[number])]
    assert {(signal.symbol, signal.time): signal.value for signal in said} == wanted
    assert len(said) == len(wanted) == len(examples) - 2 * 7
