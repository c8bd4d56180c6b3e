"""A store's place in S3 or another object store that fsspec knows: whole objects, listed, and created only once."""

import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

from cryptoquant.data.shelf import FOLDERS, Source
from cryptoquant.errors import ConfigurationError, MissingExtraError, StoreError

PACKAGES = {"s3": "s3fs", "s3a": "s3fs"}
MODIFIED = ("LastModified", "updated", "mtime", "created")
TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "At least one of the pre-conditions")


class ObjectShelf:
    """The objects under a URL; each is put whole or not at all, and is seen by everybody as soon as `put` has returned.

    Parameters
    ----------
    url
        For example ``s3://bucket/prefix``.
    storage
        What fsspec's file system of that kind takes: of S3 ``key``, ``secret``, ``endpoint_url`` and others. Without it
        the environment counts, as it does for the provider's own tools.

    Raises
    ------
    MissingExtraError
        The package for this kind of URL is not installed.
    ConfigurationError
        fsspec does not know this kind of URL, or refuses the options.
    """

    def __init__(self, url: str, storage: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        protocol = url.partition("://")[0]
        try:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingExtraError("s3", "fsspec") from error
        try:
            # Lists are never kept: what another writer has added is to be seen at once.
            self._system, root = url_to_fs(self.url, **{"use_listings_cache": False, **(storage or {})})
        except ImportError as error:
            if protocol in PACKAGES:
                raise MissingExtraError("s3", PACKAGES[protocol]) from error
            raise ConfigurationError(f"store {url}: {error}") from error
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"store {url}: {error}") from error
        self._root = str(root).rstrip("/")
        self._failures: tuple[type[Exception], ...] = (OSError,)
        if protocol in PACKAGES:
            from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

            self._failures = (OSError, BotoCoreError)

    def __repr__(self) -> str:
        return self.url

    def put(self, path: str, content: bytes) -> None:
        """Store an object; one that is there is replaced."""
        try:
            self._make_folder(path)
            self._system.pipe_file(self._full(path), content)
        except self._failures as error:
            raise StoreError(f"{self.url}/{path}: cannot be written: {error}") from error

    def create(self, path: str, content: bytes) -> bool:
        """Store an object unless there is one; of several who try at once, one is told True."""
        try:
            self._make_folder(path)
            self._system.pipe_file(self._full(path), content, mode="create")
        except FileExistsError:
            return False
        except self._failures as error:
            if any(word in str(error) for word in TAKEN):
                return False
            raise StoreError(f"{self.url}/{path}: cannot be written: {error}") from error
        return True

    def get(self, path: str) -> bytes:
        """Return the content of an object."""
        return self.fetch([path])[0]

    def fetch(self, paths: Sequence[str]) -> list[bytes]:
        """Return the contents of several objects, asked for at once where the store can be."""
        found = self._system.cat_ranges([self._full(path) for path in paths], None, None, on_error="return")
        for path, content in zip(paths, found, strict=True):
            if isinstance(content, FileNotFoundError):
                raise FileNotFoundError(f"{self.url}/{path}") from content
            if isinstance(content, Exception):
                raise StoreError(f"{self.url}/{path}: cannot be read: {content}") from content
        return [bytes(content) for content in found]

    def delete(self, path: str, *, unless_after: int | None = None) -> bool:
        """Remove an object, unless it was put after an instant (ns UTC); return whether it was there and had to go."""
        try:
            info = self._system.info(self._full(path))
            if unless_after is not None and modified(info) > unless_after:
                return False
            self._system.rm_file(self._full(path))
        except FileNotFoundError:
            return False
        except self._failures as error:
            raise StoreError(f"{self.url}/{path}: cannot be removed: {error}") from error
        return True

    def exists(self, path: str) -> bool:
        """Whether the object is there."""
        try:
            return bool(self._system.exists(self._full(path)))
        except self._failures as error:
            raise StoreError(f"{self.url}/{path}: cannot be asked for: {error}") from error

    def source(self, path: str) -> Source:
        """Return the content of an object for polars."""
        return io.BytesIO(self.get(path))

    def open(self, path: str) -> BinaryIO:
        """Return an object to read ranges from."""
        return cast(BinaryIO, self._system.open(self._full(path), "rb"))

    def names(self) -> list[str]:
        """Return the first parts of all paths."""
        return [name for name, _ in self.listing("")]

    def listing(self, folder: str, after: str = "") -> list[tuple[str, int]]:
        """Return the names in a folder that sort after a name, each with its modification time (ns UTC)."""
        place = f"{self._root}/{folder}".rstrip("/")
        try:
            if after and hasattr(self._system, "call_s3"):
                return self._listed_after(place, after)
            found = self._system.ls(place, detail=True)
        except FileNotFoundError:
            return []
        except self._failures as error:
            raise StoreError(f"{self.url}/{folder}: cannot be listed: {error}") from error
        named = [(str(info["name"]).rstrip("/").rpartition("/")[2], modified(info)) for info in found]
        return sorted((name, time) for name, time in named if name > after)

    def _listed_after(self, place: str, after: str) -> list[tuple[str, int]]:
        """Let S3 pass over the names that are known, so that a look costs one short answer."""
        bucket, _, prefix = place.partition("/")
        question = {"Bucket": bucket, "Prefix": f"{prefix}/", "StartAfter": f"{prefix}/{after}"}
        found: list[tuple[str, int]] = []
        while True:
            answer = self._system.call_s3("list_objects_v2", **question)
            found += [(item["Key"].rpartition("/")[2], modified(item)) for item in answer.get("Contents", ())]
            if not answer.get("IsTruncated"):
                return found
            question["ContinuationToken"] = answer["NextContinuationToken"]

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield the data files, each with its modification time (ns UTC)."""
        for folder in self.names():
            if folder.startswith(FOLDERS):
                found = self._system.find(f"{self._root}/{folder}", detail=True)
                for name, info in cast("dict[str, dict[str, Any]]", found).items():
                    if name.endswith(".parquet"):
                        yield name[name.index(f"{self._root}/") + len(self._root) + 1 :], modified(info)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _make_folder(self, path: str) -> None:
        """Make the folder where a system has such; in S3 it would try to make a bucket."""
        if not hasattr(self._system, "call_s3"):
            self._system.makedirs(self._full(path).rpartition("/")[0], exist_ok=True)


def modified(info: Mapping[str, Any]) -> int:
    """Return when an object was put (ns UTC), as fsspec's systems say it in their ways; 0 when they do not."""
    told = next((info[name] for name in MODIFIED if info.get(name) is not None), 0)
    if isinstance(told, str):
        told = datetime.fromisoformat(told)
    if isinstance(told, datetime):
        told = (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    return int(float(told) * 1e9)
