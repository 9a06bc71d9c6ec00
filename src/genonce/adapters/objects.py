"""Named objects in a directory, a bucket or memory (obstore): create-if-absent, replace-if-same."""

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store

from genonce.domain.errors import ImagesUnavailable
from genonce.domain.ports import StoredBytes

if TYPE_CHECKING:
    # obstore has these names for type checkers only.
    from obstore import GetOptions, PutMode, UpdateVersion

CACHE_CONTROL = "max-age=31536000, immutable"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
OPERATOR_S = 30.0
"""Seconds until a try makes sense where somebody has to act first."""
# obstore tells these apart in its text only; a missing bucket is a 404 as any missing object is.
OS_ERROR = re.compile(r"\(os error (\d+)\)")
PAST_END = re.compile(r"\brange\b", re.IGNORECASE)
NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound")

Store = S3Store | GCSStore | AzureStore | LocalStore | MemoryStore


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it was read, and the version that a replacement has to meet."""

    data: bytes
    version: "UpdateVersion"


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects by path; every method blocks, and raises StoreUnavailable if the store is away.

    Blocking, because obstore's awaitables abort one process in four that ends soon after one: its
    threads then enter an interpreter that is gone. They also cost more than a thread of our own.
    Source: https://github.com/lancedb/lancedb/pull/4175 (the same fault, told there in full)

    Writes are whole or not at all. What was created or replaced, and what was put into the same
    folder before it, outlasts a power loss.
    """

    store: Store

    def get(self, path: str) -> Found | None:
        """The whole object; None if there is none."""
        with suppress(FileNotFoundError), _translated():
            result = obstore.get(self.store, path)
            # obstore gives None in these, and refuses to take it back.
            version: UpdateVersion = {}
            if result.meta["e_tag"] is not None:
                version["e_tag"] = result.meta["e_tag"]
            if result.meta["version"] is not None:
                version["version"] = result.meta["version"]
            return Found(data=bytes(result.bytes()), version=version)
        return None

    def read(self, path: str, *, start: int, end: int | None) -> StoredBytes | None:
        """The part of an object in a range that is not empty; None if there is no object."""
        # An end past the object is cut by every store; a start past it is an error.
        reach: GetOptions = {"range": {"offset": start} if end is None else (start, end)}
        with suppress(FileNotFoundError), _translated():
            try:
                result = obstore.get(self.store, path, options=reach)
            except GenericError as error:
                total = obstore.head(self.store, path)["size"] if PAST_END.search(str(error)) else 0
                if total == 0 or start < total:
                    raise
                return StoredBytes(data=b"", start=start, total=total)
            data = bytes(result.bytes())
            return StoredBytes(data=data, start=start, total=result.meta["size"])
        return None

    def size(self, path: str) -> int | None:
        """Bytes of an object; None if there is none."""
        with suppress(FileNotFoundError), _translated():
            return obstore.head(self.store, path)["size"]
        return None

    def check_room(self, size: int) -> None:
        """Raise ImagesUnavailable where so many bytes do not fit; a bucket has room for all."""
        if isinstance(self.store, LocalStore):
            with _translated():
                disk = os.statvfs(str(self.store.prefix))
                if disk.f_bavail * disk.f_frsize < size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def paths(self, folder: str) -> list[str]:
        """Paths of the objects straight in a folder."""
        with _translated():
            listed = obstore.list_with_delimiter(self.store, folder)
        return [entry["path"] for entry in listed["objects"]]

    def put(self, path: str, data: bytes, *, media_type: str) -> None:
        """Write an object, whether or not there is one."""
        with _translated(missing=False):
            self._write(path, data, mode="overwrite", media_type=media_type)

    def create(self, path: str, data: bytes, *, media_type: str) -> bool:
        """Write an object unless there is one; False if there is."""
        with suppress(AlreadyExistsError), _translated(missing=False):
            self._write(path, data, mode="create", media_type=media_type)
            return True
        return False

    def replace(self, path: str, data: bytes, *, stale: Found, media_type: str) -> bool:
        """Write an object over the one that was read; False if it has changed since."""
        with suppress(FileNotFoundError, PreconditionError), _translated():
            if isinstance(self.store, LocalStore):
                return _replace_file(self.store, path, data, stale=stale.data)
            self._write(path, data, mode=stale.version, media_type=media_type)
            return True
        return False

    def remove(self, path: str) -> None:
        """Remove an object, if there is one."""
        with suppress(FileNotFoundError), _translated():
            obstore.delete(self.store, path)

    def _write(self, path: str, data: bytes, *, mode: "PutMode", media_type: str) -> None:
        if isinstance(self.store, LocalStore):
            _write_file(self.store, path, data, mode=mode)
            return
        obstore.put(
            self.store,
            path,
            data,
            mode=mode,
            attributes={"Content-Type": media_type, "Cache-Control": CACHE_CONTROL},
            # Parts of an upload that a crash cut short would stay in the bucket, unseen and paid.
            use_multipart=False,
        )


def _write_file(store: LocalStore, path: str, data: bytes, *, mode: "PutMode") -> None:
    """Write a file and sync it, which obstore never does; a name created is synced with it.

    The sync of a folder's last name covers those before it. New folders above need none of their
    own: file systems with a journal commit them together with what is in them.

    Source: https://github.com/apache/arrow-rs-object-store/pull/643
    """
    obstore.put(store, path, data, mode=mode, use_multipart=False)
    _sync(f"{store.prefix}/{path}")
    if mode == "create":
        _sync(f"{store.prefix}/{path.rpartition('/')[0]}")


def _sync(name: str) -> None:
    # Whoever removed the file in the meantime wants nothing of it to last.
    with suppress(FileNotFoundError):
        descriptor = os.open(name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace_file(store: LocalStore, path: str, data: bytes, *, stale: bytes) -> bool:
    """Replace a file that still holds ``stale``; obstore has no conditional write for files.

    The lock is among replacers: whoever creates finds the file there, and leaves it.
    """
    place = Path(f"{store.prefix}/{path}")
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if place.read_bytes() != stale:
            return False
        _write_file(store, path, data, mode="overwrite")
        os.fsync(folder)
        return True
    finally:
        os.close(folder)


@contextmanager
def _translated(*, missing: bool = True) -> Iterator[None]:
    """Turn obstore's failures into ImagesUnavailable; those that are answers pass.

    Args:
        missing: a missing object is an answer.
    """
    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise
    except (BaseError, OSError, NotImplementedError) as error:
        gone = isinstance(error, FileNotFoundError) and not NO_BUCKET.search(str(error))
        if gone and missing:
            raise
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> ImagesUnavailable:
    text = str(error)
    if _os_error(error, text) in FULL:
        return ImagesUnavailable(
            "The image store is full: make room behind IMAGE_STORE_URL.", retry_after_s=OPERATOR_S
        )
    if (
        isinstance(error, PermissionDeniedError | UnauthenticatedError)
        or _os_error(error, text) in DENIED
    ):
        return ImagesUnavailable(
            "The image store refuses: check the credentials and rights behind IMAGE_STORE_URL.",
            retry_after_s=OPERATOR_S,
        )
    if isinstance(error, FileNotFoundError) or NO_BUCKET.search(text):
        return ImagesUnavailable(
            "The image store is not there: check IMAGE_STORE_URL.", retry_after_s=OPERATOR_S
        )
    return ImagesUnavailable("The image store does not answer: check IMAGE_STORE_URL.")


def _os_error(error: Exception, text: str) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = OS_ERROR.search(text)
    return int(found[1]) if found else None
