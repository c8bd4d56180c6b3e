"""The registry: bundles as MLflow model versions, promoted through a gate, rolled back by history."""

import fcntl
import json
import logging
import math
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from cryptoquant.errors import BundleError, GateRefusedError, RegistryError
from cryptoquant.features.catalogue import CONSTRUCTORS
from cryptoquant.features.feature import Feature
from cryptoquant.models.bundle import CONTENT, STRATEGIES, Bundle, digest
from cryptoquant.models.card import model_card
from cryptoquant.models.comparison import compare_bundles
from cryptoquant.models.pyfunc import pack
from cryptoquant.models.run_record import FILES, SUBMITTED, RunRecord, keep
from cryptoquant.performance.evidence import Gate
from cryptoquant.performance.trials import TrialLedger, recount
from cryptoquant.settings import quieten_mlflow, settings

ALIASES = ("champion", "challenger", "shadow")
MODEL = "model"
BUNDLE = "bundle"
PACKED = f"data/{BUNDLE}"
PIN = "bundle_sha256"
SQLITE = "sqlite:///"
# What MLflow's pages go by: which of their faces an experiment has, and what made a run.
KIND = {"mlflow.experimentKind": "custom_model_development"}
SOURCE = {"mlflow.source.name": "cryptoquant", "mlflow.source.type": "LOCAL"}
LONGEST_PARAM = 6_000
LARGEST_BATCH = 100
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Version:
    """One registered bundle."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"


class Registrable(Protocol):
    """What can be registered.

    The contract: ``to_bundle`` returns the whole strategy; ``tracked`` returns what an MLflow user expects to see of
    the run.
    """

    def to_bundle(self, name: str) -> Bundle:
        """Return the bundle under this name."""
        ...

    def tracked(self) -> RunRecord:
        """Return parameters, numbers and pages of the run."""
        ...


class Registry:
    """Keeps whole strategies.

    Parameters
    ----------
    uri
        An MLflow tracking URI; SQLite by default. Files of an SQLite registry lie in ``mlartifacts`` beside it.
    strategies
        Classes by name; add your own to load a bundle that trades with it.
    features
        Constructors by name; add your own to load a bundle that reads their columns.
    artifacts
        Where files of new models are kept, for example ``s3://bucket/models``; a server has a place of its own.

    Raises
    ------
    RegistryError
        The registry cannot be opened. Every method raises it when the registry does not answer.
    """

    def __init__(
        self,
        uri: str | None = None,
        strategies: Mapping[str, type[Any]] = STRATEGIES,
        features: Mapping[str, Callable[..., Feature]] = CONSTRUCTORS,
        *,
        artifacts: str | None = None,
    ) -> None:
        self.artifacts = artifacts
        self.uri = _absolute(uri or settings().registry)
        self.strategies = strategies
        self.features = features
        with self._call("open"), self._alone():
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            if self.uri.startswith(SQLITE):
                self._client.search_registered_models(max_results=1)

    def register(self, name: str, study: Registrable) -> Version:
        """Log the study as an MLflow run with its bundle, and return the new version of ``name``.

        Raises
        ------
        ValueError
            The name holds other characters than letters, digits, dots, dashes and underscores.
        ModelError
            The model cannot be kept in a safe format; the message names the one wanted.
        RegistryError
            The registry does not answer. What was to be registered is kept in a folder, which the message names, and
            ``submit`` hands it in.
        """
        if not NAME.fullmatch(name):
            raise ValueError(f"a name holds up to 100 letters, digits, '.', '-' and '_', found {name!r}")
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / name
            bundle, record = study.to_bundle(name), study.tracked()
            bundle.save(folder / BUNDLE)
            record.save(folder)
            try:
                return self._submit(bundle, record, folder)
            except BaseException as error:
                told = keep(folder)
                if isinstance(error, RegistryError):
                    raise RegistryError(f"{error}; {told}") from error
                error.add_note(told)
                raise

    def submit(self, folder: str | Path) -> Version:
        """Register what ``register`` kept when the registry did not answer, and return the new version.

        Raises
        ------
        BundleError, RegistryError
            The folder does not hold a bundle as it was written; it was submitted already.
        """
        place = Path(folder)
        mark = place / SUBMITTED
        if mark.is_file():
            raise RegistryError(f"{place} was submitted already, as {mark.read_text(encoding='utf-8')}")
        bundle, record = Bundle.load(place / BUNDLE, self.strategies, self.features), RunRecord.load(place)
        made = self._submit(bundle, record, place)
        mark.write_text(str(made), encoding="utf-8")
        return made

    def _submit(self, bundle: Bundle, record: RunRecord, place: Path) -> Version:
        with self._call("register"):
            with self._run(bundle.name, bundle.study or bundle.name) as run:
                self._log(run.run_id, record, place)
                with tempfile.TemporaryDirectory() as packed:
                    pack(bundle, place / BUNDLE, Path(packed) / MODEL)
                    self._client.log_artifacts(run.run_id, str(Path(packed) / MODEL), MODEL)
            self._once(lambda: self._client.create_registered_model(bundle.name))
            made = self._client.create_model_version(
                bundle.name,
                f"{run.artifact_uri}/{MODEL}",
                run.run_id,
                tags={PIN: digest(place / BUNDLE / CONTENT), **_headline(bundle)},
                description=model_card(bundle),
            )
        return Version(bundle.name, int(made.version))

    def track(self, name: str, study: Registrable) -> str:
        """Log a study as an MLflow run under an experiment, without a version of it, and return the run's id."""
        with self._call("track"), tempfile.TemporaryDirectory() as place, self._run(name, name) as run:
            record = study.tracked()
            record.save(Path(place))
            self._log(run.run_id, record, Path(place))
        return str(run.run_id)

    def compare(self, one: str | Version, other: str | Version) -> pl.DataFrame:
        """Return two versions side by side: evidence, strategy, features, costs, data; see ``compare_bundles``."""
        first, second = self.resolve(str(one)), self.resolve(str(other))
        return compare_bundles(self.load(first), self.load(second), (str(first), str(second)))

    def load(self, reference: str | Version) -> Bundle:
        """Return the bundle of ``name@alias`` or ``name@number``.

        Raises
        ------
        BundleError
            A file of the bundle is not what was registered, or the bundle cannot be used by this version.
        """
        version = self.resolve(str(reference))
        with self._call("load"), tempfile.TemporaryDirectory() as place:
            from mlflow.artifacts import download_artifacts

            kept = self._client.get_model_version(version.name, str(version.number))
            folder = Path(download_artifacts(artifact_uri=kept.source, dst_path=place, tracking_uri=self.uri))
            folder = folder / PACKED if (folder / PACKED).is_dir() else folder
            if not (folder / CONTENT).is_file() or digest(folder / CONTENT) != kept.tags.get(PIN):
                raise BundleError(f"{version}: {CONTENT} is missing or was altered after registration")
            return Bundle.load(folder, self.strategies, self.features)

    def resolve(self, reference: str) -> Version:
        """Return the version behind ``name@alias`` or ``name@number``.

        Raises
        ------
        RegistryError
            The name, alias or number is unknown; the message lists what there is.
        """
        name, _, which = reference.partition("@")
        if not which:
            raise RegistryError(f"wanted name@alias or name@number, found {reference!r}")
        names = self.names()
        if name not in names:
            raise RegistryError(f"model {name!r} is not registered; there are: {', '.join(names) or 'none'}")
        if which.isdecimal():
            numbers = [version.number for version in self.versions(name)]
            if int(which) not in numbers:
                raise RegistryError(f"{name} has no version {which}; it has: {', '.join(map(str, numbers)) or 'none'}")
            return Version(name, int(which))
        held = self.aliases(name)
        if which not in held:
            found = ", ".join(f"{alias} -> {number}" for alias, number in held.items()) or "none"
            raise RegistryError(f"{name} has no alias {which!r}; it has: {found}")
        return Version(name, held[which])

    def promote(
        self, version: Version, alias: str = "champion", gate: Gate | None = None, ledger: TrialLedger | None = None
    ) -> None:
        """Give a version an alias; ``champion`` only when its evidence passes the gate.

        The deflated Sharpe ratio is taken anew over all trials that ``ledger`` (by default that of the settings) holds
        of the study by now; where the ledger does not know the study's trial, the evidence counts as it was registered.

        Raises
        ------
        GateRefusedError
            Lists what the evidence fails.
        ValueError
            There is no such alias.
        """
        if alias not in ALIASES:
            raise ValueError(f"alias must be one of {', '.join(ALIASES)}, found {alias!r}")
        if gate is not None and alias != "champion":
            raise ValueError(f"a gate guards the champion; {alias} has none")
        self.resolve(str(version))
        if alias == "champion":
            bundle = self.load(version)
            book = ledger if ledger is not None else TrialLedger(settings().trials)
            evidence = recount(bundle.evidence, book, bundle.study, bundle.fingerprints.get("configuration", ""))
            reasons = (gate or Gate()).check(evidence)
            if reasons:
                raise GateRefusedError(f"{version} is not promoted to {alias}: {'; '.join(reasons)}", reasons)
        self._assign(version, alias, "promote", gate or Gate() if alias == "champion" else None)

    def rollback(self, name: str, alias: str = "champion") -> Version:
        """Return the alias to the version that held it before.

        A second rollback goes one further back. An alias that was moved by other means, such as MLflow's own pages,
        returns to the last version that was promoted here.

        Raises
        ------
        RegistryError
            No other version held it before.
        """
        holder = self.resolve(f"{name}@{alias}").number
        stack: list[int] = []
        for event in self.history(name):
            if event["alias"] != alias:
                continue
            if event["action"] == "rollback":
                while stack and stack[-1] != event["version"]:
                    stack.pop()
            elif not stack or stack[-1] != event["version"]:
                stack.append(event["version"])
        if stack and stack[-1] == holder:
            stack.pop()
        if not stack:
            raise RegistryError(f"{name}: no version held {alias} before version {holder}")
        before = Version(name, stack[-1])
        self._assign(before, alias, "rollback")
        return before

    def names(self) -> list[str]:
        """Return the names of all registered models."""
        with self._call("list models"):
            return sorted(model.name for model in self._pages(self._client.search_registered_models))

    def versions(self, name: str) -> list[Version]:
        """Return all versions of a model, oldest first."""
        with self._call("list versions"):
            self._client.get_registered_model(name)
            found = self._pages(self._client.search_model_versions, filter_string=f"name = '{name}'")
            return sorted((Version(name, int(v.version)) for v in found), key=lambda v: v.number)

    def aliases(self, name: str) -> dict[str, int]:
        """Return who holds which alias."""
        with self._call("read aliases"):
            held = self._client.get_registered_model(name).aliases
        return {alias: int(number) for alias, number in sorted(held.items())}

    def history(self, name: str) -> list[dict[str, Any]]:
        """Return who held which alias when, oldest first: alias, version, action, at, and the gate of a champion."""
        with self._call("read history"):
            tags = self._client.get_registered_model(name).tags
        keys = sorted(key for key in tags if key.startswith("history."))
        return [json.loads(tags[key]) for key in keys]

    def _assign(self, version: Version, alias: str, action: str, gate: Gate | None = None) -> None:
        with self._call(action):
            at = datetime.now(UTC).isoformat(timespec="microseconds")
            event: dict[str, Any] = {"alias": alias, "version": version.number, "action": action, "at": at}
            if gate is not None:
                event["gate"] = gate.to_dict()["criteria"]
            # The stamp keeps the entries of two processes apart that count the same number of events.
            key = f"history.{len(self.history(version.name)):06d}.{re.sub('[^0-9]', '', at)}"
            self._client.set_registered_model_alias(version.name, alias, str(version.number))
            self._client.set_registered_model_tag(version.name, key, json.dumps(event))

    @contextmanager
    def _run(self, experiment: str, name: str) -> Iterator[Any]:
        """Open a run and say how it ended."""
        run = self._client.create_run(self._experiment(experiment), run_name=name, tags=SOURCE).info
        state = "FAILED"
        try:
            yield run
            state = "FINISHED"
        finally:
            self._client.set_terminated(run.run_id, state)

    def _log(self, run_id: str, record: RunRecord, folder: Path) -> None:
        from mlflow.entities import Dataset, DatasetInput, Metric, Param

        now = int(datetime.now(UTC).timestamp() * 1_000)
        known = {name: value for name, value in record.metrics.items() if value is not None and math.isfinite(value)}
        metrics = [Metric(name, float(value), now, 0) for name, value in known.items()]
        for name, values in record.series.items():
            told = [(step, v) for step, v in enumerate(values) if v is not None and math.isfinite(v)]
            metrics += [Metric(name, float(value), now, step) for step, value in told]
        params = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in record.params.items()]
        for first in range(0, max(len(metrics), len(params)), LARGEST_BATCH):
            rows = slice(first, first + LARGEST_BATCH)
            self._client.log_batch(run_id, metrics=metrics[rows], params=params[rows])
        inputs = [
            DatasetInput(Dataset(name=name, digest=value[:36], source_type="local", source="{}"), [])
            for name, value in record.data.items()
        ]
        if inputs:
            self._client.log_inputs(run_id, inputs)
        if (folder / FILES).is_dir():
            self._client.log_artifacts(run_id, str(folder / FILES))

    def _pages(self, search: Callable[..., Any], **wanted: Any) -> Iterator[Any]:
        token = None
        while True:
            page = search(**wanted, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _experiment(self, name: str) -> str:
        place = self.artifacts
        if place is None and self.uri.startswith(SQLITE):
            place = (self._file.parent / "mlartifacts").as_uri()
        self._once(lambda: self._client.create_experiment(name, artifact_location=place, tags=KIND))
        return str(self._client.get_experiment_by_name(name).experiment_id)

    def _once(self, create: Callable[[], Any]) -> None:
        """Create what another process may have created already."""
        from mlflow.exceptions import MlflowException

        try:
            create()
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @property
    def _file(self) -> Path:
        return Path(self.uri.removeprefix(SQLITE).partition("?")[0]).resolve()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time make the tables of an SQLite registry; MLflow does not see to it."""
        if not self.uri.startswith(SQLITE):
            yield
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self._file.is_file() and _head(self._file) not in (b"", b"SQLite format 3\0"):
                raise RegistryError(f"registry {self.uri}: the file is no SQLite database")
            lock = self._file.with_name(f"{self._file.name}.lock").open("a")
        except OSError as error:
            raise RegistryError(f"registry {self.uri}: {error.strerror}: {error.filename}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _call(self, what: str) -> Iterator[None]:
        with _quiet():
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError

            try:
                yield
            except (MlflowException, SQLAlchemyError, OSError) as error:
                raise RegistryError(f"registry {self.uri}: cannot {what}: {_first_line(error)}") from error


def _headline(bundle: Bundle) -> dict[str, str]:
    """Return the numbers that stand beside a version in MLflow's table."""
    numbers = ("sharpe", "psr", "dsr", "days", "study_trials")
    return {name: f"{getattr(bundle.evidence, name):.4g}" for name in numbers}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow from reporting home and from writing its migrations and warnings to the terminal."""
    quieten_mlflow()
    import mlflow  # noqa: F401, its import sets the levels that are raised below

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _absolute(uri: str) -> str:
    """Return the URI of an SQLite file by its whole path: MLflow keeps one engine for each spelling of a URI."""
    if not uri.startswith(SQLITE) or uri == SQLITE:
        return uri
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)
