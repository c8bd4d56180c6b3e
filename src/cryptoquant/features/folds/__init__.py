"""What features compute over their last bars: means, moments, sums, extremes, lines, correlations, quantiles.

A fold takes a run of values and writes one number per row, NaN while there are fewer than ``window`` values. Its memory
is ``state[base:]``, zeros at the start, of as many floats as ``{fold}_size(window)`` says; ``seen`` is how many values
came before the run. However a series is cut into runs, the same bits come out. There are two families:

- Folds that read their window again: ``fold(state, base, window, values, at, rows, seen, ...)``, where ``at`` is the
  place of the run's first value in ``values``. Take one where the series is an input of the feature, and promise it in
  the feature's ``history``. It must not write over what it reads.
- Folds that remember: ``fold(state, base, window, values, seen, ...)``, where ``values`` are those of the run alone.
  Take one where the step makes the series as it goes, in scratch space or in ``out``. It may write over what it reads.

In both a window is the head of the present block of ``window`` values and the tail of the block before (van Herk 1992;
Gil, Werman 1993): constant cost, and nothing that leaves is ever subtracted, so nothing drifts. Moments are those of
deviations from the first value of the present block. Every window holds that value, so a spike that has left leaves no
trace, and cancellation costs no more than the factors below. A fold that remembers keeps each value in the place of a
tail that has been used.

======================= ========= ============= ======= ================================================================
fold                    reads     state         ns, bar accuracy, in units of rounding; w = window
======================= ========= ============= ======= ================================================================
means                   again     w + 3         1       w of the window's reach
weighted_means          again     w + 4         2       2 w^2 of the largest value
exponential             nothing   1             1       what fades; TA-Lib's seed
seeded                  nothing   1             1       the same, bar by bar, for averages of averages
moments                 again     2 w + 5       3       4 (w + 1) of the squares
lines                   again     3 w + 7       4       w^2 of the reach at worst, a spike at the far end
extreme                 again     w + 2         1       exact
places                  again     2 w + 4       2       exact
changes                 again     2 w + 4       3       w
turns                   again     2             1       exact
sums                    remembers w + 2         1       w; values of one sign, since there is no anchor
short_sums              remembers w + 2         1       the same, for windows up to ``SHORT``; not in place
peaks                   remembers w + 2         1       exact
spreads                 remembers 2 w + 5       3       4 (w + 1) of the squares
powers                  remembers 4 w + 9       6       20 (w + 1) for the cubes, 40 (w + 1) for the fourths
products                remembers 6 w + 14      15      8 (w + 1) of the root of both squares
ordered (insert, ...)   remembers w             15 to   exact; a bar costs the window up to ``NARROW``, then a search
                                                80      and a shift
spans                   remembers 65 a column   100     w; spans of time, not of bars; each sum adds up ``PIECES``
======================= ========= ============= ======= ================================================================

``memory`` has what the folds share. A new fold belongs beside those that compute the same of the other family.
"""
