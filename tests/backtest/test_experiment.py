"""Experiments: one file says everything, and a mistake in it is named by its path."""

import re
from dataclasses import replace
from datetime import date, time, timedelta
from pathlib import Path

import pytest

from cryptoquant import features as f
from cryptoquant.backtest.experiment import Experiment
from cryptoquant.backtest.strategy_search import TuneStrategy
from cryptoquant.backtest.walk_forward import run_plan
from cryptoquant.data.store import Store
from cryptoquant.data.synthetic import SyntheticMarket
from cryptoquant.errors import ConfigurationError
from cryptoquant.features import forward_return, triple_barrier
from cryptoquant.models import Calibrated, Logistic, Scaled, Stacked, XGBoost
from cryptoquant.models.objectives import SharpeAfterCosts, log_loss
from cryptoquant.models.splits import WalkForward
from cryptoquant.models.tune import Tune
from cryptoquant.performance.page import page_text
from cryptoquant.performance.trials import TrialLedger
from cryptoquant.trading.execution import Execution
from cryptoquant.trading.risk import RiskLimits
from cryptoquant.trading.strategy import Ensemble, LongFlat, OvernightHold, RiskParity, Schedule, Session
from cryptoquant.trading.venue import Costs, Venue

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "btc_eth_5m.toml"
SMALL = """
name = "small"
features = [{ name = "log_return", window = 1 }, { name = "zscore", field = "volume", window = 48 }]

[data]
symbols = ["BTC/USD", "ETH/USD"]
timeframe = "1h"
start = 2024-01-01

[label]
kind = "forward_return"
horizon = "6h"

[model]
kind = "Logistic"

[strategy]
kind = "LongFlat"
threshold = 0.51

[splits]
train = "20d"
test = "10d"
embargo = "6h"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text)
    return path


def test_the_example_is_read_into_typed_settings():
    plan = Experiment.read(EXAMPLE)
    assert plan.name == "btc-eth-5m"
    assert len(plan.features.features) == 14
    assert plan.label == triple_barrier(2.0, 2.0, timedelta(hours=4))
    assert plan.model == XGBoost(n_estimators=100, seed=7)
    assert plan.strategy == LongFlat(threshold=0.55)
    assert plan.splits == WalkForward(timedelta(days=90), timedelta(days=25), timedelta(hours=4))
    assert plan.costs == Costs.alpaca(1, 2.0)
    assert plan.execution == Execution()
    assert plan.tune is not None
    assert plan.tune.trials == 20
    assert plan.tune.space["learning_rate"] == (0.01, 0.2, "log")
    assert (plan.contents.data.start, plan.contents.data.end) == (date(2024, 1, 1), date(2024, 9, 6))


def test_ready_sets_longer_timeframes_and_other_labels_are_read(tmp_path):
    rows = """features = [
    { name = "classic" },
    { name = "timeframe", timeframe = "4h", stale = "12h", features = [ { name = "rsi", window = 14 } ] },
]"""
    text = re.sub(r"features = .*", lambda _: rows, SMALL, count=1)
    text = text.replace('kind = "forward_return"', 'kind = "sign"\ndead_zone = 0.001')
    plan = Experiment.read(written(tmp_path, text))
    wanted = [*f.classic(), f.timeframe("4h", [f.rsi(14)], stale=timedelta(hours=12))]
    assert plan.features == f.FeatureSet(wanted)
    assert plan.label == f.sign(timedelta(hours=6), 0.001)
    with pytest.raises(ConfigurationError, match=r"features\[1\].features\[0\]: 'rsy' is unknown, did you mean 'rsi'"):
        Experiment.read(written(tmp_path, text.replace('{ name = "rsi"', '{ name = "rsy"')))
    with pytest.raises(ConfigurationError, match=r"features\[1\]: cannot read the timeframe 'soon'"):
        Experiment.read(written(tmp_path, text.replace('stale = "12h"', 'stale = "soon"')))


def test_what_is_left_out_is_tier_one_and_what_is_said_is_taken(tmp_path):
    plan = Experiment.read(written(tmp_path, SMALL))
    assert plan.costs == Costs.alpaca(1)
    assert plan.model == Logistic()
    assert plan.label == forward_return(timedelta(hours=6))
    more = """
[costs]
slippage_bps = 3

[execution]
band = 0.1

