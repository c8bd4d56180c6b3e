"""What the market said: trades, quotes, bars, books, slices and signals, with the time at which each was known."""
