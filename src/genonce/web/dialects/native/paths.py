"""OpenAPI description of the native surface's routes: every field, header and refusal."""

from typing import Any

from genonce.web.openapi import (
    RATE_LIMIT,
    answer,
    header,
    in_header,
    in_path,
    in_query,
    json_request,
    refusals,
)

CLAIM = {
    "Location": header("Path of the task."),
    "X-Cache": header("hit, join or miss."),
    "X-Task-Attempt": header("Attempt of the task, from 1."),
    "Idempotency-Replayed": header("true where this Idempotency-Key came before."),
    "Preference-Applied": header("wait=N, where Prefer: wait was sent."),
    **RATE_LIMIT,
}
TASK = {
    "ETag": header("For If-None-Match."),
    "X-Task-Attempt": header("Attempt of the task, from 1."),
    **RATE_LIMIT,
}
LANGUAGE = in_header("Accept-Language", "zh: messages in Chinese; else English.")
TASK_ID = in_path("taskId", "32 hex digits: MD5 of the canonical request.")

_IMAGE = {
    media: {"schema": {"type": "string", "contentMediaType": media}}
    for media in ("image/png", "image/jpeg", "image/webp")
}
_IMAGE_HEADERS = {
    "ETag": header("Digest of the bytes."),
    "Cache-Control": header("Immutable."),
    "Accept-Ranges": header("bytes."),
    "Content-Range": header("Where a range was asked for."),
}


EXAMPLE = {"prompt": "a red fox in the snow", "width": 512, "height": 512, "n": 1}

PATHS: dict[str, dict[str, Any]] = {
    "/api/images/generate": {
        "post": {
            "summary": "Find a task, or start it",
            "description": (
                "The same parameters give the same task id. Pictures that exist are reused; only "
                "missing ones are bought. A failed or cancelled task starts a new attempt."
            ),
            "operationId": "generate",
            "parameters": [
                LANGUAGE,
                in_header("Prefer", "wait=N: answer 200 when done, or 202 after N seconds."),
                in_header(
                    "Idempotency-Key",
                    "For 24 h the same key replays its task and starts nothing; "
                    "with another request it is refused (422).",
                ),
            ],
            "requestBody": json_request("GenerateBody", EXAMPLE),
            "responses": {
                "200": answer("Prefer: wait was sent and the task has ended.", "ClaimBody", CLAIM),
                "202": answer("The task, found or started.", "ClaimBody", CLAIM),
                **refusals(400, 401, 404, 409, 413, 415, 422, 429, 500, 503),
            },
        }
    },
    "/api/images/plan": {
        "post": {
            "summary": "Say what a POST would do and cost; buys nothing",
            "operationId": "plan",
            "parameters": [LANGUAGE],
            "requestBody": json_request("GenerateBody", EXAMPLE),
            "responses": {
                "200": answer("Forecast.", "PlanBody", {}),
                **refusals(400, 401, 404, 413, 415, 429, 500, 503),
            },
        }
    },
    "/api/images/{taskId}": {
        "get": {
            "summary": "A task as it stands",
            "operationId": "readTask",
            "parameters": [
                TASK_ID,
                LANGUAGE,
                in_query("wait", "number", "Answer when the task has ended, or after N seconds."),
                in_header("If-None-Match", "304 while nothing changed; with wait: until it does."),
            ],
            "responses": {
                "200": answer("The task.", "TaskBody", TASK),
                "304": {"description": "Nothing changed.", "headers": TASK},
                **refusals(400, 401, 404, 429, 503),
            },
        },
        "delete": {
            "summary": "Cancel an unfinished task, or forget a finished one",
            "description": "Calls in flight are not stopped: what is paid for is kept.",
            "operationId": "deleteTask",
            "parameters": [
                TASK_ID,
                LANGUAGE,
                in_query("purge", "boolean", "Also delete the task's pictures."),
            ],
            "responses": {
                "200": answer("Done.", "DeletedBody", {}),
                **refusals(400, 401, 404, 429, 503),
            },
        },
    },
    "/api/images/{taskId}/events": {
        "get": {
            "summary": "A task's events (server-sent)",
            "description": (
                "`data` is the body of GET /api/images/{taskId} at that event; `id` grows. Without "
                "Last-Event-ID the present state comes first; with 0 the whole log of the present "
                "attempt. Ends after the terminal event. A comment every 15 s keeps the line open."
            ),
            "operationId": "taskEvents",
            "parameters": [
                TASK_ID,
                LANGUAGE,
                in_header("Last-Event-ID", "Number of the last event seen."),
                in_query("lastEventId", "integer", "The same, for clients that send no headers."),
            ],
            "responses": {
                "200": {
                    "description": "Events.",
                    "content": {"text/event-stream": {"schema": {"type": "string"}}},
                },
                "204": {"description": "The last event seen was the terminal one."},
                **refusals(400, 401, 404, 429, 503),
            },
        }
    },
    "/api/models": {
        "get": {
            "summary": "Models with their bounds, defaults and prices",
            "operationId": "models",
            "security": [],
            "responses": {
                "200": answer("Models.", "ModelsBody", {}),
                **refusals(429, 503),
            },
        }
    },
    "/api/health": {
        "get": {
            "summary": "State of the parts; 503 while Redis is away",
            "operationId": "health",
            "security": [],
            "responses": {
                "200": answer("ok or degraded.", "HealthBody", {}),
                "503": answer("Redis is away.", "HealthBody", {"Retry-After": header("Seconds.")}),
            },
        }
    },
    "/health": {
        "get": {
            "summary": "Is this process alive; same body, always 200",
            "operationId": "alive",
            "security": [],
            "responses": {"200": answer("ok or degraded.", "HealthBody", {})},
        }
    },
    "/images/{imageKey}": {
        "get": {
            "summary": "A picture's bytes; they do not expire",
            "operationId": "readImage",
            "security": [],
            "parameters": [
                in_path("imageKey", "As in `data[].url`."),
                in_header("Range", "bytes=A-B: one range."),
                in_header("If-Range", "The ETag that the range belongs to."),
                in_header("If-None-Match", "304 for bytes that the client has."),
            ],
            "responses": {
                "200": {
                    "description": "The whole picture.",
                    "content": _IMAGE,
                    "headers": _IMAGE_HEADERS,
                },
                "206": {
                    "description": "A range of it.",
                    "content": _IMAGE,
                    "headers": _IMAGE_HEADERS,
                },
                "304": {"description": "The client has it."},
                "416": {"description": "The range lies outside."},
                **refusals(404, 429, 503),
            },
        }
    },
}
