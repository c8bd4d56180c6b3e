"""A study on a Ray cluster of two nodes, equal to the study in one process.

Run with ``python examples/cluster.py``; needs ``cryptoquant[ray]``. Ray runs what anyone on the network sends it, so
this example lives in a network of its own that holds nothing but the loopback (``unshare``, Linux); a real cluster
belongs behind a firewall.
"""

import logging
import os
import subprocess
import sys
from datetime import timedelta

import cryptoquant as cq
from cryptoquant import features as f

DAY = timedelta(days=1)


def study(jobs: int) -> cq.Study:
    bars = cq.SyntheticMarket(seed=7, symbols=["BTC/USD"], days=200, timeframe="1h", edge=0.2).bars()
    features = cq.FeatureSet([f.log_return(24), f.zscore("volume", 96), f.rsi(14), f.ema(48, relative=True)])
    return cq.walk_forward(
        cq.Dataset.build(bars, features, f.triple_barrier(2.0, 2.0, DAY)),
        cq.models.XGBoost(n_estimators=60, seed=7),
        cq.strategy.LongFlat(0.54),
        cq.WalkForward(60 * DAY, 20 * DAY, DAY),
        cq.Costs.alpaca(),
        cq.Tune(trials=5, space={"max_depth": (2, 5)}, storage="memory"),
        ledger=cq.TrialLedger(),
        jobs=jobs,
    )


def on_a_cluster() -> cq.Study:
    import joblib
    import ray
    from ray.cluster_utils import Cluster
    from ray.util.joblib import register_ray

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    register_ray()  # type: ignore[no-untyped-call]
    try:
        print("nodes:", sum(node["Alive"] for node in ray.nodes()))  # type: ignore[no-untyped-call]
        with joblib.parallel_config(backend="ray"):
            return study(jobs=2)
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    if "ALONE" not in os.environ:
        here = f"ip link set lo up && exec {sys.executable} {sys.argv[0]}"
        sys.exit(subprocess.call(["unshare", "-rn", "sh", "-c", here], env={**os.environ, "ALONE": "yes"}))
    alone, together = study(jobs=1), on_a_cluster()
    same = alone.signals.equals(together.signals) and alone.report.equity.equals(together.report.equity)
    print(together)
    print("the same as in one process:", same and repr(alone.evidence) == repr(together.evidence))