[tune]
trials = 4
space = { strength = [0.01, 10.0, "log"] }
folds = 3
inner = "all"
embargo = "6h"
seed = 9
"""
    plan = Experiment.read(written(tmp_path, SMALL + more))
    assert plan.costs == Costs.alpaca(1, 3.0)
    assert plan.execution == Execution(band=0.1)
    space = {"strength": (0.01, 10.0, "log")}
    wanted = Tune(4, space, (log_loss,), folds=3, inner="all", embargo=timedelta(hours=6), seed=9)
    assert plan.tune == wanted
    assert plan.tune.to_dict() == replace(wanted, objective=log_loss).to_dict()
    other = 'objective = ["sharpe", "log_loss"]\nthreshold = 0.6\nsampler = "random"\nbatch = 2'
    several = more.replace("seed = 9", other)
    tune = Experiment.read(written(tmp_path, SMALL + several)).tune
    assert tune is not None
    assert (tune.objectives, tune.sampler, tune.batch) == ((SharpeAfterCosts(0.6, plan.costs), log_loss), "random", 2)
    cut = written(tmp_path, SMALL.replace('train = "20d"', "train = 480").replace('test = "10d"', "test = 240"))
    assert Experiment.read(cut).splits == WalkForward(480, 240, plan.splits.embargo)
    fees = Experiment.read(written(tmp_path, SMALL + "[costs]\nmaker_bps = 1\ntaker_bps = 5\n"))
    assert fees.costs == Costs(1.0, 5.0)


def test_exits_a_life_and_what_prices_cost_are_read(tmp_path):
    more = """
[costs]
schedule = "coinbase"
slippage_bps = 1
spread_bps = 2.0
volatility_share = 0.1
impact_linear_bps = 5
impact_sqrt = 0.5

