"""What is bought and what proves it: slots, leases, stored images, receipts."""

import re
from typing import NewType

import msgspec

from genonce.domain.identity import SeriesId

ImageKey = NewType("ImageKey", str)

_KEY = re.compile(r"([0-9a-f]{32})-(0|[1-9][0-9]{0,2})-([0-9a-f]{32})\.(png|jpeg|webp)")

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


class KeyParts(msgspec.Struct, frozen=True):
    """What an image key says."""

    series: SeriesId
    index: int
    sha256: str
    """The first 32 digits."""
    format: str


def read_image_key(text: str) -> KeyParts | None:
    """The parts of an image key; None if the text is none."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    return KeyParts(SeriesId(match[1]), int(match[2]), match[3], match[4])


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A stored, checked picture: what a filled slot holds."""

    series: SeriesId
    index: int
    sha256: str
    format: str
    """png, jpeg or webp."""
    width: int
    height: int
    seed: int | None = None

    @property
    def key(self) -> ImageKey:
        """Name of the bytes in the store and in URLs; not guessable without the bytes."""
        return ImageKey(f"{self.series}-{self.index}-{self.sha256[:32]}.{self.format}")

    @property
    def parts(self) -> KeyParts:
        """What the key says."""
        return KeyParts(self.series, self.index, self.sha256[:32], self.format)


class Receipt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was bought, from whom, and the proof of it; stored beside the bytes as JSON."""

    version: int = 1
    image: Image
    request: msgspec.Raw
    """The canonical request without ``n``."""
    provider: str
    model: str
    provider_request_id: str | None = None
    cost_usd: float | None = None
    purchase: int
    """1 for the first purchase of this slot, counting failed and unknown ones."""
    unknown_before: int = 0
    """Purchases of this slot whose outcome was never learnt."""
    bytes: int
    asked_at: str
    """UTC, ISO 8601: when the provider was called."""
    stored_at: str


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """An empty slot that we may fill, and what is known of earlier tries."""

    index: int
    fence: int
    """Every write of the holder carries it; an older one is refused."""
    sent: bool = False
    """A former holder wrote its intent and never reported: the outcome is unknown."""
    purchases: int = 0
    failures: int = 0
    unknowns: int = 0


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that somebody else is filling, for at most ``for_s`` more seconds without a sign."""

    index: int
    for_s: float


Slot = Image | Lease | Held
