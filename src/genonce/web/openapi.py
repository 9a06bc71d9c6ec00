"""The OpenAPI document: words for describing routes, and how dialects are put together."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

SCHEMA = "#/components/schemas/{name}"
REFUSALS = {
    400: "A field, header or the body is wrong; `error.field` names it.",
    401: "An API key is needed, or this one is not known.",
    404: "No such path, task, image or model.",
    409: "Another request has the same fingerprint.",
    413: "The body is over 1 MiB.",
    415: "The body is not said to be JSON.",
    422: "The Idempotency-Key was used for another request.",
    429: "A limit is used up; Retry-After says when to come back.",
    500: "Something broke, or the model's provider has no key here.",
    503: "Redis or the image store is away; send the same request again.",
}


def header(description: str) -> dict[str, Any]:
    """A header of an answer."""
    return {"description": description, "schema": {"type": "string"}}


RATE_LIMIT = {
    "RateLimit-Policy": header('IETF draft: `"generate";q=5;w=60` is 5 units in any 60 s.'),
    "RateLimit": header('IETF draft: `"generate";r=4;t=12` is 4 left; one more in 12 s.'),
}
RETRY_AFTER = {"Retry-After": header("Whole seconds; `error.retryAfterMs` is exact.")}
REFUSAL_HEADERS = {
    401: {"WWW-Authenticate": header("Bearer.")},
    429: RETRY_AFTER | RATE_LIMIT,
    503: RETRY_AFTER,
}


def in_header(name: str, description: str) -> dict[str, Any]:
    """A header of a request."""
    return _parameter("header", name, "string", description)


def in_query(name: str, kind: str, description: str) -> dict[str, Any]:
    """A query parameter of a JSON type."""
    return _parameter("query", name, kind, description)


def in_path(name: str, description: str) -> dict[str, Any]:
    """A part of the path."""
    return _parameter("path", name, "string", description) | {"required": True}


def _parameter(place: str, name: str, kind: str, description: str) -> dict[str, Any]:
    return {"in": place, "name": name, "schema": {"type": kind}, "description": description}


def json_request(schema: str, example: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON body."""
    content = _json(schema)
    content["application/json"]["example"] = dict(example)
    return {"required": True, "content": content}


def answer(description: str, schema: str, headers: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON answer."""
    return {"description": description, "content": _json(schema), "headers": dict(headers)}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": SCHEMA.format(name=schema)}}}


def refusals(*statuses: int) -> dict[str, Any]:
    """The refusals of a route, in the native shape."""
    return {
        str(status): answer(REFUSALS[status], "ErrorBody", REFUSAL_HEADERS.get(status, {}))
        for status in statuses
    }


def openapi_document(
    paths: Sequence[Mapping[str, Any]], schemas: Sequence[type], *, version: str
) -> dict[str, Any]:
    """OpenAPI 3.1 of all surfaces.

    Args:
        paths: of each dialect.
        schemas: the types that the paths refer to.
        version: of genonce.
    """
    _, components = msgspec.json.schema_components(schemas, ref_template=SCHEMA)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "genonce",
            "version": version,
            "description": "Idempotent, cached image generation: every picture is bought once.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {path: item for each in paths for path, item in each.items()},
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"apiKey": []}],
    }