[execution]
limit_bps = 5
life = "30m"
stop_loss = 0.02
take_profit = 0.04
trailing = 0.03
reprice = "10m"
"""
    plan = Experiment.read(written(tmp_path, SMALL + more))
    fees = Costs.of("coinbase", 1.0)
    assert plan.costs == replace(fees, spread_bps=2.0, volatility_share=0.1, impact_linear_bps=5.0, impact_sqrt=0.5)
    assert plan.execution == Execution(
        limit_bps=5,
        life=timedelta(minutes=30),
        stop_loss=0.02,
        take_profit=0.04,
        trailing=0.03,
        reprice=timedelta(minutes=10),
    )
    alpaca = Experiment.read(written(tmp_path, SMALL + '[costs]\nschedule = "alpaca"\nfee_asset = "quote"\n'))
    assert alpaca.costs == Costs.of("alpaca", fee_asset="quote")


WITHOUT_TUNING = re.sub(r"\[tune\].*?\[splits\]", "[splits]", EXAMPLE.read_text(encoding="utf-8"), flags=re.DOTALL)
WITHOUT_TUNING = WITHOUT_TUNING.replace("n_estimators = 100", "max_depth = 4\nn_estimators = 100")
TUNED = "[tune]\nspace = { max_depth = [2, 4] }\n[costs]"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cash =", "csah =", "csah: unknown, did you mean 'cash'?"),
        ("timeframe =", "timefrme =", "data.timefrme: unknown, did you mean 'timeframe'?"),
        ("embargo =", "embarg0 =", "splits.embarg0: unknown, did you mean 'embargo'?"),
        ('"rsi", window', '"rsi", windw', "features[3].windw: unknown, did you mean 'window'?"),
        ('"rsi"', '"rsj"', "features[3]: 'rsj' is unknown, did you mean 'rsi'?"),
        ("{ name = ", "{ nane = ", "features[0].name: absent; found nane, window"),
        ("max_depth", "max_dept", "model.max_dept: unknown, did you mean 'max_depth'?"),
        ('"XGBoost"', '"XGBost"', "model: 'XGBost' is unknown, did you mean 'XGBoost'?"),
        ("threshold", "treshold", "strategy.treshold: unknown, did you mean 'threshold'?"),
        ("[costs]", "[execution]\nbend = 0.1\n[costs]", "execution.bend: unknown, did you mean 'band'?"),
        ("[costs]", "[execution]\nstop_los = 0.1\n[costs]", "execution.stop_los: unknown, did you mean 'stop_loss'?"),
        ("[costs]", "[execution]\nstop_loss = 1.5\n[costs]", "execution: stop_loss must be a fraction above zero"),
        ("[costs]", '[execution]\nlife = "soon"\n[costs]', "execution.life: cannot read the timeframe 'soon'"),
        ("[costs]", '[execution]\nreprice = "1h"\n[costs]', "execution: reprice moves limit orders: give limit_bps"),
        ("[costs]", "[execution]\nlife = 30\n[costs]", "execution.life: Input should be a valid timedelta, found 30"),
        ("[costs]", TUNED.replace("max_depth", "max_deph"), "tune.space.max_deph: unknown, did you mean 'max_depth'?"),
        ("[costs]", TUNED.replace("space", "spce"), "tune.spce: unknown, did you mean 'space'?"),
        ("[costs]", TUNED.replace("[2, 4]", "[4, 2]"), "tune: max_depth: wanted low < high, found (4, 2)"),
        ("slippage_bps", "slipage_bps", "costs.slipage_bps: unknown, did you mean 'slippage_bps'?"),
        ("tier = 1", "tier = 11", "costs: Alpaca has fee tiers 1 to 8, found 11"),
        ("tier = 1", "maker_bps = 1.0", "costs: give a tier, a schedule, or both maker_bps and taker_bps"),
        (
            "tier = 1",
            'tier = 1\nschedule = "binance"',
            "costs: give a tier, a schedule, or both maker_bps and taker_bps",
        ),
        ("tier = 1", 'schedule = "binanse"', "costs: no fee schedule of 'binanse'; known are alpaca, binance"),
        ("tier = 1", "spread_pbs = 1.0", "costs.spread_pbs: unknown, did you mean 'spread_bps'?"),
        ("tier = 1", "impact_sqrt = -1.0", "costs: impact_sqrt must be zero or more, found -1.0"),
        ("tier = 1", 'fee_asset = "coin"', "costs.fee_asset: Input should be 'received' or 'quote', found 'coin'"),
        ("max_depth = 4", 'max_depth = "deep"', "model: max_depth must be a whole number from 1, found 'deep'"),
        ('train = "90d"', 'train = "long"', "splits.train: cannot read the timeframe 'long'"),
        ('train = "90d"', "train = 90", "splits: train and test must both be spans of time or both numbers"),
        (
            "[costs]",
            TUNED.replace("[costs]", 'objective = "sharp"\n[costs]'),
            "tune.objective: 'sharp' is unknown, did",
        ),
        ("[costs]", TUNED.replace("[costs]", "prune = true\n[costs]"), "tune: prune wants inner='all' and one"),
        (
            "[costs]",
            TUNED.replace("[costs]", 'sampler = "grid"\n[costs]'),
            "tune.sampler: Input should be 'tpe', 'cmaes'",
        ),
        ("stop = 2.0", "stop = -2.0", "label: triple_barrier: stop must be"),
        ("stop = 2.0", "", "label: triple_barrier() missing 1 required positional argument: 'stop'"),
        ("start = 2024-01-01", "start = 2024-01-01T00:00:00", "data.start: naive datetime"),
        ('timeframe = "5m"', 'timeframe = "5x"', "data.timeframe: cannot read the timeframe '5x'"),
        ("cash = 100_000.0", 'cash = "much"', "cash: Input should be a valid number, found 'much'"),
        ('name = "btc-eth-5m"', "", "name: absent"),
        ('"hour_of_day"', '"rsi", window = 14', "features: feature set: duplicate column rsi_14"),
        ("[data]", "[data", "Expected"),
    ],
)
def test_a_mistake_is_named_by_its_path_with_the_nearest_valid_key(tmp_path, old, new, said):
    text = WITHOUT_TUNING
    assert old in text
    path = written(tmp_path, text.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as error:
        Experiment.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)


MIXTURE = """
[strategy]
kind = "Ensemble"
shares = [2, 1]

[[strategy.strategies]]
kind = "RiskParity"
schedule = { kind = "Schedule", window = 100, every = "7d" }

[[strategy.strategies]]
kind = "OvernightHold"
session = { kind = "Session", zone = "Europe/London", open = 08:00:00, close = 16:30:00 }
"""


def mixed(folder: Path, **changed: str) -> Path:
    mixture = MIXTURE
    for old, new in changed.items():
        mixture = mixture.replace(old, new)
    return written(folder, SMALL.replace('[strategy]\nkind = "LongFlat"\nthreshold = 0.51\n', mixture))


def test_a_strategy_of_strategies_is_read_with_its_parts(tmp_path):
    night = OvernightHold(Session("Europe/London", time(8), time(16, 30)))
    assert Experiment.read(mixed(tmp_path)).strategy == Ensemble((RiskParity(Schedule(100, "7d")), night), (2, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("zone", "zones", r"strategy\.strategies\[1\]\.session\.zones: unknown, did you mean 'zone'"),
        ("RiskParity", "RiskPurity", r"strategy\.strategies\[0\]: 'RiskPurity' is unknown, did you mean 'RiskParity'"),
        ("Ensemble", "Session", r"strategy: 'Session' is unknown"),
    ],
)
def test_a_mistake_in_a_member_is_named_by_its_path(tmp_path, old, new, said):
    with pytest.raises(ConfigurationError, match=said):
        Experiment.read(mixed(tmp_path, **{old: new}))


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nothing.toml: No such file"):
        Experiment.read(tmp_path / "nothing.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"bytes.toml: "):
        Experiment.read(tmp_path / "bytes.toml")


def test_an_experiment_gives_the_same_report_twice_and_is_one_trial(tmp_path):
    store = Store(tmp_path / "store")
    SyntheticMarket(seed=2, days=45, timeframe="1h", edge=0.5).bars("1h").write_parquet(tmp_path / "bars.parquet")
    store.import_file(tmp_path / "bars.parquet", stamped="close")
    plan, ledger = Experiment.read(written(tmp_path, SMALL)), TrialLedger()
    one, two = (plan.run(store, ledger=ledger, jobs=jobs) for jobs in (1, 2))
    assert one.report.equity.equals(two.report.equity)
    assert one.report.fills.equals(two.report.fills)
    assert one.report.statistics == two.report.statistics
    assert one.key == two.key
    assert two.evidence.study_trials == 1
    assert len(one.folds) == 3
    assert one.report.equity.height > 500


def test_models_made_of_models_are_tables_in_tables(tmp_path):
    said = """[model]
