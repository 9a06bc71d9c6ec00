"""A stand-in for Together.ai's picture service: a real, strict HTTP server, with faults on demand.

`python tests/standins/together.py --port 0` prints {"port": ...} when it is ready and ends with its
stdin. Marks in a prompt make faults; `times=N` limits one to the prompt's first N calls:

    [[429]] [[429 retry-after=2 times=1]] [[503]] [[400]] [[401]] ... [[nsfw]]    not accepted
    [[500 times=1]] [[502]] [[html]] [[504]] [[307]] ...             accepted, no picture
    [[cut-before]]                    the line is cut, nothing is counted
    [[cut]] [[half]] [[slow=3]]       accepted; then cut, cut in the body, or 3 s late
    [[fewer]] [[nourl]] [[bad-base64]] [[wrong-bytes]] [[empty-bytes]] [[shuffled]] [[big=MiB]]
    [[truncated-json]] [[not-json]] [[gzip]] [[no-index]] [[index-from=1]]
    [[url]] [[url-expired]] [[url-fails=N]] [[url-redirect]] [[url-loop]] [[url-redirect-private]]
    [[url-private]]                   the pictures' addresses, instead of their bytes

Control: POST /_control {latency_ms, jitter_ms, fail: "429 retry-after=1", gate}, POST /_release,
POST /_reset, GET /_stats.
"""

import argparse
import asyncio
import binascii
import gzip
import json
import os
import random
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[2]))  # also when it is started by its path

from tests.standins.lifeline import end_with_stdin
from tests.standins.together_rules import Fault, cut, drawn, marks, refused

Json = dict[str, Any]
Faults = dict[str, Fault]
STATS = (
    "calls", "accepted", "by_prompt", "calls_by_prompt", "times", "in_flight", "max_in_flight",
    "requests", "request_headers", "picture_headers", "private_hits",
)  # fmt: skip
CONTROLS = {"latency_ms": 0, "jitter_ms": 0, "fail": "", "gate": False}


