""".github/deploy_render.py against a stand-in of Render's API: a real HTTP server on loopback."""

import http.server
import importlib.util
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

KEY, HOOK_KEY, COMMIT = "rnd_verysecretkey", "hOOkSecret", "c0ffee" * 6 + "c0de"
SCRIPT = Path(__file__).parent.parent / ".github" / "deploy_render.py"

_spec = importlib.util.spec_from_file_location("deploy_render", SCRIPT)
deploy_render = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(deploy_render)


@dataclass
class FakeRender:
    """Answers as told: per service the states that a deploy goes through, the last one for good."""

    states: dict[str, list[str]] = field(default_factory=dict)
    faults: list[tuple[str, int, dict[str, str]]] = field(default_factory=list)
    """What to answer first, to requests of a method: status and facts (headers or body)."""
    queues: bool = False
    """Answer 202 without a body, as Render does while another deploy is under way."""
    calls: list[tuple[str, str, dict]] = field(default_factory=list)
    url: str = ""

    def answer(self, method: str, target: str, body: bytes, authorization: str):
        parts, query = urlsplit(target).path.strip("/").split("/"), parse_qs(urlsplit(target).query)
        self.calls.append((method, target, json.loads(body) if body else {}))
        if self.faults and self.faults[0][0] == method:
            return self.faults.pop(0)[1:]
        if parts[0] == "deploy":
            if query.get("key") != [HOOK_KEY]:
                return 404, {}
            return 200, {"deploy": {"id": f"dep-{parts[1]}"}}
        if authorization != f"Bearer {KEY}":
            return 401, {"message": f"Unauthorized: {authorization}"}
        service = parts[2]
        if service not in self.states:
            return 404, {"message": "not found: service"}
        if method == "POST":
            if self.queues:
                return 202, None
            return 201, {"id": f"dep-{service}", "status": "created"}
        if len(parts) == 4:  # the list, newest first
            other = {"id": "dep-other", "status": "live", "commit": {"id": "0" * 40}}
            mine = {"id": f"dep-{service}", "status": "queued", "commit": {"id": COMMIT}}
            return 200, [{"deploy": other, "cursor": "a"}, {"deploy": mine, "cursor": "b"}]
        left = self.states[service]
        state = left.pop(0) if len(left) > 1 else left[0]
        return 200, {"id": parts[4], "status": state, "commit": {"id": COMMIT}}

    def started(self) -> list[str]:
        return [target for method, target, _ in self.calls if method == "POST"]


@contextmanager
def served(fake: FakeRender) -> Iterator[FakeRender]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            authorization = self.headers.get("Authorization", "")
            status, answer = fake.answer(self.command, self.path, body, authorization)
            raw = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in (answer or {}).items() if status in (302, 429) else ():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Outcome:
    status: int
    log: str
    summary: str


@pytest.fixture
def deploy(tmp_path, capsys):
    """Run the script's main with an environment; no secret may come out of it."""

    def run(fake: FakeRender, *, timeout_s: float = 10, **environ: str) -> Outcome:
        summary = tmp_path / "summary.md"
        with served(fake):
            status = deploy_render.main(
                {
                    "RENDER_API_URL": f"{fake.url}/v1",
                    "GITHUB_STEP_SUMMARY": str(summary),
                    "DEPLOY_COMMIT": COMMIT,
                    "DEPLOY_POLL_S": "0.02",
                    "DEPLOY_TIMEOUT_S": str(timeout_s),
                    **{name: value.replace("{url}", fake.url) for name, value in environ.items()},
                }
            )
        output = capsys.readouterr()
        outcome = Outcome(status, output.out + output.err, summary.read_text())
        for secret in (KEY, HOOK_KEY):
            assert secret not in outcome.log + outcome.summary
        return outcome

    return run


BY_API = {"RENDER_SERVICE_ID": "srv-web", "RENDER_API_KEY": KEY}
BY_HOOK = {"RENDER_DEPLOY_HOOK_URL": "{url}/deploy/srv-web?key=" + HOOK_KEY}


def test_a_deploy_is_followed_until_it_is_live(deploy):
    states = ["created", "build_in_progress", "update_in_progress", "update_in_progress", "live"]
    fake = FakeRender({"srv-web": states})
    outcome = deploy(fake, **BY_API)
    assert outcome.status == 0
    assert "| srv-web | dep-srv-web | live |" in outcome.summary
    assert outcome.log.count("update_in_progress") == 1
    assert fake.calls[0] == ("POST", "/v1/services/srv-web/deploys", {"commitId": COMMIT})


def test_several_services_are_all_started_then_followed(deploy):
    fake = FakeRender({"srv-web": ["live"], "srv-work": ["build_in_progress", "live"]})
    outcome = deploy(fake, RENDER_SERVICE_ID="srv-web, srv-work,", RENDER_API_KEY=KEY)
    assert outcome.status == 0
    assert [call[0] for call in fake.calls[:2]] == ["POST", "POST"]
    assert "srv-web | dep-srv-web | live" in outcome.summary
    assert "srv-work | dep-srv-work | live" in outcome.summary


