"""Keys by name, and what is encrypted with them: the store's files and the recorder's log.

A file is encrypted column by column in Parquet's own way (AES-GCM with a 256-bit key of its own, footer included), and
that key stands in the file wrapped with a key of the ring; the manifest tells the ring key's name. Whoever deletes a
key from all rings has deleted exactly what was encrypted with it. The manifest is not encrypted: it holds no rows, but
kinds, symbols, first and last times, counts and where rows came from.

When another key becomes the current one, `Store.compact` encrypts anew what lies in the store itself; files that
`Store.move` has put elsewhere keep their key, which they need for ever.
"""

import base64
import binascii
import hashlib
import hmac
import io
import json
import os
import re
import tomllib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cryptoquant.data.disk import TEMPORARY, LocalDisk
from cryptoquant.data.lock import only_writer
from cryptoquant.errors import ConfigurationError, StoreError
from cryptoquant.settings import settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")
KEY_BYTES = 32
NONCE_BYTES = 12
SALT_BYTES = 12
CURRENT = "current"


class KeyRing:
    """Keys by name, of which the current one encrypts what is written from now on; all of them decrypt.

    Parameters
    ----------
    keys
        Names (up to 32 letters, digits, ``.``, ``_`` and ``-``) to keys of 32 bytes, or these in base64.
    current
        The name of the key to write with; by default the last one; ``""`` to write without encryption.

    Raises
    ------
    ConfigurationError
        A name or a key cannot be used; the message never shows a key.

    Examples
    --------
    >>> ring = KeyRing({"2026": bytes(32)})
    >>> ring.current
    '2026'
    >>> ring
    KeyRing(names=('2026',), current='2026')
    """

    def __init__(self, keys: Mapping[str, bytes | str], current: str | None = None) -> None:
        self._keys = {_named(name): _decoded(name, key) for name, key in keys.items()}
        self.current = next(reversed(self._keys), "") if current is None else current and _named(current)
        if self.current and self.current not in self._keys:
            raise ConfigurationError(f"key {self.current}: is to be the current one but is not in the ring")
        self._ciphers: dict[str, AESGCM] = {}
        self._factory: Any = None

    def __repr__(self) -> str:
        return f"KeyRing(names={self.names!r}, current={self.current!r})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all keys."""
        return tuple(self._keys)

    @classmethod
    def load(cls, path: str | Path) -> "KeyRing":
        """Read a JSON or TOML file of names and keys in base64; an entry ``current`` names the key to write with.

        Raises
        ------
        ConfigurationError
            The file is absent or no such file, or others than its owner may read it (wanted mode 0600).
        """
        place = Path(path).expanduser()
        try:
            mode = place.stat().st_mode & 0o777
            content = place.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"keys {place}: cannot be read: {error}") from error
        if mode & 0o077:
            raise ConfigurationError(f"keys {place}: found mode {mode:04o}, wanted 0600: others may read the keys")
        try:
            keys = tomllib.loads(content) if place.suffix == ".toml" else json.loads(content)
        except ValueError as error:
            raise ConfigurationError(f"keys {place}: is neither JSON nor, by its name, TOML") from error
        if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
            raise ConfigurationError(f"keys {place}: wanted names and keys in base64")
        current = keys.pop(CURRENT, None)
        return cls(keys, current)

    @classmethod
    def create_key(cls, path: str | Path, name: str) -> "KeyRing":
        """Add a new random key to a JSON file, which is made if need be, as the current one; return all its keys.

        Only its owner may read the file, from its first byte on, and it is replaced as a whole or not at all. Programs
        that run do not know the key until they read the file again. Keep a copy: without the key nothing can be read.

        Raises
        ------
        ConfigurationError
            The file has a key of that name, is no such file, or cannot be written; it stays as it was.
        """
        place = Path(path).expanduser().resolve()
        if place.suffix == ".toml":
            raise ConfigurationError(f"keys {place}: new keys are written as JSON, wanted another name than .toml")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with only_writer(place.parent / f".{place.name}.lock"):
                ring = cls.load(place) if place.exists() else cls({})
                if name in ring.names:
                    raise ConfigurationError(f"keys {place}: holds a key {name} already; wanted a new name")
                made = cls({**ring._keys, name: os.urandom(KEY_BYTES)})
                told = {known: base64.b64encode(key).decode() for known, key in made._keys.items()}
                _replace(place, json.dumps({CURRENT: name, **told}, indent=2).encode())
        except OSError as error:
            raise ConfigurationError(f"keys {place}: cannot be written: {error.strerror}") from error
        return made

    def key(self, name: str, what: str) -> bytes:
        """Return a key; raise StoreError that says what cannot be read without it."""
        if name not in self._keys:
            raise StoreError(f"{what}: is encrypted with key {name}, which is not here; found {_told(self.names)}")
        return self._keys[name]

    def properties(self) -> Any:
        """Return what pyarrow needs to write one file with the current key."""
        import pyarrow.parquet.encryption as pe

        config = pe.EncryptionConfiguration(
            footer_key=self.current,
            uniform_encryption=True,
            encryption_algorithm="AES_GCM_V1",
            plaintext_footer=False,
            double_wrapping=False,
            data_key_length_bits=8 * KEY_BYTES,
        )
        return self._wrapping().file_encryption_properties(pe.KmsConnectionConfig(), config)

    def decryption(self) -> Any:
        """Return what pyarrow needs to read one file."""
        import pyarrow.parquet.encryption as pe

        return self._wrapping().file_decryption_properties(pe.KmsConnectionConfig(), pe.DecryptionConfiguration())

    def digest(self, rows: pl.DataFrame, salt: str) -> str:
        """Return a name for rows, the same for the same rows, that tells nothing without the current key."""
        buffer = io.BytesIO()
        rows.rechunk().write_ipc(buffer, compression="uncompressed")
        key = hmac.digest(self._keys[self.current], b"file name", "sha256")
        return hmac.new(key, salt.encode() + hashlib.sha256(buffer.getbuffer()).digest(), "sha256").hexdigest()

    def seal(self, name: str, content: bytes, bound: bytes) -> bytes:
        """Encrypt a few bytes with a key, bound to others that are told but not kept."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher(name).encrypt(nonce, content, bound)

    def unseal(self, name: str, content: bytes, bound: bytes) -> bytes:
        """Decrypt what `seal` gave; raise StoreError when it is not that."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher(name).decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise StoreError(f"a key wrapped with key {name}: is damaged, or key {name} is another one here") from error

    def _cipher(self, name: str) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if name not in self._ciphers:
            wrapping = hmac.digest(self.key(name, "a file"), b"file key", "sha256")
            self._ciphers[name] = AESGCM(wrapping)
        return self._ciphers[name]

    def _wrapping(self) -> Any:
        """Return pyarrow's factory of keys, which asks this ring to wrap and unwrap them."""
        if self._factory is None:
            import pyarrow.parquet.encryption as pe

            ring = self

            class Wrapping(pe.KmsClient):  # type: ignore[misc]
                """Wraps the keys of files with those of the ring."""

                def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
                    return base64.b64encode(ring.seal(master_key_identifier, key_bytes, b"parquet"))

                def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
                    try:
                        wrapped = base64.b64decode(wrapped_key, validate=True)
                    except binascii.Error as error:
                        raise StoreError(f"a key wrapped with key {master_key_identifier}: is damaged") from error
                    return ring.unseal(master_key_identifier, wrapped, b"parquet")

            self._factory = pe.CryptoFactory(lambda _: Wrapping())
        return self._factory