class Service:
    """The server's state and its handlers."""

    def __init__(self) -> None:
        self.base = ""
        self.private = ""
        self.gate = asyncio.Event()
        self.in_flight = 0
        self.reset_state()

    def reset_state(self) -> None:
        """Forget everything; let go whoever is held."""
        self.calls = self.accepted = self.private_hits = 0
        self.max_in_flight = self.in_flight
        self.by_prompt: Counter[str] = Counter()
        self.calls_by_prompt: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.times: list[float] = []
        self.requests: deque[Json] = deque(maxlen=50)
        self.request_headers: deque[Json] = deque(maxlen=50)
        self.picture_headers: deque[Json] = deque(maxlen=50)
        self.pictures: dict[str, tuple[str, bytes]] = {}
        self.fetches: Counter[str] = Counter()
        self.control: Json = dict(CONTROLS)
        self.gate.set()

    def faults(self, prompt: str) -> Faults:
        """The faults of this call; counts the call for `times`."""
        self.attempts[prompt] += 1
        found = marks(prompt) + marks(f"[[{self.control['fail']}]]")
        return {f.name: f for f in found if self.attempts[prompt] <= f.times}

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/images/generations."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return await self.answer(request)
        finally:
            self.in_flight -= 1

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Count, refuse or accept, wait, answer."""
        try:
            body = json.loads(await request.read())
        except ValueError:
            body = None
        prompt = str(body.get("prompt", "")) if isinstance(body, dict) else ""
        faults = self.faults(prompt)
        if "cut-before" in faults:
            return cut(request)
        self.calls += 1
        self.calls_by_prompt[prompt] += 1
        self.requests.append(body)
        self.request_headers.append(dict(request.headers))
        asked = [fault.answer() for fault in faults.values() if fault.is_refusal]
        for refusal in (refused(request, body), *asked):
            if refusal is not None:
                return refusal
        self.accepted += body.get("n", 1)
        self.by_prompt[prompt] += body.get("n", 1)
        self.times.append(time.time())
        await self.delay(faults)
        return await self.bought(request, body, faults)

    async def delay(self, faults: Faults) -> None:
        """Hold at the gate, then be as slow as asked."""
        await self.gate.wait()
        wait_ms = self.control["latency_ms"] + random.uniform(0, self.control["jitter_ms"])
        slow_s = float(faults["slow"].value) if "slow" in faults else 0.0
        await asyncio.sleep(wait_ms / 1000 + slow_s)

    async def bought(self, request: web.Request, body: Json, faults: Faults) -> web.StreamResponse:
        """The pictures, or the failure that was asked for."""
        if "cut" in faults:
            return cut(request)
        for fault in faults.values():
            if fault.name.isdecimal() or fault.name == "html":
                return fault.answer()
        items = [self.item(body, index, faults) for index in range(body.get("n", 1))]
        if "shuffled" in faults:
            items.reverse()
        if "fewer" in faults:
            items.pop()
        answer = {"id": f"img-{self.calls:08d}", "model": body["model"], "object": "list"}
        text = json.dumps({**answer, "data": items}).encode()
        return await self.send(request, text, faults)

    async def send(self, request: web.Request, text: bytes, faults: Faults) -> web.StreamResponse:
        """The answer's bytes, whole, packed or broken."""
        if "truncated-json" in faults or "not-json" in faults:
            text = b"<p>fine</p>" if "not-json" in faults else text[: len(text) // 2]
        headers = {"Content-Type": "application/json"}
        if "gzip" in faults:
            text, headers["Content-Encoding"] = gzip.compress(text), "gzip"
        if "half" not in faults:
            return web.Response(body=text, headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(text))})
        await response.prepare(request)
        await response.write(text[: len(text) // 2])
        return cut(request)

    def item(self, body: Json, index: int, faults: Faults) -> Json:
        """One picture of the answer."""
        data = drawn(body, index)
        if "wrong-bytes" in faults or "empty-bytes" in faults:
            data = b"not a picture" if "wrong-bytes" in faults else b""
        if "big" in faults:
            data = bytes(int(float(faults["big"].value) * 2**20))
        is_last = index == body.get("n", 1) - 1
        start = int(faults["index-from"].value) if "index-from" in faults else 0
        shown = {} if "no-index" in faults else {"index": index + start}
        way = next((name for name in faults if name.startswith("url")), "")
        if is_last and "nourl" in faults:
            return shown
        if body.get("response_format") == "base64" and not way:
            text = binascii.b2a_base64(data, newline=False).decode()
            text = "%%%" + text if is_last and "bad-base64" in faults else text
            return {**shown, "b64_json": text, "type": "b64_json"}
        name = os.urandom(8).hex()
        self.pictures[name] = (f"{way}={faults[way].value}" if way else "url=", data)
        url = f"{self.private}/{name}" if way == "url-private" else f"{self.base}/imgproxy/{name}"
        return {**shown, "url": url, "type": "url"}

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        """GET /imgproxy/{name}."""
        name = request.match_info["name"]
        self.fetches[name] += 1
        self.picture_headers.append(dict(request.headers))
        way, data = self.pictures.get(name, ("url-expired=", b""))
        kind, _, value = way.partition("=")
        if kind == "url-expired" or (kind == "url-fails" and self.fetches[name] <= int(value)):
            return web.Response(status=403 if kind == "url-expired" else 503)
        places = {"url-redirect-private": self.private, "url-loop": str(request.url)}
        if kind in places:
            raise web.HTTPFound(places[kind])
        if kind == "url-redirect":
            self.pictures[name] = ("url=", data)
            raise web.HTTPFound(f"/imgproxy/{name}")
        return web.Response(body=data, content_type="image/jpeg")

    async def set_control(self, request: web.Request) -> web.Response:
        """POST /_control."""
        self.control.update(await request.json())
        (self.gate.clear if self.control["gate"] else self.gate.set)()
        is_known = self.control.keys() == CONTROLS.keys()
        return web.json_response(self.control, status=200 if is_known else 400)

    async def release(self, _: web.Request) -> web.Response:
        """POST /_release: let go whoever is held, and hold nobody more."""
        self.control["gate"] = False
        self.gate.set()
        return web.json_response({})

    async def reset(self, _: web.Request) -> web.Response:
        """POST /_reset."""
        self.reset_state()
        return web.json_response({})

    async def stats(self, _: web.Request) -> web.Response:
        """GET /_stats."""
        text = json.dumps({name: getattr(self, name) for name in STATS}, default=list)
        return web.Response(text=text, content_type="application/json")

    def hit_private(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody was led to the private address."""
        self.private_hits += 1
        writer.close()


async def serve(host: str, port: int) -> None:
    """Serve until the process ends."""
    service = Service()
    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/images/generations", service.generate),
            web.get("/imgproxy/{name}", service.fetch),
            web.post("/_control", service.set_control),
            web.post("/_release", service.release),
            web.post("/_reset", service.reset),
            web.get("/_stats", service.stats),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    private = await asyncio.start_server(service.hit_private, host, 0)
    port = runner.addresses[0][1]
    service.base = f"http://{host}:{port}"
    service.private = f"https://{host}:{private.sockets[0].getsockname()[1]}"
    print(json.dumps({"port": port}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A stand-in for Together.ai's picture service.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    end_with_stdin()
    asyncio.run(serve(arguments.host, arguments.port))
