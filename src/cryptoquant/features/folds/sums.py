"""Sums over the last values, and how far and how often a series has risen and fallen from value to value."""

from cryptoquant.compiled import borrowing
from cryptoquant.features.folds.memory import blank, keep
from cryptoquant.market.slice import Floats

SHORT = 8


def sums_size(window: int) -> int:
    """Return the state that ``sums`` and ``short_sums`` need, in floats."""
    return window + 2


def changes_size(window: int) -> int:
    """Return the state that ``changes`` needs, in floats."""
    return 2 * window + 4


@borrowing
def sums(state: Floats, base: int, window: int, values: Floats, seen: int, out: Floats) -> None:
    """Write the sum of the last ``window`` numbers of one sign: nothing cancels, so nothing is taken off them."""
    tails = state[base + 1 : base + 2 + window]
    rows = len(values)
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            state[base] = 0.0
            total = 0.0
            for place in range(window - 1, 0, -1):
                total += tails[place]
                tails[place] = total
        head = state[base]
        count = min(window - position, rows - done)
        fresh = values[done : done + count]
        kept = tails[position : position + count]
        tail = tails[position + 1 : position + 1 + count]
        found = out[done : done + count]
        for row in range(count):
            value = fresh[row]
            head += value
            found[row] = head + tail[row]
            kept[row] = value
        state[base] = head
        done += count
        position = position + count if position + count < window else 0
    blank(out[:rows], window - 1 - seen)


@borrowing
def short_sums(state: Floats, base: int, window: int, values: Floats, seen: int, out: Floats) -> None:
    """As ``sums``, age after age: for a window of up to ``SHORT`` values less than the blocks cost.

    ``out`` must not be ``values``.
    """
    rows = len(values)
    tail = state[base : base + window - 1]
    for row in range(rows):
        out[row] = values[row]
    for age in range(1, window):
        early = min(age, rows)
        old, young, found = tail[window - 1 - age :], values[: rows - early], out[early:rows]
        for row in range(early):
            out[row] += old[row]
        for row in range(rows - early):
            found[row] += young[row]
    keep(tail, values)
    blank(out[:rows], window - 1 - seen)


@borrowing
def changes(
    state: Floats, base: int, window: int, values: Floats, at: int, rows: int, seen: int, rises: Floats, falls: Floats
) -> None:
    """Write the sums of the last ``window`` rises and falls from value to value; reads ``window + 1`` values again."""
    rise_tails = state[base + 2 : base + 3 + window]
    fall_tails = state[base + 3 + window : base + 4 + 2 * window]
    position = seen % window
    done = 0
    while done < rows:
        if position == 0:
            state[base] = 0.0
            state[base + 1] = 0.0
            if seen + done >= window:
                old = values[at + done - window : at + done]
                older = values[at + done - window - 1 : at + done]
                rise = 0.0
                fall = 0.0
                for place in range(window - 1, 0, -1):
                    change = old[place] - older[place]
                    rise += change if change > 0.0 else 0.0
                    fall -= change if change < 0.0 else 0.0
                    rise_tails[place] = rise
                    fall_tails[place] = fall
        rise = state[base]
        fall = state[base + 1]
        count = min(window - position, rows - done)
        present = values[at + done : at + done + count]
        before = values[at + done - 1 : at + done + count]
        rise_tail = rise_tails[position + 1 : position + 1 + count]
        fall_tail = fall_tails[position + 1 : position + 1 + count]
        found_rises = rises[done : done + count]
        found_falls = falls[done : done + count]
        for row in range(count):
            change = present[row] - before[row]
            rise += change if change > 0.0 else 0.0
            fall -= change if change < 0.0 else 0.0
            found_rises[row] = rise + rise_tail[row]
            found_falls[row] = fall + fall_tail[row]
        state[base] = rise
        state[base + 1] = fall
        done += count
        position = position + count if position + count < window else 0
    blank(rises[:rows], window - 1 - seen)
    blank(falls[:rows], window - 1 - seen)


@borrowing
def turns(
    state: Floats, base: int, window: int, values: Floats, at: int, rows: int, seen: int, rises: Floats, falls: Floats
) -> None:
    """Write how many of the last ``window`` changes were rises and how many falls; reads ``window + 1`` values again.

    Whole numbers are exact, so what leaves the window may be subtracted. State: 2 floats.
    """
    rising, falling = state[base], state[base + 1]
    present = values[at : at + rows]
    before = values[at - 1 : at - 1 + rows]
    early = min(max(window - seen, 0), rows)
    for row in range(early):
        rising += 1.0 if present[row] > before[row] else 0.0
        falling += 1.0 if present[row] < before[row] else 0.0
        rises[row] = rising
        falls[row] = falling
    if early < rows:
        old = values[at + early - window : at + rows - window]
        older = values[at + early - window - 1 : at + rows - window - 1]
        new, newer = before[early:], present[early:]
        found_rises, found_falls = rises[early:rows], falls[early:rows]
        for row in range(rows - early):
            come = 1.0 if newer[row] > new[row] else 0.0
            gone = 1.0 if old[row] > older[row] else 0.0
            rising += come - gone
            come = 1.0 if newer[row] < new[row] else 0.0
            gone = 1.0 if old[row] < older[row] else 0.0
            falling += come - gone
            found_rises[row] = rising
            found_falls[row] = falling
    state[base], state[base + 1] = rising, falling
    blank(rises[:rows], window - 1 - seen)
    blank(falls[:rows], window - 1 - seen)
