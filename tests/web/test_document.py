"""The OpenAPI document says what the application does, and /docs shows it with no internet."""

import re

import pytest

from tests.web.conftest import Site
from tests.web.document import Document, references

PAGES = {"/", "/docs", "/openapi.json", "/docs/{name}"}
"""Routes about the API."""


def routes(site: Site) -> set[tuple[str, str]]:
    """Path and method of every route, parameters without their types."""
    return {
        (re.sub(r":\w+}", "}", route.path_format), method)
        for route in site.app.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }


def plain(operations: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Operations without the names of parameters."""
    return {(re.sub(r"{\w+}", "{}", path), method) for path, method in operations}


async def test_every_route_is_described_and_nothing_else(site: Site, document: Document) -> None:
    served = {(path, method) for path, method in routes(site) if path not in PAGES}
    # HEAD is GET without the body.
    heads = {(path, method) for path, method in served if method == "HEAD"}
    assert plain(served - heads) == plain(document.operations())
    assert {(path, "GET") for path, _ in heads} <= served


async def test_the_document_that_is_served_is_the_one_that_answers_are_held_to(
    site: Site, document: Document
) -> None:
    answer = await site.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document.spec


def test_every_reference_resolves(document: Document) -> None:
    found = references(document.spec)
    assert found
    for reference in found:
        document.resolve(reference)


def test_every_operation_is_complete(document: Document) -> None:
    names = set()
    for path, item in document.spec["paths"].items():
        for operation in item.values():
            names.add(operation["operationId"])
            assert operation["summary"]
            assert operation["responses"]
            given = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
            assert given == set(re.findall(r"{(\w+)}", path))
            for answer in operation["responses"].values():
                assert answer["description"]
    assert len(names) == len(document.operations())


@pytest.mark.parametrize("status", ["429", "503"])
def test_refusals_that_pass_say_when_to_come_back(document: Document, status: str) -> None:
    for path, method in document.operations():
        operation = document.spec["paths"][path][method.lower()]
        if status in operation["responses"]:
            assert "Retry-After" in operation["responses"][status]["headers"]


def test_headers_of_refusals_are_described(document: Document) -> None:
    answers = document.spec["paths"]["/api/images/generate"]["post"]["responses"]
    assert {"RateLimit", "RateLimit-Policy"} <= set(answers["429"]["headers"])
    assert "WWW-Authenticate" in answers["401"]["headers"]


def test_every_field_of_a_request_is_described(document: Document) -> None:
    fields = document.spec["components"]["schemas"]["GenerateBody"]["properties"]
    assert {"prompt", "model", "n", "width", "height", "steps", "seed"} <= set(fields)
    assert all("description" in field for field in fields.values())


def test_the_validator_finds_what_is_wrong(document: Document) -> None:
    good = {
        "success": False,
        "statusCode": 404,
        "message": "m",
        "error": {"message": "m", "code": "not_found"},
    }
    schema = {"$ref": "#/components/schemas/ErrorBody"}
    document.hold(good, schema, "$")
    for bad in (
        good | {"statusCode": "404"},
        good | {"statusCode": True},
        good | {"more": 1},
        good | {"error": {"message": "m"}},
        {key: value for key, value in good.items() if key != "message"},
        [],
    ):
        with pytest.raises(AssertionError):
            document.hold(bad, schema, "$")


async def test_docs_refer_to_nothing_outside(site: Site) -> None:
    page = await site.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = re.findall(r'(?:src|href|url)\s*[=:]\s*"([^"]+)"', page.text)
    assert "/openapi.json" in links
    for link in links:
        assert link.startswith("/")
        assert not link.startswith("//")
        answer = await site.get(link)
        assert answer.status_code == 200, link
        assert answer.content
    assert "//" not in page.text.replace("<!--", "")


@pytest.mark.parametrize(
    ("name", "media"),
    [("swagger-ui.css", "text/css"), ("swagger-ui-bundle.js", "text/javascript")],
)
async def test_assets_are_served_with_their_types(site: Site, name: str, media: str) -> None:
    answer = await site.get(f"/docs/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == media
    assert "max-age" in answer.headers["cache-control"]


@pytest.mark.parametrize("name", ["LICENSE", "..%2Fdocs.html", "swagger-ui.css.map", "%2e%2e"])
async def test_only_the_assets_are_served(site: Site, name: str) -> None:
    assert (await site.get(f"/docs/{name}")).status_code == 404