kind = "Calibrated"
method = "isotonic"
embargo = "6h"

[model.model]
kind = "Stacked"
models = [
    { kind = "XGBoost", max_depth = 2 },
    { kind = "Scaled", scaler = { kind = "robust" }, model = { kind = "Logistic" } },
]

"""
    text = re.sub(r"\[model\].*?\n(?=\[)", said, SMALL, flags=re.DOTALL)
    inner = Stacked((XGBoost(max_depth=2), Scaled(Logistic(), f.Scaler("robust"))))
    assert Experiment.read(written(tmp_path, text)).model == Calibrated(inner, "isotonic", embargo=timedelta(hours=6))
    for old, new, words in (
        ('kind = "robust"', 'kind = "robst"', "model.model.models[1].scaler: scaler: unknown kind 'robst'"),
        ('"Logistic"', '"Logistc"', "model.model.models[1].model: 'Logistc' is unknown, did you mean 'Logistic'?"),
        ('embargo = "6h"\n\n[model', 'embargo = "6x"\n\n[model', "model.embargo: cannot read the timeframe '6x'"),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(words)):
            Experiment.read(written(tmp_path, text.replace(old, new)))


def test_the_example_reads_the_real_market(real_market, tmp_path):
    store = Store(tmp_path)
    for pair in ("BTC_USDT", "ETH_USDT"):
        store.import_file(real_market / "bars" / "binance_5m_2024" / f"{pair}.parquet")
    plan = Experiment.read(EXAMPLE)
    dataset = plan.plan(store).dataset
    folds = plan.splits.split(dataset)
    assert dataset.symbols == ("BTC/USDT", "ETH/USDT")
    assert len(folds) == 7
    assert len(dataset) == 2 * (249 * 288 - plan.features.lookback)
    assert all(len(fold.test) == 2 * 25 * 288 for fold in folds[:-1])


RULE = """
name = "rule"

[data]
symbols = ["BTC/USD", "ETH/USD"]
timeframe = "1h"

[strategy]
kind = "Momentum"
window = 24

[tune_strategy]
trials = 4
seed = 3

[tune_strategy.space]
window = [6, 48]
threshold = [0.0, 0.02]

[retraining]
tune = 2

[splits]
train = "20d"
test = "10d"
"""
TUNED = """
[tune]
trials = 2
storage = "memory"

[tune.space]
strength = [0.1, 1.0, "log"]

[tune_strategy]
trials = 2

