"""Which pairs a question means, and what to say when they are not stored."""

import difflib
from collections.abc import Sequence

from cryptoquant.errors import EmptyStoreError, UnknownSymbolError
from cryptoquant.market.instrument import normalize_symbol

Symbols = str | Sequence[str] | None


def chosen(where: str, kind: str, held: Sequence[str], symbols: Symbols) -> list[str]:
    """Return the symbols asked for in slash form, each once; all that are held when None is asked for.

    Raises
    ------
    EmptyStoreError
        Nothing of the kind is held.
    UnknownSymbolError
        One is not held; the message names the nearest that is.
    """
    if not held:
        raise EmptyStoreError(f"{where}: holds no {kind}")
    if symbols is None:
        return list(held)
    wanted = [normalize_symbol(name) for name in ([symbols] if isinstance(symbols, str) else symbols)]
    if not wanted:
        raise ValueError("symbols: found none, wanted at least one pair such as BTC/USD")
    for name in wanted:
        if name not in held:
            near = difflib.get_close_matches(name, held, n=1, cutoff=0.0)
            raise UnknownSymbolError(f"{where}: no {kind} of {name}; the nearest stored is {near[0]}")
    return list(dict.fromkeys(wanted))
