"""Every wrong request is refused by name, says what to do, and leaves nothing behind."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.web.conftest import GENERATE, PLAN, PROMPT, Open, Site, error_of

BOTH = pytest.mark.parametrize("path", [GENERATE, PLAN], ids=["generate", "plan"])


async def refused(site: Site, answer: httpx.Response) -> tuple[int, str, str]:
    """A refusal's facts; it left nothing in Redis and in the image store but the store's own id."""
    assert site.server.keys() == [b"gn:store"]
    assert [path.name for path in site.files()] == ["store-id"]
    return error_of(answer)


# --- bodies ---------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"prompt": "a cat"',
        b'{"prompt": "a cat",}',
        b"{'prompt': 'a cat'}",
        b'{"prompt": "a cat", "n": NaN}',
        b'{"prompt": "a cat", "n": Infinity}',
        b'{"prompt": "a\x01b"}',
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": "caf\xe9"}',
        b'{"prompt": "x\\ud800y"}',
        b'{"prompt": "\\udc00"}',
        b'{"prompt": "a cat"} trailing',
        b"a cat",
        b"[" * 100_000,
    ],
)
async def test_a_body_that_is_no_json_is_malformed(site: Site, path: str, body: bytes) -> None:
    answer = await site.raw(body, path=path)
    assert (await refused(site, answer))[:2] == (400, "malformed_body")
    assert "JSON" in answer.json()["message"]


@BOTH
@pytest.mark.parametrize("body", [[], [PROMPT], "a cat", 5, None, True])
async def test_a_body_that_is_no_object_is_malformed(site: Site, path: str, body: Any) -> None:
    answer = await site.raw(json.dumps(body).encode(), path=path)
    assert (await refused(site, answer))[:2] == (400, "malformed_body")
    assert "JSON object" in answer.json()["message"]


@BOTH
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("prompt", "model", "size") for value in (5, [], {}, True)),
        *((name, []) for name in ("negativePrompt", "negative_prompt", "sampler", "scheduler")),
        *((name, 1) for name in ("quality", "style", "format")),
        *((name, value) for name in ("n", "width", "seed") for value in ([], {}, True)),
        *((name, True) for name in ("height", "steps", "guidance", "variation")),
    ],
)
async def test_a_wrong_type_is_refused_by_name(
    site: Site, path: str, field: str, value: Any
) -> None:
    answer = await site.post(PROMPT | {field: value}, path)
    assert await refused(site, answer) == (400, "invalid_request", field)
    assert field in answer.json()["message"]


@BOTH
@pytest.mark.parametrize("field", ["promt", "N", "negativeprompt", "images", "", "a`b", "\u732b"])
async def test_an_unknown_field_is_refused_by_name(site: Site, path: str, field: str) -> None:
    answer = await site.post(PROMPT | {field: 1}, path)
    assert await refused(site, answer) == (400, "invalid_request", field)
    assert f"Unknown field {field}" in answer.json()["message"]


@BOTH
@pytest.mark.parametrize("body", [{}, {"prompt": None}, {"n": 2}])
async def test_a_missing_prompt_is_refused(site: Site, path: str, body: dict[str, Any]) -> None:
    answer = await site.post(body, path)
    assert await refused(site, answer) == (400, "invalid_request", "prompt")
    assert answer.json()["message"] == "prompt is missing: say what the picture shows."
    answer = await site.post(body, path, accept_language="zh-CN,zh;q=0.9")
    assert answer.json()["message"] == "缺少必填字段: prompt"


@BOTH
@pytest.mark.parametrize("prompt", ["", "  ", "\n\t\r\n", "\u3000\u00a0"])
async def test_a_blank_prompt_is_refused(site: Site, path: str, prompt: str) -> None:
    answer = await site.post({"prompt": prompt}, path)
    assert await refused(site, answer) == (400, "invalid_request", "prompt")
    assert answer.json()["message"] == "prompt is blank: say what the picture shows."


@BOTH
@pytest.mark.parametrize("prompt", ["a\0b", "a\x1b[31m", "a\x7f", "a\x9fb", "\x08"])
async def test_control_characters_are_refused(site: Site, path: str, prompt: str) -> None:
    answer = await site.post({"prompt": prompt}, path)
    assert await refused(site, answer) == (400, "invalid_request", "prompt")
    assert "control characters; remove them" in answer.json()["message"]


@BOTH
@pytest.mark.parametrize("letter", ["x", "猫", "\N{CAT}"])
async def test_a_prompt_of_4001_characters_is_refused_and_one_of_4000_is_not(
    site: Site, path: str, letter: str
) -> None:
    answer = await site.post({"prompt": letter * 4001}, path)
    assert await refused(site, answer) == (400, "invalid_request", "prompt")
    assert "4001 characters; at most 4000" in answer.json()["message"]
    assert (await site.post({"prompt": letter * 4000}, path)).is_success


@BOTH
@pytest.mark.parametrize(
    ("n", "remedy"),
    [
        *((n, "from 1 to 10") for n in (0, -1, 11, 10**9, 1e9, "0", "11", 10**30)),
        *((n, "whole number") for n in ("2abc", "", "NaN", "two", 1.5, "1.5", "1e1")),
    ],
)
async def test_a_wrong_n_is_refused_and_never_clipped(
    site: Site, path: str, n: Any, remedy: str
) -> None:
    answer = await site.post(PROMPT | {"n": n}, path)
    assert await refused(site, answer) == (400, "invalid_request", "n")
    assert remedy in answer.json()["message"]


@BOTH
@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" + b"0" * 400])
async def test_a_number_beyond_all_bounds_is_refused(site: Site, path: str, number: bytes) -> None:
    answer = await site.raw(b'{"prompt": "a cat", "n": %b}' % number, path=path)
    status, code, _ = await refused(site, answer)
    assert (status, code) in ((400, "invalid_request"), (400, "malformed_body"))


@BOTH
@pytest.mark.parametrize(
    ("fields", "field", "remedy"),
    [
        ({"width": 63}, "width", "from 64 to 2048"),
        ({"height": 2049}, "height", "from 64 to 2048"),
        ({"width": 0}, "width", "from 64 to 2048"),
        ({"height": -512}, "height", "from 64 to 2048"),
        ({"width": "wide"}, "width", "whole number"),
        ({"width": 512.5}, "width", "whole number"),
        ({"size": "63x512"}, "size", "from 64 to 2048"),
        ({"size": "512"}, "size", "512x512"),
        ({"size": "512x512", "width": 256}, "size", "differ; give one"),
        ({"steps": 0}, "steps", "from 1 to 50"),
        ({"steps": 51}, "steps", "from 1 to 50"),
        ({"guidance": 20.5}, "guidance", "from 0 to 20"),
        ({"guidance": "NaN"}, "guidance", "number"),
        ({"seed": -1}, "seed", "from 0 to"),
        ({"seed": 2**31}, "seed", "from 0 to"),
        ({"variation": -1}, "variation", "from 0 to"),
        ({"style": "cubist"}, "style", "landscape"),
        ({"format": "gif"}, "format", "png, webp, jpeg"),
        ({"sampler": "euler"}, "sampler", "not a parameter of the model genonce/builtin"),
        ({"negativePrompt": "a", "negative_prompt": "b"}, "negativePrompt", "give one of them"),
    ],
)
async def test_a_value_out_of_the_models_bounds_is_refused_with_the_bounds(
    site: Site, path: str, fields: dict[str, Any], field: str, remedy: str
) -> None:
    answer = await site.post(PROMPT | fields, path)
    assert await refused(site, answer) == (400, "invalid_request", field)
    assert remedy in answer.json()["message"]


async def test_a_side_that_is_not_the_multiple_that_a_model_needs_is_refused(
    opened: Open,
) -> None:
    async with opened(TOGETHER_API_KEY="key-of-the-tests") as site:
        models = (await site.get("/api/models")).json()["data"]
        strict = next(model for model in models if model["width"]["multiple"])
        multiple = strict["width"]["multiple"]
        side = int(strict["width"]["min"]) + 1
        answer = await site.post(PROMPT | {"model": strict["id"], "width": side})
        assert await refused(site, answer) == (400, "invalid_request", "width")
        assert f"multiple of {multiple}" in answer.json()["message"]


# --- the message around the body ------------------------------------------------------------


async def _in_pieces(size: int) -> AsyncIterator[bytes]:
    yield b'{"prompt": "'
    for _ in range(size // 65_536):
        yield b"x" * 65_536
    yield b'"}'


@BOTH
@pytest.mark.parametrize("how", ["with its length", "in chunks"])
async def test_a_body_of_two_mebibytes_is_too_large(site: Site, path: str, how: str) -> None:
    headers = {"content-type": "application/json"}
    body: Any = _in_pieces(2 << 20)
    if how == "with its length":
        body = b"".join([piece async for piece in body])
    answer = await site.http.post(path, content=body, headers=headers)
    assert await refused(site, answer) == (413, "body_too_large", "")
    assert "1048576 bytes" in answer.json()["message"]
    assert "x" * 10 not in answer.text


@BOTH
@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"],
)
async def test_another_content_type_is_refused(
    site: Site, path: str, content_type: str | None
) -> None:
    answer = await site.raw(b'{"prompt": "a cat"}', content_type, path)
    assert await refused(site, answer) == (415, "unsupported_media_type", "")
    assert "Content-Type: application/json" in answer.json()["message"]


@BOTH
@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"],
)
async def test_json_with_a_charset_is_json(site: Site, path: str, content_type: str) -> None:
    answer = await site.raw('{"prompt": "一只猫"}'.encode(), content_type, path)
    assert answer.is_success


@BOTH
async def test_an_unknown_model_is_refused_with_those_there_are(site: Site, path: str) -> None:
    answer = await site.post(PROMPT | {"model": "nobody/nothing"}, path)
    assert await refused(site, answer) == (404, "unknown_model", "")
    assert answer.json()["message"] == "Unknown model; known models: genonce/builtin."
    answer = await site.post(PROMPT | {"model": "x"}, path, accept_language="zh")
    assert answer.json()["message"] == "未知模型，可用模型: genonce/builtin"


@BOTH
async def test_a_model_whose_provider_has_no_key_names_the_variable(site: Site, path: str) -> None:
    models = (await site.get("/api/models")).json()["data"]
    absent = next(model for model in models if not model["available"])
    answer = await site.post(PROMPT | {"model": absent["id"]}, path)
    assert await refused(site, answer) == (500, "provider_misconfigured", "")
    assert "TOGETHER_API_KEY" in answer.json()["message"]
    answer = await site.post(PROMPT | {"model": absent["id"]}, path, accept_language="zh")
    assert answer.json()["message"] == "模型的提供商未配置: TOGETHER_API_KEY"


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "caf\u00e9", "a\tb"])
async def test_a_bad_idempotency_key_is_refused(site: Site, key: str) -> None:
    answer = await site.http.post(
        GENERATE,
        json=PROMPT,
        headers={"idempotency-key": key.encode("latin-1")},  # type: ignore[dict-item]
    )
    assert await refused(site, answer) == (400, "invalid_request", "Idempotency-Key")
    assert "1 to 255 printable ASCII" in answer.json()["message"]


async def test_an_idempotency_key_used_for_another_request_is_refused(site: Site) -> None:
    first = await site.post(PROMPT, idempotency_key="order-1")
    before = site.keys()
    answer = await site.post({"prompt": "a dog"}, idempotency_key="order-1")
    assert error_of(answer) == (422, "idempotency_key_conflict", "")
    assert "use a new key" in answer.json()["message"]
    assert site.keys() == before
    assert (await site.get(first.json()["taskId"])).is_success


@pytest.mark.parametrize("wait", ["soon", "-1", "1e3", "NaN", "0x10", "5s"])
async def test_a_bad_wait_is_refused(site: Site, wait: str) -> None:
    answer = await site.post(PROMPT, prefer=f"wait={wait}")
    assert await refused(site, answer) == (400, "invalid_request", "Prefer: wait")
    assert "number of seconds from 0 to 90" in answer.json()["message"]
    answer = await site.get(f"/api/images/{'0' * 32}?wait={wait}")
    assert await refused(site, answer) == (400, "invalid_request", "wait")


async def test_an_empty_wait_in_the_query_is_refused(site: Site) -> None:
    answer = await site.get(f"/api/images/{'0' * 32}?wait=")
    assert await refused(site, answer) == (400, "invalid_request", "wait")


BAD_IDS = ["-1", "abc", "1.0", "9" * 16, "1 2"]
SUPERSCRIPT = "\u00b2"


@pytest.mark.parametrize("number", [*BAD_IDS, SUPERSCRIPT])
async def test_a_bad_last_event_id_is_refused(site: Site, number: str) -> None:
    path = f"/api/images/{'0' * 32}/events"
    header = {"last-event-id": number.encode("latin-1")}
    answer = await site.http.get(path, headers=header)  # type: ignore[arg-type]
    assert await refused(site, answer) == (400, "invalid_request", "Last-Event-ID")
    answer = await site.http.get(path, params={"lastEventId": number})
    assert await refused(site, answer) == (400, "invalid_request", "Last-Event-ID")


@pytest.mark.parametrize("purge", ["yes", "", "2", "tru"])
async def test_a_bad_purge_is_refused_and_nothing_is_deleted(site: Site, purge: str) -> None:
    task = await site.make()
    answer = await site.delete(task, f"?purge={purge}")
    assert error_of(answer) == (400, "invalid_request", "purge")
    assert "true or false" in answer.json()["message"]
    assert (await site.get(task)).json()["status"] == "completed"


@pytest.mark.parametrize(
    "task", ["0" * 32, "no-such-task", "%00", "x" * 5000, "a%2Fb", "generate2"]
)
async def test_an_unknown_task_is_not_found(site: Site, task: str) -> None:
    for answer in (
        await site.get(f"/api/images/{task}"),
        await site.get(f"/api/images/{task}?wait=5"),
        await site.get(f"/api/images/{task}/events"),
        await site.delete(task),
        await site.delete(task, "?purge=true"),
    ):
        assert (await refused(site, answer))[0] == 404
    answer = await site.get("/api/images/" + "0" * 32)
    assert error_of(answer) == (404, "not_found", "")
    assert answer.json()["status"] == "not_found"
    assert answer.json()["message"] == "Task not found or expired."
    answer = await site.get("/api/images/" + "0" * 32, accept_language="zh-TW")
    assert answer.json()["message"] == "任务不存在或已过期"


METHODS = [
    ("GET", GENERATE, {"POST"}),
    ("PUT", GENERATE, {"POST"}),
    ("DELETE", PLAN, {"POST"}),
    ("POST", "/api/images/" + "0" * 32, {"GET", "DELETE"}),
    ("PATCH", "/api/images/" + "0" * 32, {"GET", "DELETE"}),
    ("POST", "/api/images/" + "0" * 32 + "/events", {"GET"}),
    ("POST", "/api/models", {"GET"}),
    ("DELETE", "/health", {"GET"}),
    ("POST", "/images/x.png", {"GET", "HEAD"}),
    ("POST", "/openapi.json", {"GET"}),
]


async def test_a_wrong_method_is_refused(site: Site) -> None:
    for method, path, _ in METHODS:
        answer = await site.http.request(method, path)
        assert await refused(site, answer) == (405, "method_not_allowed", "")
        assert method in answer.json()["message"]
        answer = await site.http.request(method, path, headers={"accept-language": "zh"})
        assert answer.json()["message"].startswith(f"{method}方法不允许")


async def test_a_wrong_method_is_told_the_right_ones(site: Site) -> None:
    for method, path, allow in METHODS:
        answer = await site.http.request(method, path)
        assert set(answer.headers["allow"].replace(" ", "").split(",")) - {"OPTIONS"} == allow


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api", "/api/image", "/docs/x", "/images/a/b", "/.env", "/{path}"]
)
async def test_an_unknown_route_is_told_so(site: Site, path: str) -> None:
    answer = await site.get(path)
    assert await refused(site, answer) == (404, "route_not_found", "")
    assert answer.json()["message"] == f"No such path: {path}"
    answer = await site.get(path, accept_language="zh")
    assert answer.json()["message"] == f"找不到路径: {path}"


# --- keys -----------------------------------------------------------------------------------

CLOSED = [
    ("POST", GENERATE),
    ("POST", PLAN),
    ("GET", "/api/images/" + "0" * 32),
    ("GET", "/api/images/" + "0" * 32 + "/events"),
    ("DELETE", "/api/images/" + "0" * 32),
]


@pytest.mark.parametrize(
    ("headers", "remedy"),
    [
        ({}, "Authorization: Bearer KEY"),
        ({"authorization": "Bearer"}, "An API key is needed"),
        ({"authorization": "Bearer "}, "An API key is needed"),
        ({"authorization": "Basic b25lOnR3bw=="}, "An API key is needed"),
        ({"authorization": "Bearer three"}, "not known"),
        ({"authorization": "one"}, "An API key is needed"),
        ({"x-api-key": "three"}, "not known"),
        ({"x-api-key": ""}, "An API key is needed"),
        ({"x-api-key": "one,two"}, "not known"),
    ],
)
async def test_who_has_no_key_is_not_let_in(
    opened: Open, headers: dict[str, str], remedy: str
) -> None:
    zh = headers | {"accept-language": "zh"}
    async with opened(API_KEYS="one, two") as site:
        for method, path in CLOSED:
            answer = await site.http.request(method, path, headers=headers, content=b"no JSON")
            assert await refused(site, answer) == (401, "not_authenticated", "")
            assert remedy in answer.json()["message"]
            assert answer.headers["www-authenticate"] == "Bearer"
            answer = await site.http.request(method, path, headers=zh)
            assert answer.json()["message"] == "缺少或无效的API密钥"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer one"},
        {"authorization": "bearer  two "},
        {"x-api-key": "one"},
        {"authorization": "Basic b25lOnR3bw==", "x-api-key": "two"},
    ],
)
async def test_who_has_a_key_is_let_in(opened: Open, headers: dict[str, str]) -> None:
    async with opened(API_KEYS="one, two") as site:
        answer = await site.http.post(GENERATE, json=PROMPT, headers=headers)
        assert answer.status_code == 202


async def test_what_needs_no_key_is_open(opened: Open) -> None:
    async with opened(API_KEYS="one") as site:
        task = (await site.post(PROMPT, x_api_key="one")).json()["taskId"]
        await site.work(task)
        url = (await site.get(task, x_api_key="one")).json()["data"][0]["url"]
        for path in ("/", "/health", "/api/health", "/api/models", "/openapi.json", "/docs", url):
            assert (await site.http.get(path)).status_code == 200, path
