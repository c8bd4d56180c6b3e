"""How sure one can be of a share of cases."""


def share_interval(found: int, cases: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a probability from how often it came true.

    Source: Clopper & Pearson (1934), "The Use of Confidence or Fiducial Limits", Biometrika 26(4).

    Raises
    ------
    ValueError
        There are no cases, or more were found than there are.

    Examples
    --------
    >>> low, high = share_interval(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.0362)
    """
    from scipy.stats import beta

    if not 0 <= found <= cases or cases < 1:
        raise ValueError(f"wanted from 0 to all of at least one case, found {found} of {cases}")
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if found == 0 else float(beta.ppf(tail, found, cases - found + 1))
    high = 1.0 if found == cases else float(beta.ppf(1.0 - tail, found + 1, cases - found))
    return low, high
