"""Deploys to Render and waits for the outcome: by its API, or by deploy hook.

Reads the environment: RENDER_SERVICE_ID with RENDER_API_KEY, or RENDER_DEPLOY_HOOK_URL; each may
hold several values separated by commas (web and worker). With none of them there is nothing to
do. With a hook alone the deploy is started and not followed; with RENDER_API_KEY it is.
Exits with 1 if a deploy fails, is cancelled, or is not live within DEPLOY_TIMEOUT_S.

Follows Render's API reference (create-deploy, retrieve-deploy, list-deploys) and its page on
deploy hooks, as of November 2026.
"""

import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

API_URL = "https://api.render.com/v1"
FAILED = {"build_failed", "update_failed", "pre_deploy_failed", "canceled", "deactivated"}
# Any other word than these and "live" is an intermediate state.
REMEDIES = {
    401: "check RENDER_API_KEY",
    403: "this RENDER_API_KEY may not do that",
    404: "check RENDER_SERVICE_ID, and that the key belongs to the same workspace",
}


class DeployError(Exception):
    """The deploy did not succeed; the text says why, without secrets."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class Started(NamedTuple):
    """One deploy; ``deploy`` is empty where Render queued it without naming it yet."""

    service: str
    deploy: str


class Settings(NamedTuple):
    services: tuple[str, ...]
    hooks: tuple[str, ...]
    key: str
    commit: str
    api_url: str
    timeout_s: float
    poll_s: float

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        def listed(name: str) -> tuple[str, ...]:
            return tuple(part.strip() for part in environ.get(name, "").split(",") if part.strip())

        return cls(
            services=listed("RENDER_SERVICE_ID"),
            hooks=listed("RENDER_DEPLOY_HOOK_URL"),
            key=environ.get("RENDER_API_KEY", "").strip(),
            commit=environ.get("DEPLOY_COMMIT", "").strip(),
            api_url=(environ.get("RENDER_API_URL", "") or API_URL).rstrip("/"),
            timeout_s=float(environ.get("DEPLOY_TIMEOUT_S", "") or 1800),
            poll_s=float(environ.get("DEPLOY_POLL_S", "") or 10),
        )


class Render:
    """The few calls of Render's API that a deploy needs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opener = urllib.request.build_opener(_NoRedirects)
        self.deadline = time.monotonic() + settings.timeout_s

    def start(self, service: str) -> Started:
        body = {"commitId": self._settings.commit} if self._settings.commit else {}
        answer = self._call("POST", f"/services/{quote(service, safe='')}/deploys", body)
        # 201 brings the deploy; 202 says that it waits for the one before it.
        return Started(service, answer.get("id", "") if isinstance(answer, dict) else "")

    def start_by_hook(self, hook: str) -> Started:
        if self._settings.commit:
            hook += ("&" if "?" in hook else "?") + urlencode({"ref": self._settings.commit})
        answer = self._request("POST", hook, b"", {}, "the deploy hook")
        deploy = answer.get("deploy") if isinstance(answer, dict) else None
        found = re.search(r"/deploy/([\w-]+)", urlsplit(hook).path)
        return Started(
            found[1] if found else "", deploy.get("id", "") if isinstance(deploy, dict) else ""
        )

    def state(self, started: Started) -> tuple[Started, str]:
        """The deploy's present state, in Render's words; "" while it cannot be told."""
        path = f"/services/{quote(started.service, safe='')}/deploys"
        if started.deploy:
            deploy = self._call("GET", f"{path}/{quote(started.deploy, safe='')}")
        else:
            rows = self._call("GET", f"{path}?limit=20")
            deploy = self._newest(rows if isinstance(rows, list) else [])
        if not isinstance(deploy, dict):
            return started, ""
        return started._replace(deploy=deploy.get("id", "")), str(deploy.get("status", ""))

    def _newest(self, rows: list[Any]) -> Any:
        """The newest deploy of our commit in a list, which Render sorts newest first."""
        deploys = [row.get("deploy", row) for row in rows if isinstance(row, dict)]
        wanted = self._settings.commit
        return next((d for d in deploys if not wanted or _commit(d) == wanted), None)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {
            "Authorization": f"Bearer {self._settings.key}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        return self._request(method, self._settings.api_url + path, data, headers, "Render")

    def _request(
        self, method: str, url: str, data: bytes | None, headers: dict[str, str], whom: str
    ) -> Any:
        """One exchange. Retried: 429 always, a passing fault only where nothing is started."""
        if urlsplit(url).scheme not in ("https", "http"):
            raise DeployError(f"the address of {whom} is not an https:// one")
        while True:
            request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
            try:
                with self._opener.open(request, timeout=30) as response:
                    return _json(response.read())
            except urllib.error.HTTPError as error:
                with error:
                    fault = f"{whom} answered {error.code}"
                    remedy = REMEDIES.get(error.code) or _json(error.read())
                if error.code != 429 and (method == "POST" or error.code < 500):
                    raise DeployError(f"{fault}: {_message(remedy)}") from None
                pause_s = _seconds(error.headers.get("Retry-After")) or self._settings.poll_s
            except (OSError, http.client.HTTPException) as error:
                fault = f"{whom} cannot be reached ({type(error).__name__})"
                if method == "POST":
                    raise DeployError(f"{fault}; whether the deploy started is unknown") from None
                pause_s = self._settings.poll_s
            if time.monotonic() + pause_s > self.deadline:
                raise DeployError(f"{fault}, until the time was up")
            time.sleep(pause_s)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw.strip() else None
    except ValueError:
        return None


def _message(answer: Any) -> str:
    text = answer.get("message", "") if isinstance(answer, dict) else answer
    return str(text or "no reason given")[:200]


def _seconds(text: str | None) -> float:
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text) else 0.0


