"""Values in any spelling, as one: texts, whole numbers, numbers; a wrong one names its field."""

import math
import re
import unicodedata

from genonce.domain.errors import InvalidRequest

_INTEGER = re.compile(r"[+-]?\d{1,15}(?:\.0+)?")
_NUMBER = re.compile(r"[+-]?\d{1,9}(?:\.\d{1,9})?")
HUGE = 10**15
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def read_text(value: object, field: str) -> str:
    """Normal form of a text: NFC, line ends as \\n, outer white space cut."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{field} has to be a text.", field=field)
    if not value.isascii():
        if _SURROGATE.search(value):
            raise InvalidRequest(f"{field} holds half a character (a lone surrogate).", field=field)
        value = unicodedata.normalize("NFC", value)
    if "\r" in value:
        value = value.replace("\r\n", "\n").replace("\r", "\n")
    if not value.isprintable() and _UNPRINTABLE.search(value):
        raise InvalidRequest(f"{field} holds control characters; remove them.", field=field)
    return value.strip()


def read_integer(value: object, field: str, low: int, high: int) -> int | None:
    """A whole number from 512, 512.0, "512" or "512.0", within its bounds."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        number = int(value.strip().partition(".")[0])
    else:
        raise InvalidRequest(f"{field} has to be a whole number.", field=field)
    if not low <= number <= high:
        raise out_of_bounds(field, low, high)
    return number


def read_number(value: object, field: str) -> float:
    """A finite number from 7, 7.5 or "7.5"."""
    # An integer of hundreds of digits is no float.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < HUGE:
        return float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value.strip())
    raise InvalidRequest(f"{field} has to be a number.", field=field)


def out_of_bounds(field: str, low: float, high: float) -> InvalidRequest:
    """The refusal of a number outside its closed range."""
    shown = f"{low:g} to {high:g}" if high < 1e6 else f"{low} to {high}"
    return InvalidRequest(f"{field} has to be from {shown}.", field=field)
