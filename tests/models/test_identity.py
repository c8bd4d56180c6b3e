"""Identities: what behaves differently is told apart, and nothing depends on the process."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from cryptoquant.models.identity import identity
from cryptoquant.models.objectives import SharpeAfterCosts, brier, log_loss


def limit(rows, top=1.0):
    return np.minimum(rows, top)


def closing(level):
    def over(judged, predicted):
        return level

    return over


class Called:
    def __init__(self, level):
        self.level = level

    def __call__(self, judged, predicted):
        return self.level

    def method(self):
        return self.level


def test_what_behaves_differently_is_told_apart():
    same = [
        (closing(0.5), closing(0.5)),
        (Called(1), Called(1)),
        (functools.partial(limit, top=2.0), functools.partial(limit, top=2.0)),
        (SharpeAfterCosts(0.5), SharpeAfterCosts(0.5)),
        (np.arange(3), np.arange(3)),
        (make_pipeline(FunctionTransformer(limit)), make_pipeline(FunctionTransformer(limit))),
    ]
    for one, other in same:
        assert identity(one) == identity(other)
    things = [
        log_loss,
        brier,
        lambda judged, predicted: 1.0,
        lambda judged, predicted: 2.0,
        lambda judged, predicted: [2 * x for x in (1, 2)],
        lambda judged, predicted: [2 * x for x in (1, 3)],
        closing(0.5),
        closing(0.9),
        Called(1),
        Called(2),
        Called(1).method,
        Called(2).method,
        limit,
        functools.partial(limit, top=2.0),
        functools.partial(limit, top=3.0),
        SharpeAfterCosts(0.5),
        SharpeAfterCosts(0.6),
        np.arange(3),
        np.arange(3).astype(np.int32),
        make_pipeline(FunctionTransformer(limit)),
        make_pipeline(FunctionTransformer(np.sqrt)),
        {"a": 1},
        [1, 2],
        None,
    ]
    told = [json.dumps(identity(thing), sort_keys=True) for thing in things]
    assert len(set(told)) == len(told)


def test_an_identity_is_the_same_in_every_process_and_holds_no_address():
    code = (
        "import json\n"
        "from tests.models.test_identity import Called, closing, limit\n"
        "from cryptoquant.models.identity import identity\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import FunctionTransformer\n"
        "things = [limit, closing(0.5), Called(object()), make_pipeline(FunctionTransformer(limit)), {1, 2}]\n"
        "print(json.dumps(identity(things), sort_keys=True))\n"
    )
    root = Path(__file__).parents[2]
    runs = [
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert " at 0x" not in runs[0]


def test_what_holds_itself_comes_to_an_end():
    loop: list = [1]
    loop.append(loop)
    assert identity(loop) == [1, "itself"]
