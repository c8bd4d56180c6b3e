"""Trading in the past, honestly: the simulator, sweeps, walk-forward studies, their evidence and the sandbox venue."""
