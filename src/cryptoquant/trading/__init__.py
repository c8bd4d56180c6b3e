"""What we do: orders, fills, books, venue rules, strategies, risk, matching and the engine. Nothing here does I/O."""
