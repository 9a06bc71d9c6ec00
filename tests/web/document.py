"""Holds answers to the OpenAPI document: statuses, headers, and bodies against their schemas."""

import re
from typing import Any

import httpx

from genonce import __version__
from genonce.web.app import DIALECTS
from genonce.web.openapi import openapi_document

Schema = dict[str, Any]
GENERAL = frozenset(
    {"content-type", "content-length", "vary", "cache-control", "allow", "x-accel-buffering"}
)
"""Headers that HTTP itself explains; those of CORS are the browser's."""
UNSAID = frozenset(
    {"www-authenticate", "ratelimit", "ratelimit-policy", "x-content-type-options"}
    | {"etag", "accept-ranges", "content-range"}
)
"""Headers of refusals, and of 304 and 416 of pictures, that the document leaves out (reported)."""
TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}


class Document:
    """The document of the application."""

    def __init__(self) -> None:
        self.spec: Schema = openapi_document(
            [dialect.paths for dialect in DIALECTS],
            [schema for dialect in DIALECTS for schema in dialect.schemas],
            version=__version__,
        )

    def operations(self) -> set[tuple[str, str]]:
        """Path and method of everything that is described."""
        paths = self.spec["paths"]
        return {(path, method.upper()) for path, item in paths.items() for method in item}

    def operation(self, path: str, method: str) -> Schema | None:
        """What is said about a request."""
        for template in sorted(self.spec["paths"], key=lambda text: text.count("{")):
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
            if re.fullmatch(pattern, path):
                found: Schema | None = self.spec["paths"][template].get(method.lower())
                return found
        return None

    async def check(self, response: httpx.Response) -> None:
        """Hold an answer to what is said about it; what is not described at all is a refusal."""
        await response.aread()
        request = response.request
        operation = self.operation(request.url.path, request.method)
        if operation is None:
            return
        where = f"{request.method} {request.url.path} {response.status_code}"
        said = operation["responses"].get(str(response.status_code))
        assert said, f"{where}: the document does not know this status"
        told = {name.lower() for name in said.get("headers", {})} | GENERAL | UNSAID
        sent = {name for name in response.headers if not name.startswith("access-control-")}
        assert sent <= told, f"{where}: the document does not know {sent - told}"
        if response.content:
            media = response.headers["content-type"].partition(";")[0]
            assert media in said.get("content", {}), f"{where}: the document does not know {media}"
            if media == "application/json":
                self.hold(response.json(), said["content"][media]["schema"], where)

    def hold(self, value: Any, schema: Schema, where: str) -> None:
        """Hold a value to a schema; every field of an object has to be described."""
        if "$ref" in schema:
            self.hold(value, self.resolve(schema["$ref"]), where)
            return
        if "anyOf" in schema:
            self._hold_any(value, schema["anyOf"], where)
            return
        kind = schema.get("type")
        if kind is not None:
            fits = isinstance(value, TYPES[kind])
            is_flag = isinstance(value, bool) and kind != "boolean"
            assert fits is not is_flag, f"{where}: no {kind}: {value!r}"
        if isinstance(value, list) and "items" in schema:
            for place, item in enumerate(value):
                self.hold(item, schema["items"], f"{where}[{place}]")
        if isinstance(value, dict):
            self._hold_object(value, schema, where)

    def _hold_any(self, value: Any, schemas: list[Schema], where: str) -> None:
        complaints = []
        for schema in schemas:
            try:
                self.hold(value, schema, where)
            except AssertionError as error:
                complaints.append(str(error))
            else:
                return
        raise AssertionError(f"{where}: none of {complaints}")

    def _hold_object(self, value: Schema, schema: Schema, where: str) -> None:
        known, rest = schema.get("properties"), schema.get("additionalProperties", False)
        absent = set(schema.get("required", ())) - set(value)
        assert not absent, f"{where}: {absent} are required"
        for name, item in value.items():
            if known is not None and name in known:
                self.hold(item, known[name], f"{where}.{name}")
            elif isinstance(rest, dict):
                self.hold(item, rest, f"{where}.{name}")
            else:
                assert known is None or rest, f"{where}: {name} is not described"

    def resolve(self, reference: str) -> Schema:
        """What a reference is to."""
        found: Any = self.spec
        assert reference.startswith("#/"), reference
        for part in reference[2:].split("/"):
            found = found[part]
        assert isinstance(found, dict)
        return found


def references(part: Any) -> set[str]:
    """Every reference in a part of the document."""
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(each) for each in part.values()))
    if isinstance(part, list):
        return set().union(*(references(each) for each in part))
    return set()
