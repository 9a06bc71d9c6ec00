"""What the stand-in of Together refuses, of itself and as asked by marks in a prompt."""

import json
import os
import re
from typing import Any

from aiohttp import web

from tests.standins.pictures import picture

FIELDS = {
    "model", "prompt", "n", "width", "height", "steps", "seed", "negative_prompt",
    "response_format", "output_format", "guidance_scale", "guidance",
}  # fmt: skip
RANGES = {"n": (1, 4), "width": (256, 1920), "height": (256, 1920), "steps": (1, 50)}
WORDS = {"response_format": ("url", "base64"), "output_format": ("jpeg", "png")}
MARK = re.compile(r"\[\[([\w-]+)(?:=([\w.]+))?((?:\s+[\w-]+=[^\s\]]+)*)\s*\]\]")
REFUSED = {"503", "529", "nsfw"}  # and every 4xx: before anything is bought


class Fault:
    """One mark of a prompt.

    Attributes:
        name, value: of ``[[name=value ...]]``; the value is "" where there is none.
        message: the refusal's words; an option, as ``times``. ``~`` in it is a blank.
        headers: all other options, with blanks in the same way.
        times: how many calls of the prompt it spoils.
        is_refusal: the call is refused before anything is bought.
    """

    def __init__(self, match: re.Match[str]) -> None:
        self.name, self.value = match[1], match[2] or ""
        options = dict(pair.split("=", 1) for pair in match[3].split())
        self.times = int(options.pop("times", 1 << 30))
        self.message = options.pop("message", f"Fault~{self.name}~as~asked").replace("~", " ")
        self.headers = {name: value.replace("~", " ") for name, value in options.items()}
        self.is_refusal = self.name in REFUSED or re.fullmatch(r"4\d\d", self.name) is not None

    def answer(self) -> web.Response:
        """The fault as an answer other than 200."""
        if self.name == "nsfw":
            return error(400, "NSFW content detected in the prompt", param="prompt")
        if self.name == "html":
            page = "<html>Bad gateway</html>"
            return web.Response(status=502, text=page, content_type="text/html")
        answer = error(int(self.name), self.message)
        answer.headers.update(self.headers)
        return answer


def marks(text: str) -> list[Fault]:
    """The marks of a prompt."""
    return [Fault(match) for match in MARK.finditer(text)]


def error(status: int, message: str, *, param: str | None = None) -> web.Response:
    """A refusal in the service's form."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"message": message, "type": kind, "param": param, "code": None}
    return web.json_response({"id": "req-1", "error": body}, status=status)


def refused(request: web.Request, body: Any) -> web.Response | None:
    """What the service refuses of itself in a request, if anything."""
    if not re.fullmatch(r"Bearer \S+", request.headers.get("Authorization", "")):
        return error(401, "Missing API key")
    if request.content_type != "application/json" or not isinstance(body, dict):
        return error(400, "The body has to be a JSON object")
    if wrong := _wrong_words(body) or _wrong_numbers(body):
        return error(400, f"{wrong} is missing or wrong", param=wrong)
    if body["model"].startswith("unknown/"):
        return error(404, "Unable to access model", param="model")
    return None


def _wrong_words(body: dict[str, Any]) -> str | None:
    if unknown := body.keys() - FIELDS:
        return min(unknown)
    for name in ("model", "prompt"):
        if not isinstance(body.get(name), str) or not body[name]:
            return name
    return next((n for n, words in WORDS.items() if body.get(n, words[0]) not in words), None)


def _wrong_numbers(body: dict[str, Any]) -> str | None:
    for name, (low, high) in RANGES.items():
        value = body.get(name, low)
        most = 4 if name == "steps" and body["model"].endswith("-Free") else high
        is_off = name in ("width", "height") and value % 8
        if type(value) is not int or not low <= value <= most or is_off:
            return name
    return None if type(body.get("seed", 0)) is int else "seed"


def cut(request: web.Request) -> web.StreamResponse:
    """Abort the connection."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def drawn(body: dict[str, Any], index: int) -> bytes:
    """A picture as asked: the same for the same parameters, seed and index."""
    is_delivery = ("n", "response_format")
    facts = {name: value for name, value in body.items() if name not in is_delivery}
    facts.setdefault("seed", os.urandom(8).hex())
    return picture(
        json.dumps([facts, index], sort_keys=True),
        width=body.get("width", 1024),
        height=body.get("height", 1024),
        media_type=body.get("output_format", "jpeg"),
    )
