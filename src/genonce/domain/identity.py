"""Fingerprints: series id, task id, the seed of one image."""

import hashlib
from typing import NewType

import msgspec

SeriesId = NewType("SeriesId", str)
TaskId = NewType("TaskId", str)

SEED_END = 2**31


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of one request.

    Attributes:
        series: MD5 of the canonical bytes without ``n``; 32 lower-case hex digits.
        task: MD5 of the canonical bytes with ``n``.
        digest: SHA-256 of the bytes that ``task`` is the MD5 of; tells an MD5 collision.
        canonical: the bytes without ``n``.
        n: images asked for.
    """

    series: SeriesId
    task: TaskId
    digest: str
    canonical: bytes
    n: int


def identify(canonical: bytes, *, n: int) -> Identity:
    """Return the ids of a canonical request.

    Args:
        canonical: a JSON object with sorted keys and without ``n``.
        n: images asked for.

    Source: docs/decisions/0002-identity.md
    """
    # "n" goes in front of the sorted rest: one encoding serves both fingerprints.
    with_n = b'{"n":%d,' % n + canonical[1:]
    return Identity(
        series=SeriesId(hashlib.md5(canonical, usedforsecurity=False).hexdigest()),
        task=TaskId(hashlib.md5(with_n, usedforsecurity=False).hexdigest()),
        digest=hashlib.sha256(with_n).hexdigest(),
        canonical=canonical,
        n=n,
    )


def image_seed(series: SeriesId, index: int, *, asked: int | None = None) -> int:
    """Return the seed of one image, the same on every run.

    Args:
        series: 32 lower-case hex digits.
        index: 0-based slot.
        asked: the request's own seed; slot 0 gets it as it is, slot i gets it plus i.

    Returns:
        Integer in [0, 2**31).

    Raises:
        ValueError: ``index`` is negative.

    Source: docs/decisions/0004-image-seeds.md
    """
    if index < 0:
        raise ValueError("index is negative")
    if asked is not None:
        return (asked + index) % SEED_END
    digest = hashlib.sha256(f"{series}:{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % SEED_END