class LogCipher:
    """Encrypts the records of a log with the current key of a ring, and decrypts them with the key of their segment.

    A sealed record is a salt of 12 random bytes, the encrypted payload and a tag of 16 bytes. Each salt stands for an
    AES-256 key of its own, made of the ring's key (HMAC-SHA-256), and the nonce is the record's sequence, to which the
    record is thereby bound. A salt is drawn anew for each process and whenever a sequence does not rise, so that no
    nonce is used twice with a key, also when a crash lets a sequence be used again.

    Parameters
    ----------
    name
        The key; by default the ring's current one.

    Raises
    ------
    ConfigurationError
        The ring has no current key.
    """

    def __init__(self, ring: KeyRing, name: str | None = None) -> None:
        self._ring, self.name = ring, ring.current if name is None else name
        if not self.name:
            raise ConfigurationError("a log cannot be encrypted: the ring has no current key")
        self.key_id = self.name.encode()
        self._salt, self._last, self._process = b"", 0, 0
        self._sealing: AESGCM | None = None
        self._opening: tuple[bytes, AESGCM] | None = None

    def seal(self, sequence: int, payload: bytes) -> bytes:
        """Encrypt the payload of a record."""
        if self._sealing is None or sequence <= self._last or self._process != os.getpid():
            self._salt, self._process = os.urandom(SALT_BYTES), os.getpid()
            self._sealing = self._derived(self._salt)
        self._last = sequence
        return self._salt + self._sealing.encrypt(_nonce(sequence), payload, self.key_id)

    def open(self, sequence: int, payload: bytes) -> bytes:
        """Decrypt the payload of a record; StoreError when it is not what was sealed under its sequence."""
        from cryptography.exceptions import InvalidTag

        salt, sealed = payload[:SALT_BYTES], payload[SALT_BYTES:]
        if self._opening is None or self._opening[0] != salt:
            self._opening = (salt, self._derived(salt))
        try:
            return self._opening[1].decrypt(_nonce(sequence), sealed, self.key_id)
        except (InvalidTag, ValueError) as error:
            raise StoreError(
                f"record {sequence} of the log: is damaged, or key {self.name} is another one here"
            ) from error

    def under(self, key_id: bytes) -> "LogCipher | None":
        """Return what opens segments that were written with another key; None when that key is not here."""
        name = key_id.decode(errors="replace")
        return LogCipher(self._ring, name) if name in self._ring.names else None

    def _derived(self, salt: bytes) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(hmac.digest(self._ring.key(self.name, "the log"), b"log" + salt, "sha256"))