def _commit(deploy: Mapping[str, Any]) -> str:
    commit = deploy.get("commit")
    return str(commit.get("id", "")) if isinstance(commit, dict) else ""


class Report:
    """What is said in the log and, as one table, in the job's summary; never a secret."""

    def __init__(self, settings: Settings, summary: str) -> None:
        keys = [value for hook in settings.hooks for value in (hook, urlsplit(hook).query)]
        self._secrets = sorted({v for v in (settings.key, *keys) if v}, key=len, reverse=True)
        self._summary = summary
        self.rows: list[tuple[str, str, str]] = []

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def say(self, text: str) -> None:
        print(self.clean(text), flush=True)

    def write(self, ending: str) -> None:
        self.say(ending)
        if not self._summary:
            return
        lines = ["### Deploy to Render", ""]
        if self.rows:
            lines += ["| service | deploy | state |", "|---|---|---|"]
            lines += [f"| {service} | {deploy} | {state} |" for service, deploy, state in self.rows]
            lines.append("")
        with open(self._summary, "a", encoding="utf-8") as file:
            file.write(self.clean("\n".join([*lines, ending, ""])))


def follow(render: Render, settings: Settings, started: list[Started], report: Report) -> bool:
    """Watch the deploys until each has ended or the time is up; whether all are live."""
    pending = dict(enumerate(started))
    seen: dict[int, str] = {}
    ended: dict[int, str] = {}
    while pending:
        for number, one in list(pending.items()):
            pending[number], state = render.state(one)
            if state and seen.get(number) != state:
                seen[number] = state
                report.say(f"{one.service}: {state}")
            if state == "live" or state in FAILED:
                ended[number] = state
                started[number] = pending.pop(number)
        if pending and time.monotonic() + settings.poll_s > render.deadline:
            break
        if pending:
            time.sleep(settings.poll_s)
    for number, one in enumerate(started):
        late = f"{seen.get(number) or 'not started'}, given up after {settings.timeout_s:.0f} s"
        report.rows.append((one.service, one.deploy or "-", ended.get(number, late)))
    return not pending and set(ended.values()) == {"live"}


def deploy(settings: Settings, report: Report) -> str:
    """Start the deploys and follow them; returns the closing sentence."""
    if not settings.services and not settings.hooks:
        return (
            "Skipped: neither RENDER_SERVICE_ID with RENDER_API_KEY nor RENDER_DEPLOY_HOOK_URL "
            "is set."
        )
    by_api = bool(settings.services and settings.key)
    if not by_api and not settings.hooks:
        raise DeployError("RENDER_SERVICE_ID is set, but RENDER_API_KEY is not")
    render = Render(settings)
    if by_api:
        started = [render.start(service) for service in settings.services]
    else:
        started = [render.start_by_hook(hook) for hook in settings.hooks]
    for one in started:
        report.say(f"{one.service or 'a service'}: deploy {one.deploy or 'queued'}")
    if not settings.key or not all(one.service for one in started):
        report.rows += [(one.service or "-", one.deploy or "-", "triggered") for one in started]
        return "Triggered by deploy hook; its outcome is not followed without RENDER_API_KEY."
    if not follow(render, settings, started, report):
        raise DeployError("not every deploy is live; Render's dashboard has the logs")
    return "Live."


def main(environ: Mapping[str, str]) -> int:
    settings = Settings.from_env(environ)
    report = Report(settings, environ.get("GITHUB_STEP_SUMMARY", ""))
    try:
        report.write(deploy(settings, report))
    except DeployError as error:
        report.write(f"Failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
