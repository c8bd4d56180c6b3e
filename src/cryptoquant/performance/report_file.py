"""A report as one file: numbers as JSON and tables as parquet in a zip archive, read again without running anything."""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from cryptoquant.errors import DataError
from cryptoquant.performance.dossier import Dossier
from cryptoquant.performance.evidence import Evidence
from cryptoquant.performance.metrics import Statistics
from cryptoquant.performance.report import Report
from cryptoquant.performance.robustness import Robustness, Stress
from cryptoquant.performance.saved_report import (
    a_capital,
    a_list,
    a_mapping,
    a_text,
    check_cells,
    check_size,
    check_tables,
    numbers_of,
)
from cryptoquant.trading.venue import Costs

LAYOUT = 1
HEAD = "report.json"
TABLES = ("equity", "fills", "rejections", "signals", "prices", "folds")
PAPERS = ("importance", "quality", "paths", "barriers")
NAMES = {"layout", "name", "initial", "notes", "statistics", "costs", "dossier", "tables"}
PAPER_NAMES = {"evidence", "before_costs", "robustness", "fingerprints"}
LONG_AGO = (1980, 1, 1, 0, 0, 0)
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, MemoryError, RuntimeError, OSError),
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
)


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
        The file is absent, damaged or no saved report, is too large or of another layout, or holds something that a
        report has not.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            check_size(archive)
            if names.count(HEAD) != 1:
                raise DataError(f"{path}: no saved report: it holds no {HEAD}")
            head = json.loads(archive.read(HEAD))
            _check(path, head, names)
            tables = _tables(archive, head["tables"])
        return _report(head, tables)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except DAMAGE as error:
        raise DataError(f"{path}: no saved report, or a damaged one: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: not a saved report that this version reads: {error}") from error


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, LONG_AGO), data, zipfile.ZIP_DEFLATED if name == HEAD else None)


def _tables(archive: zipfile.ZipFile, names: list[str]) -> dict[str, pl.DataFrame]:
    """Return the tables, after a look at how large each says that it is."""
    stored = {name: io.BytesIO(archive.read(f"{name}.parquet")) for name in names}
    cells = 0
    for data in stored.values():
        lazy = pl.scan_parquet(data)
        cells += lazy.select(pl.len()).collect().item() * len(lazy.collect_schema())
    check_cells(cells)
    return {name: pl.read_parquet(data) for name, data in stored.items()}


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
    prints = a_mapping("fingerprints", dossier["fingerprints"])
    check_tables(tables)
    return Report(
        name=a_text("name", head["name"]),
        initial=a_capital("initial", head["initial"]),
        statistics=numbers_of(Statistics, "statistics", head["statistics"]),
        costs=numbers_of(Costs, "costs", head["costs"]),
        **{name: tables.get(name, pl.DataFrame()) for name in TABLES},
        notes=tuple(a_text("notes", note) for note in a_list("notes", head["notes"])),
        dossier=Dossier(
            evidence=None if evidence is None else numbers_of(Evidence, "evidence", evidence),
            before_costs=None if free is None else numbers_of(Statistics, "before_costs", free),
            robustness=None if stresses is None else _robustness(a_list("robustness", stresses)),
            fingerprints={name: a_text("fingerprints", digest) for name, digest in prints.items()},
            **{name: tables.get(name, pl.DataFrame()) for name in PAPERS},
        ),
    )


def _robustness(stresses: list[Any]) -> Robustness:
    return Robustness(tuple(numbers_of(Stress, "robustness", row) for row in stresses))


def _written(value: Any) -> Any:
    """Return a value as strict JSON takes it: a number that is not finite is a text."""
    if isinstance(value, Mapping):
        return {str(name): _written(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_written(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
