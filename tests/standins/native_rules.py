"""What the stand-in of the native surface accepts, answers and breaks."""

import asyncio
import hashlib
import json
from typing import Any

from aiohttp import web

Json = dict[str, Any]
FIELDS = frozenset(
    {"prompt", "model", "negativePrompt", "width", "height", "size", "steps", "guidance", "seed"}
    | {"sampler", "scheduler", "quality", "style", "format", "variation", "n"}
)


class Fault:
    """What happens to one request instead of, or after, what it asked for."""

    def __init__(
        self,
        status: int = 0,
        *,
        code: str = "",
        ms: int | None = None,
        headers: dict[str, str] | None = None,
        body: str | None = None,
        accept: bool = False,
    ) -> None:
        self.status = status
        """0: the line is cut."""
        self.accept = accept
        """Do what was asked for, and then cut the line."""
        self.headers = headers or {}
        error = {"message": f"Fault {status}.", "code": code, "future": 1}
        self.body = body or json.dumps(
            {
                "success": False,
                "error": error if ms is None else error | {"retryAfterMs": ms},
            }
        )


class Task:
    """A task and the log of its events."""

    def __init__(self, task_id: str, series: str, body: Json, n: int) -> None:
        self.id, self.series, self.body, self.n = task_id, series, body, n
        self.status = "pending"
        self.log: list[Json] = []
        self.news = asyncio.Event()

    @property
    def over(self) -> bool:
        return self.status in {"completed", "failed", "cancelled"}


def problem_of(body: Json) -> tuple[str, str] | None:
    """The wrong field and what is wrong."""
    if unknown := body.keys() - FIELDS:
        name = sorted(unknown)[0]
        return name, f"{name} is not a field of a request."
    if not str(body.get("prompt", "")).strip():
        return "prompt", "prompt is missing: say what the picture shows."
    if not 1 <= int(body.get("n", 1)) <= 10:
        return "n", "n has to be from 1 to 10."
    return None


def ids_of(body: Json) -> tuple[str, str, int]:
    """Series, task and ``n`` of a request."""
    n = int(body.get("n", 1))
    series = json.dumps({k: v for k, v in body.items() if k != "n"}, sort_keys=True).encode()
    return hashlib.md5(series).hexdigest(), hashlib.md5(series + b"%d" % n).hexdigest(), n


def outcome_of(have: int, making: int, to_buy: int) -> str:
    if not to_buy:
        return "join" if making else "hit"
    return "extended" if have or making else "new"


def refusal(status: int, message: str, *, code: str, field: str = "") -> web.Response:
    detail = {"message": message, "code": code} | ({"field": field} if field else {})
    body = {"success": False, "statusCode": status, "message": message, "error": detail}
    return web.json_response(body, status=status)
