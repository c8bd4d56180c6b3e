"""The quality of a market as one page: a calendar of each series and tables, in one file without script or network."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from cryptoquant.data.quality_report import MarketQuality

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
MOST_CELLS = 120
CELL, ROW, NAME = 8, 18, 150
LISTED = 200
STYLE = """
:root{color-scheme:light dark;--ink:#22282e;--soft:#5c6670;--line:#dfe3e8;--page:#fff;--good:#9fcdb0;--note:#e9c46a;
--bad:#c8443c;--none:#eef0f3}
@media(prefers-color-scheme:dark){:root{--ink:#e4e7ea;--soft:#a0a9b2;--line:#353c44;--page:#16191d;--good:#3f7d58;
--note:#b8923a;--bad:#e0625a;--none:#23282e}}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 20px 60px}h1{font-size:26px;margin:0 0 4px}
h2{font-size:18px;margin:34px 0 8px}p{max-width:80ch;margin:4px 0}.soft{color:var(--soft)}
.verdict{font-weight:600;padding:8px 12px;border-left:5px solid var(--good);background:var(--none)}
.verdict.bad{border-color:var(--bad)}.wide{overflow-x:auto}svg{display:block}
svg text{fill:var(--ink);font:11px system-ui,sans-serif}svg .soft{fill:var(--soft)}
.good{fill:var(--good)}.note{fill:var(--note)}.bad{fill:var(--bad)}.none{fill:var(--none)}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 12px 4px 0;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}
th{color:var(--soft);font-weight:600}.n{text-align:right}.fault{color:var(--bad);font-weight:600}
.key span{display:inline-block;margin-right:16px}.key svg{display:inline;width:11px;height:11px}
@media print{main{max-width:none;padding:0}h2{break-after:avoid}tr,svg{break-inside:avoid}
svg{max-width:100%;height:auto}svg rect{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
WORDS = {
    "good": "nothing found",
    "note": "remarks (late, idle, stale, locked, revised rows and the like)",
    "bad": "faults (missing, doubled, crossed, spikes)",
    "none": "no rows",
}


def write_page(quality: "MarketQuality", path: Path) -> Path:
    """Write the page and return its path; the same bytes for the same quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page_text(quality), encoding="utf-8", newline="\n")
    return path


def page_text(quality: "MarketQuality") -> str:
    """Return the page as text."""
    days = quality.frame["day"]
    span = f"{days.min()!s} to {days.max()!s}, UTC" if len(days) else "no rows"
    names = quality.frame["symbol"].n_unique()
    tone = "" if quality.is_clean else " bad"
    said = "Clean: no check that counts as a fault found anything." if quality.is_clean else _worst(quality)
    key = "".join(
        f'<span><svg viewBox="0 0 11 11"><rect class="{tone}" width="11" height="11"/></svg> {escape(words)}</span>'
        for tone, words in WORDS.items()
    )
    calendars = "".join(
        f"<h2>{escape(' '.join(name).strip())}</h2>{_calendar(part)}" for name, part in _parts(quality.frame)
    )
    body = (
        f"<h1>Market data quality</h1><p>{names} symbol{'s' * (names != 1)}, {escape(span)}</p>"
        f'<p class="verdict{tone}">{escape(said)}</p><p class="key soft">{key}</p>{calendars}'
        f"<h2>What was found</h2>{_totals(quality.totals())}{_others(quality)}"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>Market data quality</title>'
        f"<style>{STYLE}</style></head>\n<body><main>{body}</main></body></html>\n"
    )


def _worst(quality: "MarketQuality") -> str:
    faults = quality.totals().filter("is_fault").group_by("kind", "check").agg(pl.col("count").sum())
    rows = faults.sort("count", "kind", "check", descending=[True, False, False]).iter_rows()
    found = ", ".join(f"{check.replace('_', ' ')} {count:,} ({kind})" for kind, check, count in rows)
    return f"Not clean: {found}"


def _parts(frame: pl.DataFrame) -> list[tuple[tuple[str, str], pl.DataFrame]]:
    """Return the parts of a quality frame by kind and timeframe."""
    parts = frame.sort("kind", "timeframe", "symbol").partition_by("kind", "timeframe", maintain_order=True)
    return [((part["kind"].item(0), part["timeframe"].item(0)), part) for part in parts]


def _calendar(frame: pl.DataFrame) -> str:
    """Return a picture of one kind: a row for each symbol, a cell for each day, or for several when there are many."""
    first: date = frame["day"].min()  # type: ignore[assignment]
    last: date = frame["day"].max()  # type: ignore[assignment]
    step = -(-((last - first).days + 1) // MOST_CELLS)
    cells = (last - first).days // step + 1
    place = ((pl.col("day") - first).dt.total_days() // step).alias("place")
    seen = frame.group_by("symbol", place).agg(
        rows=pl.col("rows").filter(pl.col("check") == pl.col("check").first()).sum(),
        faults=pl.col("count").filter("is_fault").sum(),
        remarks=pl.col("count").filter(~pl.col("is_fault")).sum(),
    )
    width = max(CELL, (980 - NAME) // cells)
    width = min(width, 26)
    symbols = sorted(frame["symbol"].unique())
    drawn = [_axis(first, step, cells, width)]
    for number, symbol in enumerate(symbols):
        top = ROW * (number + 1)
        drawn.append(f'<text x="0" y="{top + 12}">{escape(symbol)}</text>')
        own = {row["place"]: row for row in seen.filter(symbol=symbol).iter_rows(named=True)}
        drawn += [
            _cell(own.get(at), first + timedelta(days=at * step), step, NAME + at * width, top, width)
            for at in range(cells)
        ]
    wide, high = NAME + cells * width + 40, ROW * (len(symbols) + 1) + 4
    size = f'width="{wide}" height="{high}" viewBox="0 0 {wide} {high}"'
    return f'<div class="wide"><svg {size} role="img">{"".join(drawn)}</svg></div>'


def _axis(first: date, step: int, cells: int, width: int) -> str:
    every = max(1, -(-90 // width))
    return "".join(
        f'<text class="soft" x="{NAME + at * width}" y="12">{first + timedelta(days=at * step)}</text>'
        for at in range(0, cells, every)
    )


def _cell(found: dict[str, Any] | None, day: date, step: int, left: int, top: int, width: int) -> str:
    if found is None or (not found["rows"] and not found["faults"]):
        tone, said = "none", "no rows"
    else:
        tone = "bad" if found["faults"] else "note" if found["remarks"] else "good"
        said = f"{found['rows']:,} rows, {found['faults']:,} faults, {found['remarks']:,} remarks"
    when = f"{day}" if step == 1 else f"{day} and {step - 1} days"
    shape = f'x="{left}" y="{top}" width="{width - 1}" height="{ROW - 3}"'
    return f'<rect class="{tone}" {shape}><title>{when}: {said}</title></rect>'


def _totals(totals: pl.DataFrame) -> str:
    if not totals.height:
        return "<p>Nothing.</p>"
    rows = [
        (
            f"{row['kind']} {row['timeframe']}".strip(),
            row["symbol"],
            row["check"].replace("_", " "),
            "fault" if row["is_fault"] else "remark",
            f"{row['count']:,}",
            f"{row['days']:,}",
        )
        for row in totals.sort("is_fault", "count", descending=True).iter_rows(named=True)
    ]
    return _table(("Series", "Symbol", "Check", "", "Found", "Days"), rows, numbers=2)


def _others(quality: "MarketQuality") -> str:
    parts = []
    if quality.gaps.height:
        gaps = quality.gaps.sort("missing", descending=True)
        rows = [
            (f"{row['symbol']} {row['timeframe']}", _moment(row["start"]), _moment(row["end"]), f"{row['missing']:,}")
            for row in gaps.head(LISTED).iter_rows(named=True)
        ]
        parts.append(f"<h2>Missing bars{_of(gaps.height)}</h2>{_table(('Series', 'From', 'To', 'Bars'), rows)}")
    if quality.halts.height:
        longest = quality.halts.sort("seconds", descending=True)
        rows = [
            (row["symbol"] or "the venue", _moment(row["start"]), _moment(row["end"]), f"{row['seconds']:,.0f}")
            for row in longest.head(LISTED).iter_rows(named=True)
        ]
        parts.append(f"<h2>Silences{_of(longest.height)}</h2>{_table(('Who', 'From', 'To', 'Seconds'), rows)}")
    if quality.successions.height:
        rows = [
            (
                f"{row['suspicion']}: {row['symbol']}",
                row["successor"] or "",
                _moment(row["ended"] or row["began"]),
                "" if row["price_gap_bps"] is None else f"{row['price_gap_bps']:,.1f}",
            )
            for row in quality.successions.head(LISTED).iter_rows(named=True)
        ]
        heads = ("Suspicion", "Goes on as", "At", "Price gap, bps")
        parts.append(f"<h2>Symbols that came and went{_of(quality.successions.height)}</h2>{_table(heads, rows)}")
    return "".join(parts)


def _of(height: int) -> str:
    return f": the first {LISTED} of {height:,}" if height > LISTED else ""


def _moment(instant: Any) -> str:
    return f"{instant:%Y-%m-%d %H:%M:%S}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 1) -> str:
    """Return a table whose last ``numbers`` columns are numbers."""
    kind = [' class="n"' if place >= len(heads) - numbers else "" for place in range(len(heads))]
    head = "".join(f"<th{of}>{escape(text)}</th>" for of, text in zip(kind, heads, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="fault">{escape(text)}</td>' if text == "fault" else f"<td{of}>{escape(text)}</td>"
            for of, text in zip(kind, cells, strict=True)
        )
        + "</tr>"
        for cells in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