def sealing(ring: KeyRing | None) -> LogCipher | None:
    """Return what a recorder encrypts its log with; None without a current key."""
    return LogCipher(ring) if ring is not None and ring.current else None


def opening(ring: KeyRing | None) -> LogCipher | None:
    """Return what reads a log whatever key each segment was written with; None without keys."""
    return LogCipher(ring, ring.current or ring.names[-1]) if ring is not None and ring.names else None


def known_keys() -> KeyRing | None:
    """Return the keys of the file that the settings name; None when they name none. Errors as `KeyRing.load`."""
    path = settings().keys
    return KeyRing.load(path) if path else None


def _nonce(sequence: int) -> bytes:
    return sequence.to_bytes(NONCE_BYTES, "big")


def _named(name: str) -> str:
    if not NAME.fullmatch(name) or name == CURRENT:
        raise ConfigurationError(
            f"the name of a key, of {len(name)} characters: wanted up to 32 letters, digits, '.', '_' and '-', and not"
            f" {CURRENT!r}"
        )
    return name


def _replace(place: Path, content: bytes) -> None:
    """Put a file that only its owner may read in the place of another, durably."""
    temporary = place.with_name(f".{uuid.uuid4().hex}{TEMPORARY}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
    LocalDisk(place.parent).sync_folder("")


def _decoded(name: str, key: bytes | str) -> bytes:
    try:
        octets = base64.b64decode(key, validate=True) if isinstance(key, str) else bytes(key)
    except (binascii.Error, ValueError) as error:
        raise ConfigurationError(f"key {name}: is not base64") from error
    if len(octets) != KEY_BYTES:
        raise ConfigurationError(f"key {name}: found {len(octets)} bytes, wanted {KEY_BYTES}")
    return octets


def _told(names: tuple[str, ...]) -> str:
    return f"key {', '.join(names)}" if names else "no key"