[tune_strategy.space]
threshold = [0.5, 0.55]
"""


def test_a_rule_is_an_experiment_without_features_label_and_model(tmp_path):
    plan = Experiment.read(written(tmp_path, RULE))
    assert (plan.features, plan.label, plan.model) == (None, None, None)
    assert plan.tune_strategy == TuneStrategy(4, {"window": (6, 48), "threshold": (0.0, 0.02)}, seed=3)
    bars = SyntheticMarket(seed=2, days=60, timeframe="1h").bars()
    study = run_plan(plan.plan(bars=bars), ledger=TrialLedger(), jobs=1)
    assert [len(result.strategy_trials) for result in study.folds] == [4, 0, 4, 0]
    assert study.plan.dataset is None


@pytest.mark.parametrize("text", [RULE, SMALL + TUNED], ids=["rule", "model"])
def test_the_same_file_and_seed_give_the_same_page_byte_for_byte(tmp_path, text):
    bars = SyntheticMarket(seed=2, days=60, timeframe="1h").bars()
    plans = [Experiment.read(written(tmp_path, text)).plan(bars=bars) for _ in range(2)]
    pages = [
        page_text(run_plan(plan, ledger=TrialLedger(), jobs=jobs).report)
        for plan, jobs in zip(plans, (1, 2), strict=True)
    ]
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("window = [6, 48]", "windows = [6, 48]", "tune_strategy.space.windows: unknown, did you mean 'window'?"),
        ("trials = 4", "trials = 0", "tune_strategy: trials: wanted at least one, found 0"),
        ("seed = 3", 'metric = "luck"', "tune_strategy.metric: Input should be 'sharpe'"),
        ("tune = 2", "tune = 0", "retraining: wanted fit from 1"),
        ("[retraining]", '[label]\nkind = "sign"\nhorizon = "6h"\n[retraining]', "features, label and model belong"),
        ("[retraining]", "[tune]\n[tune.space]\nx = [0.0, 1.0]\n[retraining]", "tune: searches a model's parameters"),
    ],
)
def test_mistakes_in_a_rules_file_are_named(tmp_path, old, new, words):
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        Experiment.read(written(tmp_path, RULE.replace(old, new)))


def test_a_rule_that_reads_signals_needs_a_model(tmp_path):
    text = RULE.replace('kind = "Momentum"\nwindow = 24', 'kind = "LongFlat"')
    text = text.replace("window = [6, 48]\nthreshold = [0.0, 0.02]", "threshold = [0.5, 0.6]")
    plan = Experiment.read(written(tmp_path, text))
    with pytest.raises(ConfigurationError, match="LongFlat reads signals: give a dataset and a model"):
        plan.plan(bars=SyntheticMarket(seed=2, days=60, timeframe="1h").bars())


def test_every_example_file_is_read():
    names = sorted(path.name for path in EXAMPLE.parent.glob("*.toml"))
    assert names == ["btc_eth_5m.toml", "btc_eth_rule.toml"]
    for name in names:
        assert Experiment.read(EXAMPLE.parent / name).name == name.removesuffix(".toml").replace("_", "-")


def test_choices_limits_and_the_venue_are_said_in_the_file(tmp_path):
    text = RULE.replace("threshold = [0.0, 0.02]", "threshold = [0.0, 0.01, 0.02]\nskip = { choices = [0, 2] }")
    more = "\n[venue]\nkind = 'research'\nlatency = '1h'\n[limits]\nmax_drawdown = 0.2\n"
    found = Experiment.read(written(tmp_path, text + more))
    assert found.tune_strategy.space == {"window": (6, 48), "threshold": [0.0, 0.01, 0.02], "skip": [0, 2]}
    plan = found.plan(bars=SyntheticMarket(seed=2, days=60, timeframe="1h").bars())
    assert plan.venue == replace(Venue.research(Costs.alpaca()), latency=timedelta(hours=1))
    assert plan.limits == RiskLimits(max_drawdown=0.2)
    assert Experiment.read(written(tmp_path, RULE)).limits is None


def test_a_study_moves_the_limit_orders_that_its_file_wants_moved(tmp_path):
    bars = SyntheticMarket(seed=2, days=60, timeframe="1h").bars()
    text = re.sub(r"\[tune_strategy\].*?\[splits\]", "[splits]", RULE, flags=re.DOTALL)
    runs = []
    for more in ("", 'reprice = "2h"'):
        plan = Experiment.read(written(tmp_path, f"{text}\n[execution]\nlimit_bps = 100\n{more}")).plan(bars=bars)
        study = run_plan(plan, ledger=TrialLedger(), jobs=1)
        runs.append(len([one for one in study.scenario.run().orders if re.search(r"p\d+$", one.id)]))
    assert runs[0] == 0 < runs[1]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[venue]\nallows_short = true", "venue.allows_short: the venue has no shorts"),
        ("[venue]\nparticipation = -1.0", "venue: participation must be above zero"),
        ("[limits]\nmax_weight = 0.0", "limits: max_weight must be above zero"),
        ("[limits]\nmax_wait = 1.0", "limits.max_wait: unknown"),
    ],
)
def test_mistakes_in_limits_and_venue_are_named(tmp_path, more, words):
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        Experiment.read(written(tmp_path, RULE + more))


def test_a_value_of_a_wrong_kind_is_no_traceback(tmp_path):
    text = RULE.replace('kind = "Momentum"\nwindow = 24', 'kind = "TimeOfDay"\nstart = "09:00"')
    with pytest.raises(ConfigurationError, match="strategy: "):
        Experiment.read(written(tmp_path, text))
