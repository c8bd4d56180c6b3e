"""The tables of an experiment's file, typed: what may stand where."""

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cryptoquant.market.time import Instant, span, timeframe_name, to_ns
from cryptoquant.trading.venue import FeeAsset


def _readable(moment: Instant) -> Instant:
    to_ns(moment)
    return moment


Span = Annotated[timedelta, BeforeValidator(lambda value: span(value) if isinstance(value, str) else value)]
Length = Annotated[timedelta | int, BeforeValidator(lambda value: span(value) if isinstance(value, str) else value)]
Moment = Annotated[datetime | date | str, AfterValidator(_readable)]


class Section(BaseModel):
    """A table of the file; keys that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSection(Section):
    """Which bars: a store's folder (from where the program runs) or URL, symbols, timeframe and range."""

    symbols: list[str] = Field(min_length=1)
    timeframe: Annotated[str, AfterValidator(lambda value: timeframe_name(span(value)))]
    store: str = "data"
    start: Moment | None = None
    end: Moment | None = None


class LabelSection(Section):
    """What is to be predicted."""

    kind: Literal["triple_barrier", "forward_return", "sign", "scaled_return", "trend_scanning"] = "triple_barrier"
    horizon: Span | None = None
    take: float | None = None
    stop: float | None = None
    volatility_window: int | None = None
    dead_zone: float | None = None
    least: int | None = None
    most: int | None = None


class SplitsSection(Section):
    """How history is cut: spans such as ``"90d"``, or numbers of slices."""

    train: Length
    test: Length
    embargo: Span = timedelta(0)
    expanding: bool = False


class CostsSection(Section):
    """Alpaca's tier (1 unless said otherwise), both fees in basis points, or a venue's schedule; and what prices cost.

    The rest is as in ``Costs``.
    """

    tier: int | None = None
    maker_bps: float | None = None
    taker_bps: float | None = None
    schedule: str | None = None
    slippage_bps: float | None = None
    fee_asset: FeeAsset | None = None
    spread_bps: float | None = None
    volatility_share: float | None = None
    impact_linear_bps: float | None = None
    impact_sqrt: float | None = None


class ExecutionSection(Section):
    """How targets become orders, as in ``Execution``; life, pause and reprice are spans such as ``"30m"``."""

    reserve: float | None = None
    band: float | None = None
    limit_bps: float | None = None
    life: Span | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    trailing: float | None = None
    parts: int | None = None
    pause: Span | None = None
    reprice: Span | None = None


class TuneSection(Section):
    """How parameters are searched; ranges are ``[low, high]`` or ``[low, high, "log"]``.

    The objective is ``log_loss``, ``brier``, ``squared_error`` or ``sharpe`` (after the experiment's costs, taking what
    is above ``threshold``), or a list of them.
    """

    trials: int = 20
    space: dict[str, list[Any] | dict[str, list[Any]]]
    objective: str | list[str] = "log_loss"
    threshold: float = 0.5
    folds: int = 4
    inner: Literal["last", "all"] = "last"
    embargo: Span = timedelta(0)
    sampler: Literal["tpe", "cmaes", "random"] = "tpe"
    prune: bool = False
    batch: int = 1
    storage: str | None = None
    seed: int = 0


class TuneStrategySection(Section):
    """How the strategy's parameters are searched in each fold, as in ``TuneStrategy``; ranges as in ``tune.space``."""

    trials: int = 20
    space: dict[str, list[Any] | dict[str, list[Any]]]
    metric: Literal["sharpe", "sortino", "calmar", "total_return"] = "sharpe"
    folds: int = 4
    embargo: Span = timedelta(0)
    sampler: Literal["tpe", "cmaes", "random"] = "tpe"
    seed: int = 0


class RetrainingSection(Section):
    """In every how many folds the model is fitted, and parameters are searched."""

    fit: int = 1
    tune: int | None = None


class VenueSection(Section):
    """Whose rules: Alpaca's, or those of a research account, with shorts unless it says otherwise; as in ``Venue``."""

    kind: Literal["alpaca", "research"] = "alpaca"
    allows_short: bool | None = None
    participation: float | None = None
    latency: Span | None = None
    path: Literal["worst", "best", "ohlc", "olhc", "adaptive"] | None = None
    minimum_notional: float | None = None
    maximum_notional: float | None = None


class LimitsSection(Section):
    """What no order may exceed, as in ``RiskLimits``; without a value there are no limits."""

    max_order_value: float | None = None
    max_weight: float | None = None
    max_gross: float | None = None
    max_drawdown: float | None = None
    max_daily_loss: float | None = None
    max_orders_per_minute: int | None = None
    max_age: float | None = None
    price_collar: float | None = None
    min_cash: float | None = None
    max_spread_bps: float | None = None
    max_dissimilarity: float | None = None


class Contents(Section):
    """The whole file; a rule over bars has no features, no label and no model."""

    name: str = Field(min_length=1)
    cash: float = Field(default=100_000.0, gt=0)
    data: DataSection
    features: list[dict[str, Any]] | None = None
    label: LabelSection | None = None
    model: dict[str, Any] | None = None
    strategy: dict[str, Any]
    splits: SplitsSection
    costs: CostsSection = CostsSection()
    venue: VenueSection = VenueSection()
    limits: LimitsSection = LimitsSection()
    execution: ExecutionSection = ExecutionSection()
    tune: TuneSection | None = None
    tune_strategy: TuneStrategySection | None = None
    retraining: RetrainingSection = RetrainingSection()
