"""The registry: bundles as MLflow model versions, promoted through a gate, rolled back by history."""

import fcntl
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from cryptoquant.errors import BundleError, GateRefusedError, RegistryError
from cryptoquant.features.catalogue import CONSTRUCTORS
from cryptoquant.features.feature import Feature
from cryptoquant.models.bundle import CONTENT, STRATEGIES, Bundle, digest
from cryptoquant.performance.evidence import Gate
from cryptoquant.performance.trials import TrialLedger, recount
from cryptoquant.settings import quieten_mlflow, settings

ALIASES = ("champion", "challenger", "shadow")
ARTIFACT = "bundle"
PIN = "bundle_sha256"
SQLITE = "sqlite:///"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
    the run: parameters, metrics and files to keep by name.
    """

    def to_bundle(self, name: str) -> Bundle:
        """Return the bundle under this name."""
        ...

    def tracked(self, folder: Path) -> tuple[dict[str, Any], dict[str, float], list[Path]]:
        """Return parameters, metrics and files written into ``folder``."""
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
    ) -> None:
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
        """
        if not NAME.fullmatch(name):
            raise ValueError(f"a name holds letters, digits, '.', '-' and '_', found {name!r}")
        bundle = study.to_bundle(name)
        with self._call("register"), tempfile.TemporaryDirectory() as place:
            run = self._client.create_run(self._experiment(name), run_name=f"{name} {bundle.study}".strip())
            state = "FAILED"
            try:
                self._log(run.info.run_id, study, Path(place))
                folder = bundle.save(Path(place) / ARTIFACT)
                self._client.log_artifacts(run.info.run_id, str(folder), ARTIFACT)
                state = "FINISHED"
            finally:
                self._client.set_terminated(run.info.run_id, state)
            self._once(lambda: self._client.create_registered_model(name))
            source = f"{run.info.artifact_uri}/{ARTIFACT}"
            pin = {PIN: digest(folder / CONTENT)}
            made = self._client.create_model_version(name, source, run.info.run_id, tags=pin)
        return Version(name, int(made.version))

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
        self.resolve(str(version))
        if alias == "champion":
            bundle = self.load(version)
            book = ledger if ledger is not None else TrialLedger(settings().trials)
            evidence = recount(bundle.evidence, book, bundle.study, bundle.fingerprints.get("configuration", ""))
            reasons = (gate or Gate()).check(evidence)
            if reasons:
                raise GateRefusedError(f"{version} is not promoted to {alias}: {'; '.join(reasons)}", reasons)
        self._assign(version, alias, "promote")

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
        """Return who held which alias when, oldest first: alias, version, action, at."""
        with self._call("read history"):
            tags = self._client.get_registered_model(name).tags
        keys = sorted(key for key in tags if key.startswith("history."))
        return [json.loads(tags[key]) for key in keys]

    def _assign(self, version: Version, alias: str, action: str) -> None:
        with self._call(action):
            at = datetime.now(UTC).isoformat(timespec="microseconds")
            event = {"alias": alias, "version": version.number, "action": action, "at": at}
            # The stamp keeps the entries of two processes apart that count the same number of events.
            key = f"history.{len(self.history(version.name)):06d}.{re.sub('[^0-9]', '', at)}"
            self._client.set_registered_model_alias(version.name, alias, str(version.number))
            self._client.set_registered_model_tag(version.name, key, json.dumps(event))

    def _log(self, run_id: str, study: Registrable, folder: Path) -> None:
        from mlflow.entities import Metric, Param

        params, metrics, files = study.tracked(folder)
        now = int(datetime.now(UTC).timestamp() * 1_000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(key, float(number), now, 0) for key, number in metrics.items() if number == number],
            params=[Param(key, str(value)) for key, value in params.items()],
        )
        for file in files:
            self._client.log_artifact(run_id, str(file))

    def _pages(self, search: Callable[..., Any], **wanted: Any) -> Iterator[Any]:
        token = None
        while True:
            page = search(**wanted, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _experiment(self, name: str) -> str:
        place = (self._file.parent / "mlartifacts").as_uri() if self.uri.startswith(SQLITE) else None
        self._once(lambda: self._client.create_experiment(name, artifact_location=place))
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
            except (MlflowException, SQLAlchemyError) as error:
                raise RegistryError(f"registry {self.uri}: cannot {what}: {_first_line(error)}") from error


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
