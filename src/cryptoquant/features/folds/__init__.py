"""What features compute over their last bars: means, moments, sums, extremes, lines, correlations, quantiles.

A fold takes a run of values and writes one number per row, NaN while there are fewer than ``window`` values. Its memory
is ``state[base:]``, zeros at the start, of as many floats as ``{fold}_size(window)`` says; ``seen`` is how many values
came before the run. However a series is cut into runs, the same bits come out. There are two families:

- Folds that read their window again: ``fold(state, base, window, values, at, rows, seen, ...)``, where ``at`` is the
  place of the run's first value in ``values``. Take one where the series is an input of the feature, and promise the
  window in the feature's ``history``. It must not write over what it reads.
- Folds that remember: ``fold(state, base, window, values, seen, ...)``, where ``values`` are those of the run alone.
  Take one where the step makes the series as it goes, in scratch space or in ``out``; only there does a second memory
  of the window pay. But for ``short_sums`` it may write over what it reads.

In both a window is the head of the present block of ``window`` values and the tail of the block before (van Herk 1992;
Gil, Werman 1993): constant cost, and nothing that leaves is ever subtracted, so nothing drifts. What cancels is taken
as deviations from the first value of the present block. Every window holds that value, so a spike that has left leaves
no trace. A fold that remembers keeps a value in the place of a tail that has been used.

================== ========= ========= ======= =========================================================================
fold               window    state     ns/bar  rounding at worst, w the window; the tests hold it on the worst of prices
================== ========= ========= ======= =========================================================================
``means``          again     w + 3     3       w of the window's reach
``weighted_means`` again     w + 4     5       2 w^2 of the mean, while a spike is at the far end
``exponential``    not read  1         3       one per bar, which fades; ``seeded`` is one bar of it for chains
``moments``        again     2 w + 5   5       4 (w + 1) of the squares
``lines``          again     3 w + 7   7       w^2 of the reach for the slope, while a spike is at the far end
``extreme``        again     w + 2     3       none
``places``         again     2 w + 4   7       none
``changes``        again     2 w + 4   4       w of the sum
``turns``          again     2         3       none: whole numbers
``sums``           remembers w + 2     2       w of the sum of absolute values: no anchor, so best for one sign
``short_sums``     remembers w + 2     2       the same; w additions per bar, for windows up to ``SHORT``
``peaks``          remembers w + 2     3       none
``spreads``        remembers 2 w + 5   5       4 (w + 1) of the squares
``powers``         remembers 4 w + 9   13      20 (w + 1) of the squares^1.5, 40 (w + 1) of the fourth powers
``products``       remembers 6 w + 14  17      8 (w + 1) of the root of both squares; pairs not finite are left out
``ordered``        remembers w         6 - 110 none; a bar costs the window up to ``NARROW``, then a search and a shift
``spans``          remembers 65 a sum  64 adds as ``sums``; a span of time for ticks, not of bars
================== ========= ========= ======= =========================================================================

``memory`` holds what they share. A new fold belongs into the file of what it computes, whichever family it is of.
"""
