"""A report as one file: numbers as JSON and tables as parquet in a zip archive, read again without running anything."""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from cryptoquant.errors import DataError
from cryptoquant.market.schema import SIGNALS
from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.metrics import Statistics
from cryptoquant.performance.report import FILLS, REJECTIONS, Report
from cryptoquant.performance.robustness import Robustness, Stress
from cryptoquant.trading.venue import Costs

LAYOUT = 1
HEAD = "report.json"
TABLES = ("equity", "fills", "rejections", "signals", "prices", "folds")
COLUMNS = {
    "equity": ("time", "equity", "exposure"),
    "fills": tuple(FILLS),
    "rejections": tuple(REJECTIONS),
    "signals": tuple(SIGNALS),
    "prices": ("time", "symbol", "close"),
}
PAPERS = ("importance", "quality", "paths", "barriers")
NAMES = {"layout", "name", "initial", "notes", "statistics", "costs", "dossier", "tables"}
PAPER_NAMES = {"evidence", "before_costs", "robustness", "fingerprints"}
LONG_AGO = (1980, 1, 1, 0, 0, 0)
Numbers = TypeVar("Numbers")


def save_report(report: Report, path: Path) -> Path:
    """Write a report as one file and return its path; the same report is the same bytes.

    The file is written beside its place and then moved there, so that a reader never sees half of it.
    """
    dossier = report.dossier
    frames = {name: getattr(report, name) for name in TABLES} | {name: getattr(dossier, name) for name in PAPERS}
    held = {name: frame for name, frame in frames.items() if frame.width}
    robustness = None if dossier.robustness is None else [asdict(one) for one in dossier.robustness.stresses]
    head = {
        "layout": LAYOUT,
        "name": report.name,
        "initial": report.initial,
        "notes": list(report.notes),
        "statistics": report.statistics.to_dict(),
        "costs": asdict(report.costs),
        "dossier": {
            "evidence": None if dossier.evidence is None else dossier.evidence.to_dict(),
            "before_costs": None if dossier.before_costs is None else dossier.before_costs.to_dict(),
            "robustness": robustness,
            "fingerprints": dict(dossier.fingerprints),
        },
        "tables": sorted(held),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(half, "w") as archive:
        _add(archive, HEAD, json.dumps(_written(head), indent=1, allow_nan=False).encode())
        for name in sorted(held):
            stored = io.BytesIO()
            held[name].write_parquet(stored, compression="zstd")
            _add(archive, f"{name}.parquet", stored.getvalue())
    half.replace(path)
    return path


def read_report(path: Path) -> Report:
    """Return the report that ``save_report`` wrote.

    Raises
    ------
    DataError
        The file is absent or no saved report, is of another layout, or holds something that a report has not.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if names.count(HEAD) != 1:
                raise DataError(f"{path}: no saved report: it holds no {HEAD}")
            head = json.loads(archive.read(HEAD))
            _check(path, head, names)
            tables = {name: pl.read_parquet(io.BytesIO(archive.read(f"{name}.parquet"))) for name in head["tables"]}
        return _report(head, tables)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (zipfile.BadZipFile, pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: no saved report, or a damaged one: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a saved report that this version reads: {error}") from error


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, LONG_AGO), data, zipfile.ZIP_DEFLATED if name == HEAD else None)


def _check(path: Path, head: Any, names: list[str]) -> None:
    found = head.get("layout") if isinstance(head, dict) else None
    if found != LAYOUT:
        raise DataError(f"{path}: a saved report of layout {found}; this version reads layout {LAYOUT}")
    held = set(head["tables"])
    stored = {name.removesuffix(".parquet") for name in names} - {HEAD}
    unknown = [*(set(head) - NAMES), *(held - {*TABLES, *PAPERS}), *(set(head["dossier"]) - PAPER_NAMES)]
    if unknown or stored != held or len(names) != len(held) + 1:
        odd = ", ".join(sorted({*unknown, *(stored ^ held)})) or "a name twice"
        raise DataError(f"{path}: a saved report holds {', '.join([*TABLES, *PAPERS])}; found beside or missing: {odd}")


def _report(head: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]) -> Report:
    dossier = head["dossier"]
    evidence, free, stresses = (dossier[name] for name in ("evidence", "before_costs", "robustness"))
    for name, columns in COLUMNS.items():
        missing = sorted(set(columns) - set(tables[name].columns))
        if missing:
            raise ValueError(f"{name} lacks {', '.join(missing)}")
    return Report(
        name=str(head["name"]),
        initial=float(head["initial"]),
        statistics=_read(Statistics, head["statistics"]),
        costs=_read(Costs, head["costs"]),
        **{name: tables.get(name, pl.DataFrame()) for name in TABLES},
        notes=tuple(str(note) for note in head["notes"]),
        dossier=Dossier(
            evidence=None if evidence is None else _read(Evidence, evidence),
            before_costs=None if free is None else _read(Statistics, free),
            robustness=None if stresses is None else Robustness(tuple(_read(Stress, row) for row in stresses)),
            fingerprints={str(name): str(digest) for name, digest in dossier["fingerprints"].items()},
            **{name: tables.get(name, pl.DataFrame()) for name in PAPERS},
        ),
    )


def _written(value: Any) -> Any:
    """Return a value as strict JSON takes it: a number that is not finite is a text."""
    if isinstance(value, Mapping):
        return {str(name): _written(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_written(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _read(kind: type[Numbers], saved: Mapping[str, Any]) -> Numbers:
    """Return a dataclass of numbers: a text in a field of floats is a number that is not finite."""
    floats = {one.name for one in fields(kind) if one.type in (float, "float")}  # type: ignore[arg-type]
    return kind(**{name: float(value) if name in floats else value for name, value in saved.items()})
