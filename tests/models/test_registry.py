"""The registry: versions, the gate, aliases and their history, on MLflow with SQLite."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from cryptoquant.errors import BundleError, GateRefusedError, RegistryError
from cryptoquant.models import Calibrated, Estimator, Logistic, Scaled
from cryptoquant.models.bundle import STRATEGIES, Bundle
from cryptoquant.models.pyfunc import _load_pyfunc, pack
from cryptoquant.models.registry import Registry, Version
from cryptoquant.models.run_record import RunRecord
from cryptoquant.performance.evidence import Evidence, Gate
from tests.models.test_bundle import STRONG, Contrarian, at, small_bundle

WEAK = replace(STRONG, psr=0.5, sharpe_low=-1.0, days=20)
ROOT = Path(__file__).resolve().parents[2]


@cache
def learned() -> Bundle:
    """Return a bundle, learned once."""
    return small_bundle()


@dataclass
class Finished:
    """What a study offers to the registry."""

    evidence: Evidence = STRONG
    changed: dict = field(default_factory=dict)

    def to_bundle(self, name: str) -> Bundle:
        return replace(learned(), evidence=self.evidence, **{"name": name, **self.changed})

    def tracked(self) -> RunRecord:
        return RunRecord(
            params={"model": "XGBoost", "folds": 3},
            metrics={"sharpe": 2.5, "dsr": float("nan")},
            series={"fold.hit_rate_test": [0.6, 0.5, float("nan")]},
            data={"a study": "d" * 64},
            files={"report.html": "<p>a report</p>", "plots/equity.html": "<p>a picture</p>"},
        )


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """A database that holds no more than its tables, which take a second to make; copy it."""
    place = tmp_path_factory.mktemp("empty") / "mlflow.db"
    Registry(f"sqlite:///{place}")
    return place


@pytest.fixture(scope="module")
def registry(tmp_path_factory, empty) -> Registry:
    """A registry with three versions of ``m`` (the second is weak)."""
    made = Registry(f"sqlite:///{shutil.copy(empty, tmp_path_factory.mktemp('registry'))}")
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
    with pytest.raises(ValueError, match="a name holds up to 100 letters"):
        clean.register("m@1", Finished())
    for ask in (clean.versions, clean.aliases, clean.history):
        with pytest.raises(RegistryError, match="not found"):
            ask("nobody")


def test_mlflow_shows_the_run_with_parameters_metrics_report_and_bundle(registry):
    client = registry._client
    kept = client.get_model_version("m", "1")
    run = client.get_run(kept.run_id)
    assert run.data.params == {"model": "XGBoost", "folds": "3"}
    assert run.data.metrics == {"sharpe": 2.5, "fold.hit_rate_test": 0.5}
    steps = client.get_metric_history(run.info.run_id, "fold.hit_rate_test")
    assert [(point.step, point.value) for point in steps] == [(0, 0.6), (1, 0.5)]
    assert [given.dataset.name for given in run.inputs.dataset_inputs] == ["a study"]
    assert run.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"model", "plots", "report.html"}
    assert kept.description.startswith("# m\n")
    assert kept.tags["sharpe"] == "2.5"
    folder = registry.uri.removeprefix("sqlite:///").replace("mlflow.db", "mlartifacts")
    assert kept.source.startswith(f"file://{folder}/")


def test_a_file_that_was_altered_after_registration_is_refused(registry):
    version = registry.register("tampered", Finished(WEAK))
    source = registry._client.get_model_version("tampered", str(version.number)).source
    path = Path(source.removeprefix("file://")) / "data" / "bundle" / "bundle.json"
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


def test_a_study_that_cannot_tell_what_it_is_leaves_no_run_and_no_version(registry):
    class Broken(Finished):
        def tracked(self):
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        registry.register("broken", Broken())
    assert "broken" not in registry.names()


def test_what_a_registry_does_not_take_is_kept_and_handed_in_later(empty, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = Registry(f"sqlite:///{shutil.copy(empty, tmp_path)}")
    (tmp_path / "mlartifacts").write_text("in the way")
    with pytest.raises(RegistryError, match=r"cannot register: .*kept in unregistered/m-\d+T\d+, submit\(\)"):
        home.register("m", Finished())
    assert home.names() == []
    experiment = home._client.get_experiment_by_name("m").experiment_id
    assert [run.info.status for run in home._client.search_runs([experiment])] == ["FAILED"]
    (tmp_path / "mlartifacts").unlink()
    (kept,) = (tmp_path / "unregistered").iterdir()
    version = home.submit(kept)
    rows = np.array([[0.01, 1.0, 60.0], [0.02, -1.0, 40.0]])
    assert home.load(version).forecaster().update(at(), rows) == Finished().to_bundle("m").forecaster().update(
        at(), rows
    )
    run = home._client.get_run(home._client.get_model_version("m", "1").run_id)
    assert run.data.params == {"model": "XGBoost", "folds": "3"}
    with pytest.raises(RegistryError, match="was submitted already, as m@1"):
        home.submit(kept)
    (kept / "submitted.txt").unlink()
    (kept / "bundle" / "model.ubj").write_bytes(b"another model")
    with pytest.raises(BundleError, match=r"model.ubj is missing or was altered"):
        home.submit(kept)
    with pytest.raises(BundleError, match="no readable"):
        home.submit(tmp_path / "nowhere")


def test_the_history_keeps_the_gate_that_a_champion_passed(clean):
    clean.promote(V1, "champion", ANY)
    clean.promote(V3)
    clean.promote(V2, "shadow")
    assert [event.get("gate") for event in clean.history("m")] == [[], Gate().to_dict()["criteria"], None]


@pytest.mark.deep
def test_a_server_with_its_own_store_and_an_s3_place_take_versions_alike(tmp_path, monkeypatch):
    from moto.server import ThreadedMotoServer

    bucket = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    bucket.start()
    host, port = bucket.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://{host}:{port}")
    import boto3

    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="models")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(own), "--workers", "1"]
    places = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "files"),
    ]
    server = subprocess.Popen([*command, *places], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for home in (
            Registry(f"sqlite:///{tmp_path}/mlflow.db", artifacts="s3://models/kept"),
            answering(f"http://127.0.0.1:{own}"),
        ):
            version = home.register("m", Finished())
            home.promote(version)
            rows = np.array([[0.01, 1.0, 60.0], [0.02, -1.0, 40.0]])
            wanted = Finished().to_bundle("m").forecaster().update(at(), rows)
            assert home.load("m@champion").forecaster().update(at(), rows) == wanted
    finally:
        server.terminate()
        server.wait()
        bucket.stop()


def answering(uri: str) -> Registry:
    """Return the registry of a server once it answers."""
    deadline = time.monotonic() + 90
    while True:
        try:
            home = Registry(uri)
            home.names()
        except RegistryError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        else:
            return home


def test_what_is_kept_finds_another_place_where_the_first_is_taken(empty, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "unregistered").write_text("in the way")
    home = Registry(f"sqlite:///{shutil.copy(empty, tmp_path)}")
    (tmp_path / "mlartifacts").write_text("in the way, too")
    with pytest.raises(RegistryError, match=rf"cannot register: .*kept in {tmp_path}/m-\d+T\d+"):
        home.register("m", Finished())


def test_a_gate_is_for_champions_and_a_name_has_an_end(clean):
    with pytest.raises(ValueError, match="a gate guards the champion; shadow has none"):
        clean.promote(V1, "shadow", Gate())
    with pytest.raises(ValueError, match="up to 100 letters"):
        clean.register("a" * 101, Finished())


def test_mlflow_needs_neither_the_strategy_nor_whole_rows_to_predict(registry, tmp_path):
    own = Registry(registry.uri, {**STRATEGIES, "Contrarian": Contrarian})
    version = own.register("own-pyfunc", Finished(changed={"strategy": Contrarian(0.2)}))
    source = own._client.get_model_version(version.name, str(version.number)).source
    model = _load_pyfunc(str(Path(source.removeprefix("file://")) / "data" / "bundle"))
    names = model.bundle.features.names
    rows = np.random.default_rng(1).standard_normal((4, 3))
    rows[1, 2] = np.nan
    found = model.predict(pd.DataFrame(rows, columns=names))
    assert np.isnan(found).tolist() == [False, True, False, False]
    assert np.array_equal(found[[0, 2, 3]], model.bundle.predictor.predict(rows[[0, 2, 3]]))


def test_what_mlflow_must_install_is_what_the_model_is_served_with(tmp_path):
    from sklearn.naive_bayes import GaussianNB

    for model, extra in ((Estimator(GaussianNB()), True), (Scaled(Calibrated(Logistic())), False)):
        bundle = small_bundle(model)
        folder = bundle.save(tmp_path / f"{extra}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pack(bundle, folder, tmp_path / f"packed{extra}")
        text = (tmp_path / f"packed{extra}" / "requirements.txt").read_text()
        assert ("onnxruntime==" in text) is extra
        assert "cryptoquant==" in text


def test_a_study_is_tracked_without_a_version(registry):
    run = registry._client.get_run(registry.track("tracked", Finished()))
    assert run.data.params == {"model": "XGBoost", "folds": "3"}
    assert run.info.status == "FINISHED"
    assert "tracked" not in registry.names()


def test_two_versions_stand_side_by_side(registry):
    frame = registry.compare("m@1", V2)
    assert frame.columns == ["section", "item", "m@1", "m@2", "difference", "is_equal"]
    (psr,) = frame.filter(section="evidence", item="psr").rows(named=True)
    assert (psr["m@1"], psr["m@2"], psr["is_equal"]) == ("0.999", "0.5", False)
    assert psr["difference"] == pytest.approx(-0.499)
    assert frame.filter(pl.col("section") == "costs")["is_equal"].all()
    assert frame.filter(section="strategy", item="name")["m@1"].to_list() == ["LongFlat"]


def test_mlflow_loads_a_version_as_its_own_generic_model(registry):
    import mlflow

    mlflow.set_tracking_uri(registry.uri)
    try:
        model = mlflow.pyfunc.load_model("models:/m/1")
        names = model.metadata.get_input_schema().input_names()
        bundle = registry.load(V1)
        assert tuple(names) == bundle.features.names
        rows = np.random.default_rng(1).standard_normal((5, 3))
        frame = pd.DataFrame(rows, columns=names)
        assert np.array_equal(model.predict(frame), bundle.predictor.predict(rows))
        with pytest.raises(mlflow.exceptions.MlflowException, match="missing inputs"):
            model.predict(frame.drop(columns=names[1]))
    finally:
        mlflow.set_tracking_uri(None)


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
