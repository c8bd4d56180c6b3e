"""The registry: versions, the gate, aliases and their history, on MLflow with SQLite."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from cryptoquant.errors import BundleError, GateRefusedError, RegistryError
from cryptoquant.models.bundle import STRATEGIES, Bundle
from cryptoquant.models.registry import Registry, Version
from cryptoquant.performance.evidence import Evidence, Gate
from tests.models.test_bundle import STRONG, Contrarian, at, small_bundle

WEAK = replace(STRONG, psr=0.5, sharpe_low=-1.0, days=20)
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Finished:
    """What a study offers to the registry."""

    evidence: Evidence = STRONG
    changed: dict = field(default_factory=dict)

    def to_bundle(self, name: str) -> Bundle:
        return small_bundle(evidence=self.evidence, **{"name": name, **self.changed})

    def tracked(self, folder: Path):
        page = folder / "report.html"
        page.write_text("<p>a report</p>")
        return {"model": "XGBoost", "folds": 3}, {"sharpe": 2.5, "dsr": float("nan")}, [page]


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Registry:
    """A registry with three versions of ``m`` (the second is weak)."""
    made = Registry(f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}")
    for number, evidence in enumerate((STRONG, WEAK, STRONG), start=1):
        assert made.register("m", Finished(evidence)) == Version("m", number)
    return made


@pytest.fixture
def clean(registry):
    """The same registry without aliases and history."""
    for alias in registry.aliases("m"):
        registry._client.delete_registered_model_alias("m", alias)
    for tag in registry._client.get_registered_model("m").tags:
        registry._client.delete_registered_model_tag("m", tag)
    return registry


V1, V2, V3 = (Version("m", number) for number in (1, 2, 3))
ANY = Gate(criteria=())


def test_versions_are_counted_by_name_and_loaded_by_number_and_alias(clean):
    assert clean.versions("m") == [V1, V2, V3]
    assert clean.names() == ["m"]
    clean.promote(V1, "shadow")
    rows = np.zeros((2, 3))
    wanted = Finished().to_bundle("m").forecaster().update(at(), rows)
    for reference in ("m@1", V1, "m@shadow"):
        assert clean.load(reference).forecaster().update(at(), rows) == wanted
    assert clean.resolve("m@shadow") == V1


def test_the_champion_is_promoted_through_the_gate_and_a_refusal_lists_the_reasons(clean):
    clean.promote(V1, "champion")
    with pytest.raises(GateRefusedError) as refused:
        clean.promote(V2, "champion")
    assert len(refused.value.reasons) == 3
    assert all(reason in str(refused.value) for reason in refused.value.reasons)
    assert "days out of sample: 20, wanted >= 90" in refused.value.reasons
    assert clean.aliases("m") == {"champion": 1}
    clean.promote(V2, "challenger")
    assert clean.aliases("m") == {"challenger": 2, "champion": 1}


def test_a_rollback_returns_to_the_version_that_held_the_alias_before(clean):
    clean.promote(V1)
    clean.promote(V3)
    assert clean.rollback("m") == V1
    assert clean.aliases("m") == {"champion": 1}
    with pytest.raises(RegistryError, match="no version held champion before version 1"):
        clean.rollback("m")
    with pytest.raises(RegistryError, match="no alias 'shadow'"):
        clean.rollback("m", "shadow")
    assert [(e["version"], e["action"]) for e in clean.history("m")] == [
        (1, "promote"),
        (3, "promote"),
        (1, "rollback"),
    ]


@pytest.mark.parametrize(
    ("steps", "holders"),
    [
        ([1, 3, "back", 2, "back"], [1, 3, 1, 2, 1]),
        ([1, 2, 3, "back", "back"], [1, 2, 3, 2, 1]),
        ([1, 2, 1, 3, "back", "back", "back"], [1, 2, 1, 3, 1, 2, 1]),
        ([1, 1, 2, 2, "back"], [1, 1, 2, 2, 1]),
        ([1, 2, "back", 2, "back"], [1, 2, 1, 2, 1]),
    ],
)
def test_histories_of_promotions_and_rollbacks(clean, steps, holders):
    for step, holder in zip(steps, holders, strict=True):
        if step == "back":
            clean.rollback("m")
        else:
            clean.promote(Version("m", step), gate=ANY)
        assert clean.aliases("m") == {"champion": holder}
    with pytest.raises(RegistryError, match="no version held champion before"):
        clean.rollback("m")


def test_other_aliases_have_a_history_of_their_own(clean):
    clean.promote(V1)
    clean.promote(V2, "challenger")
    clean.promote(V3, "challenger")
    clean.promote(V3)
    assert clean.rollback("m", "challenger") == V2
    assert clean.aliases("m") == {"challenger": 2, "champion": 3}


def test_an_alias_that_was_moved_by_other_means_returns_to_the_last_promotion_here(clean):
    clean.promote(V1)
    clean._client.set_registered_model_alias("m", "champion", "3")
    assert clean.rollback("m") == V1


def test_what_is_unknown_is_refused_with_what_there_is(clean):
    clean.promote(V1)
    for reference, text in [
        ("n@champion", "'n' is not registered; there are: m"),
        ("m@9", "m has no version 9; it has: 1, 2, 3"),
        ("m@shadow", r"no alias 'shadow'; it has: champion -> 1"),
        ("m", "wanted name@alias or name@number"),
        ("o'brien@1", "is not registered"),
    ]:
        with pytest.raises(RegistryError, match=text):
            clean.load(reference)
    with pytest.raises(RegistryError, match="has no version 9"):
        clean.promote(Version("m", 9))
    with pytest.raises(ValueError, match="alias must be one of champion, challenger, shadow"):
        clean.promote(V1, "king")
    with pytest.raises(ValueError, match="a name holds letters"):
        clean.register("m@1", Finished())
    for ask in (clean.versions, clean.aliases, clean.history):
        with pytest.raises(RegistryError, match="not found"):
            ask("nobody")


def test_mlflow_shows_the_run_with_parameters_metrics_report_and_bundle(registry):
    client = registry._client
    kept = client.get_model_version("m", "1")
    run = client.get_run(kept.run_id)
    assert run.data.params == {"model": "XGBoost", "folds": "3"}
    assert run.data.metrics == {"sharpe": 2.5}
    assert run.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"bundle", "report.html"}
    folder = registry.uri.removeprefix("sqlite:///").replace("mlflow.db", "mlartifacts")
    assert kept.source.startswith(f"file://{folder}/")


def test_a_file_that_was_altered_after_registration_is_refused(registry):
    version = registry.register("tampered", Finished(WEAK))
    source = registry._client.get_model_version("tampered", str(version.number)).source
    path = Path(source.removeprefix("file://")) / "bundle.json"
    path.write_text(path.read_text().replace('"psr": 0.5', '"psr": 1.0'))
    with pytest.raises(BundleError, match=r"tampered@1: bundle.json is missing or was altered"):
        registry.promote(version)


def test_a_strategy_of_ones_own_is_registered_promoted_and_loaded(registry):
    own = Registry(registry.uri, {**STRATEGIES, "Contrarian": Contrarian})
    version = own.register("own", Finished(changed={"strategy": Contrarian(0.2)}))
    own.promote(version)
    assert own.load("own@champion").strategy == Contrarian(0.2)
    with pytest.raises(BundleError, match="strategy Contrarian is unknown"):
        registry.load(version)


def test_a_study_that_fails_while_it_is_logged_leaves_a_failed_run_and_no_version(registry):
    class Broken(Finished):
        def tracked(self, folder):
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        registry.register("broken", Broken())
    assert "broken" not in registry.names()
    experiment = registry._client.get_experiment_by_name("broken").experiment_id
    assert [run.info.status for run in registry._client.search_runs([experiment])] == ["FAILED"]


def test_many_registries_of_one_place_share_their_connections(registry):
    def opened() -> int:
        places = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        return sum(os.path.realpath(place) == registry.uri.removeprefix("sqlite:///") for place in places)

    Registry(registry.uri).versions("m")
    before = opened()
    for _ in range(5):
        Registry(registry.uri).versions("m")
    assert opened() <= before


def test_two_processes_that_register_at_once_get_a_version_each_and_nobody_reports_home(tmp_path):
    code = (
        "import sys\n"
        "from tests.models.test_registry import Finished, Registry\n"
        "assert 'mlflow' not in sys.modules\n"
        "registry = Registry(sys.argv[1])\n"
        "print(registry.register('m', Finished()))\n"
        "from mlflow.telemetry import get_telemetry_client\n"
        "assert get_telemetry_client() is None\n"
    )
    asked = ("CI", "DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "PYTEST_CURRENT_TEST", "PYTEST_VERSION")
    environment = {name: value for name, value in os.environ.items() if name not in asked}
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"]
    both = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(out.strip() for out, _ in said) == ["m@1", "m@2"]
    assert [err for _, err in said] == ["", ""]


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match=re.escape(str(tmp_path / "file"))):
        Registry(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")
    (tmp_path / "file").write_text("something else altogether")
    with pytest.raises(RegistryError, match="no SQLite database"):
        Registry(f"sqlite:///{tmp_path / 'file'}")


def test_a_server_that_does_not_answer_is_an_error_of_the_registry(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    with pytest.raises(RegistryError, match=r"registry http://127.0.0.1:9: cannot"):
        Registry("http://127.0.0.1:9").names()
