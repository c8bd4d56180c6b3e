"""What a study leaves in the registry besides its bundle: what an MLflow user expects to see of a run."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptoquant.errors import RegistryError
from cryptoquant.performance.trials import strict_json
from cryptoquant.settings import settings

CONTENT = "run.json"
FILES = "artifacts"
SUBMITTED = "submitted.txt"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Parameters, numbers and files of one run.

    Attributes
    ----------
    params
        By name.
    metrics
        Numbers by name; one that is not finite is left out.
    series
        Numbers by name, one for each step (fold).
    data
        Digests by the name of the dataset.
    files
        Pages and pictures by their place among the run's artifacts, for example ``plots/equity.svg``.
    """

    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    series: Mapping[str, list[float]] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the record: ``run.json`` and its files under ``artifacts``."""
        for place, text in self.files.items():
            path = folder / FILES / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        content = {"params": self.params, "metrics": self.metrics, "series": self.series, "data": self.data}
        text = json.dumps(strict_json(content), indent=1, sort_keys=True, default=str, allow_nan=False)
        (folder / CONTENT).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "RunRecord":
        """Read what ``save`` wrote; raises RegistryError where it cannot be read."""
        try:
            content = json.loads((folder / CONTENT).read_text(encoding="utf-8"))
            root = folder / FILES
            files = {
                path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
                for path in sorted(root.rglob("*"))
                if path.is_file()
            }
            return cls(files=files, **content)
        except (OSError, ValueError, TypeError) as error:
            raise RegistryError(f"{folder}: no readable {CONTENT}: {error}") from error


def keep(folder: Path) -> str:
    """Move a folder to where what could not be registered is kept, under a name that is free; say where that is."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    for home in (Path(settings().unregistered), Path(tempfile.gettempdir())):
        try:
            home.mkdir(parents=True, exist_ok=True)
            kept = shutil.move(folder, home / f"{folder.name}-{stamp}")
        except OSError:
            continue
        return f"all of it is kept in {kept}, submit() hands it in"
    return "and there is no place to keep it"
