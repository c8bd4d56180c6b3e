"""The answer to a trigger: train, judge on what was not seen, register as challenger, and never as champion."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from cryptoquant.backtest.walk_forward import Study
from cryptoquant.errors import CryptoquantError, ModelError, RegistryError
from cryptoquant.market.schema import INSTANT
from cryptoquant.models.bundle import Bundle
from cryptoquant.models.monitoring.duel import Duel, duel
from cryptoquant.models.monitoring.monitor import Monitor
from cryptoquant.models.monitoring.predictions import join
from cryptoquant.models.monitoring.trigger import Trigger
from cryptoquant.models.registry import Registry, Version
from cryptoquant.models.run_record import RunRecord
from cryptoquant.performance.evidence import Evidence

LIVE: dict[str, Any] = {
    "version": pl.String,
    "symbol": pl.String,
    "time": INSTANT,
    "kind": pl.String,
    "value": pl.Float64,
    "horizon": pl.Duration("ns"),
    "rise": pl.Float64,
    "label_return": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class Retrained:
    """What a retraining did.

    Attributes
    ----------
    trigger, version
        What it answers, and the new version, which holds the alias ``challenger`` now.
    before
        The version that was challenger before, or None.
    champion
        The version that was and is champion, or None.
    evidence
        Of the new study.
    duel
        The new version's out-of-sample predictions against the champion's live ones at the same moments; None where
        there are none, and then ``reason`` says why.
    """

    trigger: Trigger
    version: Version
    before: Version | None
    champion: Version | None
    evidence: Evidence
    duel: Duel | None
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A study that is registered with the trigger that it answers."""

    study: Study
    trigger: Trigger

    def to_bundle(self, name: str) -> Bundle:
        """Return the study's bundle."""
        return self.study.to_bundle(name)

    def tracked(self) -> RunRecord:
        """Return what the study tracks, with the trigger's words among the parameters and its line as a file."""
        record = self.study.tracked()
        told = {f"trigger.{name}": getattr(self.trigger, name) for name in ("kind", "name", "at", "detail")}
        return replace(
            record,
            params={**record.params, **told},
            files={**record.files, "trigger.json": self.trigger.to_line()},
        )


def retrain(
    trigger: Trigger,
    registry: Registry,
    name: str,
    build: Callable[[], Study],
    *,
    live: pl.DataFrame | None = None,
    monitor: Monitor | None = None,
) -> Retrained:
    """Answer a trigger: build a study (train and evaluate), register it, and give it the alias ``challenger``.

    The champion is never touched: it changes hands by ``Registry.promote`` alone, through the gate.

    Parameters
    ----------
    build
        Returns a new walk-forward study of the market as it is by now; whatever it raises passes through, and nothing
        is registered then.
    live
        The champion's joined live predictions (``PredictionJournal.joined``), for the comparison.
    monitor
        Told that the model was trained at the trigger's time once it is registered, so that its schedule starts again.
        The champion goes on being watched: its checks stay as they are until a new model takes its place.

    Raises
    ------
    ModelError
        ``live`` is no frame of joined predictions; nothing is built then.
    RegistryError
        The new version did not get the alias; the message names it, and it stays registered.
    """
    _check_live(live)
    held = registry.aliases(name) if name in registry.names() else {}
    study = build()
    version = registry.register(name, Answer(study, trigger))
    if monitor is not None:
        monitor.trained = max(monitor.trained, trigger.at)
    try:
        registry.promote(version, "challenger")
    except CryptoquantError as error:
        raise RegistryError(f"{version} is registered, but is not challenger: {error}") from error
    compared, reason = _compared(study, version, live)
    holders = {alias: Version(name, number) for alias, number in held.items()}
    return Retrained(
        trigger=trigger,
        version=version,
        before=holders.get("challenger"),
        champion=holders.get("champion"),
        evidence=study.evidence,
        duel=compared,
        reason=reason,
    )


def predictions_of(study: Study, version: str) -> pl.DataFrame:
    """Return the out-of-sample signals of a study joined to their labels, columns as of joined predictions."""
    dataset = study.dataset
    signals = study.signals.with_columns(version=pl.lit(version))
    labels = dataset.frame.select("symbol", "time", "label", "label_return", "label_known")
    return join(signals, labels, int(dataset.bars["known"].dt.epoch("ns").max()))  # type: ignore[arg-type]


def _check_live(live: pl.DataFrame | None) -> None:
    if live is None or not live.height:
        return
    wrong = [
        f"{name} {live.schema.get(name, 'missing')}" for name, kind in LIVE.items() if live.schema.get(name) != kind
    ]
    if wrong:
        wanted = ", ".join(f"{name} {kind}" for name, kind in LIVE.items())
        raise ModelError(
            f"live predictions: found {', '.join(wrong)}; wanted {wanted}, as PredictionJournal.joined gives"
        )
    if live["version"].null_count():
        raise ModelError("live predictions: version is null, wanted name@number")


def _compared(study: Study, version: Version, live: pl.DataFrame | None) -> tuple[Duel | None, str]:
    if live is None or not live.height:
        return None, "no live predictions of the champion were given"
    try:
        return duel(live, predictions_of(study, str(version))), ""
    except ModelError as error:
        return None, str(error)