@pytest.mark.parametrize("state", sorted(deploy_render.FAILED))
def test_a_failed_deploy_fails_the_job(deploy, state):
    fake = FakeRender({"srv-web": ["build_in_progress", state], "srv-work": ["live"]})
    outcome = deploy(fake, RENDER_SERVICE_ID="srv-web,srv-work", RENDER_API_KEY=KEY)
    assert outcome.status == 1
    assert f"| srv-web | dep-srv-web | {state} |" in outcome.summary
    assert "| srv-work | dep-srv-work | live |" in outcome.summary


def test_a_queued_deploy_is_found_by_its_commit(deploy):
    outcome = deploy(FakeRender({"srv-web": ["update_in_progress", "live"]}, queues=True), **BY_API)
    assert outcome.status == 0
    assert "| srv-web | dep-srv-web | live |" in outcome.summary


def test_a_wrong_key_is_named_and_not_shown(deploy):
    outcome = deploy(FakeRender({"srv-web": ["live"]}), **BY_API | {"RENDER_API_KEY": KEY + "x"})
    assert outcome.status == 1
    assert "401: check RENDER_API_KEY" in outcome.summary


def test_an_unknown_service_is_named(deploy):
    outcome = deploy(FakeRender(), **BY_API)
    assert outcome.status == 1
    assert "404: check RENDER_SERVICE_ID" in outcome.summary


def test_what_takes_too_long_is_given_up(deploy):
    outcome = deploy(FakeRender({"srv-web": ["build_in_progress"]}), timeout_s=0.2, **BY_API)
    assert outcome.status == 1
    assert "build_in_progress, given up after" in outcome.summary


def test_a_server_that_does_not_answer_is_said(deploy):
    outcome = deploy(FakeRender(), **BY_API | {"RENDER_API_URL": "http://127.0.0.1:1/v1"})
    assert outcome.status == 1
    assert "cannot be reached" in outcome.summary


def test_too_many_requests_are_tried_again_later(deploy):
    fake = FakeRender({"srv-web": ["live"]}, faults=[("POST", 429, {"Retry-After": "0.05"})])
    assert deploy(fake, **BY_API).status == 0
    assert len(fake.started()) == 2


def test_a_passing_fault_while_waiting_is_overlooked_but_never_starts_twice(deploy):
    fake = FakeRender({"srv-web": ["live"]}, faults=[("GET", 502, {})])
    assert deploy(fake, **BY_API).status == 0
    assert len(fake.started()) == 1
    fake = FakeRender({"srv-web": ["live"]}, faults=[("POST", 500, {"message": "sorry"})])
    assert deploy(fake, **BY_API).status == 1
    assert len(fake.started()) == 1


def test_a_redirect_is_not_followed_with_the_key(deploy):
    fake = FakeRender(
        {"srv-web": ["live"]}, faults=[("POST", 302, {"Location": "/v1/services/x/deploys"})]
    )
    assert deploy(fake, **BY_API).status == 1
    assert len(fake.calls) == 1


def test_a_hook_alone_starts_and_says_that_it_does_not_follow(deploy):
    fake = FakeRender({"srv-web": ["build_failed"]})
    outcome = deploy(fake, **BY_HOOK)
    assert outcome.status == 0
    assert "Triggered by deploy hook" in outcome.summary
    assert fake.started() == [f"/deploy/srv-web?key={HOOK_KEY}&ref={COMMIT}"]


@pytest.mark.parametrize(("last", "status"), [("live", 0), ("build_failed", 1)])
def test_a_hook_is_followed_where_there_is_a_key(deploy, last, status):
    outcome = deploy(FakeRender({"srv-web": ["created", last]}), RENDER_API_KEY=KEY, **BY_HOOK)
    assert outcome.status == status
    assert f"| srv-web | dep-srv-web | {last} |" in outcome.summary


def test_a_refused_hook_fails_without_showing_it(deploy):
    outcome = deploy(
        FakeRender(faults=[("POST", 404, {"message": f"no hook {HOOK_KEY}"})]), **BY_HOOK
    )
    assert outcome.status == 1
    assert "the deploy hook answered 404" in outcome.summary


def test_the_api_goes_before_the_hook(deploy):
    fake = FakeRender({"srv-web": ["live"]})
    assert deploy(fake, **BY_API, **BY_HOOK).status == 0
    assert fake.started() == ["/v1/services/srv-web/deploys"]


def test_with_nothing_configured_it_is_skipped_and_passes(deploy):
    fake = FakeRender()
    outcome = deploy(fake, RENDER_SERVICE_ID=" ", RENDER_API_KEY="", RENDER_DEPLOY_HOOK_URL="")
    assert outcome.status == 0
    assert "Skipped: neither" in outcome.summary
    assert not fake.calls


def test_a_service_without_a_key_is_a_mistake(deploy):
    outcome = deploy(FakeRender(), RENDER_SERVICE_ID="srv-web")
    assert outcome.status == 1
    assert "RENDER_API_KEY is not" in outcome.summary


def test_only_web_addresses_are_called(deploy):
    outcome = deploy(FakeRender(), RENDER_DEPLOY_HOOK_URL="file:///etc/hostname")
    assert outcome.status == 1
    assert "not an https:// one" in outcome.summary
