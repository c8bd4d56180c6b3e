"""Two bundles side by side: what differs in evidence, features, parameters, costs and data."""

import json
from dataclasses import asdict
from typing import Any

import polars as pl

from cryptoquant.models.bundle import Bundle, strategy_to_dict


def compare_bundles(one: Bundle, other: Bundle, names: tuple[str, str] = ("one", "other")) -> pl.DataFrame:
    """Return a row for each number of the evidence and each setting: section, item, both values, difference.

    Numbers have a difference (the second less the first); for texts it is null. ``is_equal`` tells whether both are the
    same.
    """
    first, second = _sections(one), _sections(other)
    rows = []
    for section in first:
        for item in sorted(first[section].keys() | second[section].keys()):
            left, right = first[section].get(item), second[section].get(item)
            numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (left, right)]
            rows.append(
                {
                    "section": section,
                    "item": item,
                    names[0]: _text(left),
                    names[1]: _text(right),
                    "difference": float(right) - float(left) if all(numbers) else None,  # type: ignore[arg-type]
                    "is_equal": _text(left) == _text(right),
                }
            )
    schema = {"section": pl.String, "item": pl.String, names[0]: pl.String, names[1]: pl.String}
    return pl.DataFrame(rows, schema={**schema, "difference": pl.Float64, "is_equal": pl.Boolean})


def _sections(bundle: Bundle) -> dict[str, dict[str, Any]]:
    strategy = strategy_to_dict(bundle.strategy)
    return {
        "evidence": bundle.evidence.to_dict(),
        "strategy": {"name": strategy["name"], **strategy["parameters"]},
        "model": {
            "name": bundle.learner.get("name", type(bundle.predictor).__name__),
            "kind": bundle.predictor.kind,
            **bundle.learner.get("parameters", {}),
        },
        "features": dict.fromkeys(bundle.features.names, "yes"),
        "costs": asdict(bundle.costs),
        "execution": bundle.execution.to_dict(),
        "market": {
            "symbols": ", ".join(bundle.symbols),
            "timeframe": str(bundle.timeframe),
            "horizon": str(bundle.horizon),
        },
        "libraries": dict(bundle.libraries),
        "fingerprints": dict(bundle.fingerprints),
    }


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
