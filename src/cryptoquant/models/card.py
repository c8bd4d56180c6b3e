"""A model card: what a bundle is, what it learned from, why it is believed, and what it is not for."""

from cryptoquant.market.time import iso, timeframe_name
from cryptoquant.models.bundle import Bundle, strategy_to_dict
from cryptoquant.performance.evidence import Gate
from cryptoquant.performance.evidence_lines import evidence_lines


def model_card(bundle: Bundle) -> str:
    """Return the card as Markdown (after Mitchell et al. 2019, "Model Cards for Model Reporting")."""
    return "\n\n".join([_what(bundle), _learned(bundle), _traded(bundle), _believed(bundle), _limits(bundle)]) + "\n"


def _what(bundle: Bundle) -> str:
    chosen = "" if bundle.chosen is None else f" Signals of {', '.join(bundle.chosen)} only."
    kind = bundle.predictor.kind.replace("_", " ")
    learner = bundle.learner.get("name", type(bundle.predictor).__name__)
    return (
        f"# {bundle.name}\n\n{learner}: predicts the {kind} over "
        f"{timeframe_name(bundle.horizon)} for {', '.join(bundle.symbols)}, from bars of {bundle.timeframe}.{chosen}"
    )


def _learned(bundle: Bundle) -> str:
    until = f" Its last label was known at {iso(bundle.trained_until)}." if bundle.trained_until else ""
    window = f", windows of {bundle.predictor.window} rows" if bundle.predictor.window > 1 else ""
    lines = [f"## What it learned from\n\n{len(bundle.features.names)} features{window}.{until}\n"]
    lines += [f"- `{name}`" for name in bundle.features.names]
    params = ", ".join(f"{name} {value}" for name, value in bundle.learner.get("parameters", {}).items())
    return "\n".join(lines) + (f"\n\nParameters of the model: {params}." if params else "")


def _traded(bundle: Bundle) -> str:
    said = strategy_to_dict(bundle.strategy)
    params = ", ".join(f"{name} {value}" for name, value in said["parameters"].items())
    return f"## How it is traded\n\n`{said['name']}` ({params}); costs assumed: {bundle.costs!r}."


def _believed(bundle: Bundle) -> str:
    rows = [f"| {line.name} | {line.value} | {line.wanted} |" for line in evidence_lines(bundle.evidence)]
    return "## Why it is believed\n\n| evidence | found | wanted |\n|---|---|---|\n" + "\n".join(rows)


def _limits(bundle: Bundle) -> str:
    failures = Gate().check(bundle.evidence)
    gate = "; ".join(failures) if failures else "nothing"
    versions = ", ".join(f"{name} {version}" for name, version in bundle.libraries.items())
    prints = "\n".join(f"- {name}: `{digest}`" for name, digest in sorted(bundle.fingerprints.items()))
    return (
        f"## Limits\n\nFor paper trading and research. The default gate objects to: {gate}. It knows the markets above "
        f"and the time it learned from; what drifts is watched by the monitor.\n\n## Made of\n\n{versions}\n\n{prints}"
    )
