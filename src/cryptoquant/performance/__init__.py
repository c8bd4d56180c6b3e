"""What came of it: metrics with their formulas, significance, the trial ledger and the report."""
