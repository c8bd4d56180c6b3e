"""Notebooks as files: where they lie, and what their cells say."""

from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def code_of(path):
    """The code of all cells, as one module."""
    return "\n\n".join(cell.source for cell in code_cells(path)) + "\n"
