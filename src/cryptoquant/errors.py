"""Everything that can go wrong by name, from a missing key to a halted trader.

The tree: ``CryptoquantError`` is the root. ``ConfigurationError`` (keys, settings, experiments), ``DataError`` (frames,
files, stores), ``VenueError`` (the exchange), ``LeakageError`` (a feature saw the future), ``ModelError`` (datasets,
bundles, the registry) and ``TradingError`` (journal, halts) hang below it. Each message names the thing, what was found
and what was wanted.
"""


class CryptoquantError(Exception):
    """The root of every error that this library raises on purpose."""


class ConfigurationError(CryptoquantError):
    """A setting, key or experiment file that cannot be used."""


class MissingExtraError(ConfigurationError):
    """An optional part was asked for whose packages are not installed."""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(f'{package} is not installed: pip install "cryptoquant[{extra}]"')


class DataError(CryptoquantError):
    """Market data that is absent, malformed or inconsistent."""


class SchemaError(DataError):
    """A frame at a room's door lacks a column, has a wrong type or holds impossible values."""


class ImportFileError(DataError):
    """A file to import is unreadable; the message names file, row and column."""


class StoreError(DataError):
    """The store cannot be read or written."""


class StoreLayoutError(StoreError):
    """The folder holds a store of another layout version, or no store of ours."""


class LogFullError(StoreError):
    """The disk is slower than the stream for so long that the log's memory is used up."""


class EmptyStoreError(StoreError):
    """The store holds no rows for what was asked."""


class UnknownSymbolError(DataError):
    """A symbol that the venue, the store or the instrument list does not know."""


class VenueError(CryptoquantError):
    """The venue answered with an error, or not at all."""


class VenueUnreachableError(VenueError):
    """No answer from the venue within the deadline."""


class RequestRefusedError(VenueError):
    """The venue refused what was asked for, and would refuse it again (HTTP 400, 404, 422 and the like)."""


class AuthenticationError(VenueError):
    """The venue refused the keys."""


class OrderRefusedError(VenueError):
    """The venue refused an order; carries its status, code and text."""

    def __init__(self, message: str, *, status: int | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class LeakageError(CryptoquantError):
    """A feature's past values changed when the future changed."""


class ModelError(CryptoquantError):
    """A dataset, split, model or bundle that cannot be used."""


class BundleError(ModelError):
    """A bundle is damaged, tampered with, or fed with features that are not its own."""


class RegistryError(ModelError):
    """The model registry cannot answer."""


class GateRefusedError(RegistryError):
    """The evidence does not pass the gate; ``reasons`` lists what failed."""

    def __init__(self, message: str, reasons: tuple[str, ...]) -> None:
        super().__init__(message)
        self.reasons = reasons


class TradingError(CryptoquantError):
    """Trading cannot go on."""


class JournalError(TradingError):
    """The journal is damaged, locked, or contradicts what it is asked to append."""


class HaltedError(TradingError):
    """The trader halted; the message gives the reason."""
