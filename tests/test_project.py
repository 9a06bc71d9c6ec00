"""The project's files agree with one another, and with the code."""

import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import genonce
from genonce.domain import errors
from genonce.domain.errors import ConfigError, GenonceError
from genonce.settings import Settings
from genonce.web.errors import status_of

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = [
    words[-1]
    for words in (c.split(" :: ") for c in PROJECT["project"]["classifiers"])
    if words[:-1] == ["Programming Language", "Python"]
]
FIELDS = Settings.__struct_fields__
BLUEPRINTS = ["render.yaml", "docs/render-single.yaml"]
WORKFLOWS = sorted(path.name for path in (ROOT / ".github" / "workflows").iterdir())


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# The map


def test_the_map_of_the_package_names_files_that_exist():
    rows = re.findall(r"^\|\s*\d+ [^|]*\|([^|]*)\|", genonce.__doc__ or "", re.MULTILINE)
    assert len(rows) >= 8, (
        "the docstring of genonce/__init__.py holds the table of a request's path"
    )
    package = ROOT / "src" / "genonce"
    for name in (name for row in rows for name in re.findall(r"[\w./<>-]+\.(?:py|lua)", row)):
        pattern = name.replace("<name>", "[!_]*")
        found = [*package.glob(pattern), *package.glob(f"**/{pattern}"), *ROOT.glob(pattern)]
        assert found, f"{name} is on the map but not in the tree"


# Settings


def test_the_example_of_the_environment_is_the_settings_in_order():
    lines = text(".env-example").splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert list(given) == list(FIELDS)
    assert Settings.from_env(given) == Settings(), "each value is the default"
    for before, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith("#"):
            assert before.startswith("# "), f"{line} has a comment above it"


# Errors


def conditions() -> list[type[GenonceError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [kind for kind in kinds if issubclass(kind, GenonceError)]


def test_every_error_code_is_documented_with_its_status_and_no_other():
    row = re.compile(r"^\| `(\w+)` \| (\d{3}|start-up only) \| .+ \| .+ \|$", re.MULTILINE)
    rows = row.findall(text("docs/errors.md"))
    assert len(dict(rows)) == len(rows), "each code has one row"
    statuses = {kind.code: str(status_of(kind)) for kind in conditions()}
    assert dict(rows) == statuses | {ConfigError.code: "start-up only"}


# Render


def blueprint(path: str) -> dict[str, Any]:
    return yaml.safe_load(text(path))


def services(path: str) -> dict[str, dict[str, Any]]:
    return {service["name"]: service for service in blueprint(path)["services"]}


def variables(path: str, service: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A service's environment by name, those of its groups included."""
    groups = {g["name"]: g["envVars"] for g in blueprint(path).get("envVarGroups", [])}
    found: dict[str, dict[str, Any]] = {}
    for variable in service.get("envVars", []):
        for one in groups[variable["fromGroup"]] if "fromGroup" in variable else [variable]:
            assert one["key"] not in found, f"{one['key']} is given twice"
            found[one["key"]] = one
    return found


def processes() -> list[Any]:
    return [
        pytest.param(path, service, id=f"{path}-{name}")
        for path in BLUEPRINTS
        for name, service in services(path).items()
        if service["type"] != "keyvalue"
    ]


@pytest.mark.parametrize(("path", "service"), processes())
def test_a_render_service_is_held_to_the_settings(path, service):
    given = variables(path, service)
    assert set(given) <= {*FIELDS, "PYTHON_VERSION"}
    values = {name: str(v["value"]) for name, v in given.items() if "value" in v}
    assert all(isinstance(v.get("value", ""), str) for v in given.values()), "Render wants text"
    settings = Settings.from_env(values)
    assert service["maxShutdownDelaySeconds"] <= 300
    if service["type"] == "worker" or "serve" in service["startCommand"]:
        assert service["maxShutdownDelaySeconds"] >= settings.WORKER_DRAIN + 10
    version = values["PYTHON_VERSION"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version), "Render wants the whole version"
    assert version.rpartition(".")[0] in PYTHONS
    assert service["runtime"] == "python"
    assert service["autoDeployTrigger"] == "off", "the workflow deploys, after CI"
    assert "--require-hashes -r requirements.lock" in service["buildCommand"]


@pytest.mark.parametrize(("path", "service"), processes())
def test_no_secret_is_written_into_a_blueprint(path, service):
    for name in ("API_KEYS", "TOGETHER_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        given = variables(path, service).get(name)
        assert given is None or "value" not in given
    # Render overlooks `sync: false` inside a group.
    groups = blueprint(path).get("envVarGroups", [])
    assert all("value" in v for group in groups for v in group["envVars"])


@pytest.mark.parametrize("path", BLUEPRINTS)
def test_the_web_service_binds_all_addresses_asks_for_keys_and_is_probed(path):
    (web,) = (s for s in services(path).values() if s["type"] == "web")
    given = variables(path, web)
    assert given["HOST"]["value"] == "0.0.0.0"
    assert "PORT" not in given, "it is Render's to say"
    assert given["API_KEYS"] == {"key": "API_KEYS", "sync": False}
    assert web["healthCheckPath"] in ("/health", "/api/health")
    sources = [p.read_text() for p in (ROOT / "src" / "genonce" / "web").rglob("*.py")]
    assert any(f'"{web["healthCheckPath"]}"' in source for source in sources)


def test_the_queue_on_render_never_evicts_and_is_private():
    (queue,) = (s for s in services("render.yaml").values() if s["type"] == "keyvalue")
    assert queue["maxmemoryPolicy"] == "noeviction"
    assert queue["ipAllowList"] == []
    assert queue["plan"] != "free", "a free one forgets everything at a restart"


def test_web_and_worker_on_render_share_the_queue_and_the_store():
    named = services("render.yaml")
    web, worker = named["genonce-web"], named["genonce-worker"]
    assert web["startCommand"] == "genonce web"
    assert worker["startCommand"] == "arq worker.WorkerSettings"
    ours, theirs = variables("render.yaml", web), variables("render.yaml", worker)
    assert ours["IMAGE_STORE_URL"]["value"].startswith("s3://")
    for name in ("REDIS_URL", "IMAGE_STORE_URL", "AWS_REGION", "PYTHON_VERSION"):
        assert ours[name] == theirs[name]
    assert ours["REDIS_URL"]["fromService"]["type"] == "keyvalue"
    assert ours["REDIS_URL"]["fromService"]["name"] in named
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "TOGETHER_API_KEY"):
        assert theirs[name]["fromService"] == {
            "type": "web",
            "name": "genonce-web",
            "envVarKey": name,
        }


def test_the_single_service_keeps_everything_on_its_disk():
    (service,) = services("docs/render-single.yaml").values()
    assert service["startCommand"] == "genonce serve"
    given = variables("docs/render-single.yaml", service)
    assert given["DATA_DIR"]["value"] == service["disk"]["mountPath"]
    assert not {"REDIS_URL", "IMAGE_STORE_URL"} & set(given)


# Workflows


def workflow(name: str) -> dict[Any, Any]:
    return yaml.safe_load(text(f".github/workflows/{name}"))


def steps(name: str) -> Iterator[dict[str, Any]]:
    for job in workflow(name)["jobs"].values():
        yield from job.get("steps", [])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit_with_their_version_beside(name):
    for line in text(f".github/workflows/{name}").splitlines():
        if match := re.match(r"\s*(?:- )?uses: (.+)", line):
            local = match[1].startswith("./")
            assert local or re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+){2}", match[1]), line


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_have_the_least_permissions_and_do_not_run_twice_at_once(name):
    described = workflow(name)
    assert described["permissions"] in ({}, {"contents": "read"})
    for job in described["jobs"].values():
        assert job.get("permissions", {}) in ({}, {"contents": "read"})
        assert "uses" in job or job["timeout-minutes"] <= 60
    assert described["concurrency"]["group"]
    for step in steps(name):
        assert "checkout" not in step.get("uses", "") or step["with"] == {
            "persist-credentials": False
        }
        # What others can write must not become part of a script.
        assert "${{" not in step.get("run", "")


@pytest.mark.parametrize(
    ("job", "command"), [("test", "python3 dev.py test"), ("run", "python3 dev.py run")]
)
def test_ci_runs_both_commands_of_the_readme_on_every_supported_python(job, command):
    described = workflow("ci.yml")["jobs"][job]
    assert described["strategy"]["matrix"]["python"] == PYTHONS
    assert any(command in step.get("run", "") for step in described["steps"])
    assert command in text("README.md")


def test_one_last_job_of_ci_needs_all_others():
    jobs = workflow("ci.yml")["jobs"]
    assert set(jobs["ci"]["needs"]) == set(jobs) - {"ci"}
    assert jobs["ci"]["if"] == "always()"


def test_ci_calls_what_the_readme_calls():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111 == 0o111
    assert "python3 dev.py test" in script.read_text()


def test_a_push_to_main_deploys_after_ci():
    described = workflow("deploy.yml")
    assert described[True]["push"] == {"branches": ["main"]}  # YAML 1.1 reads `on` as true
    assert described["jobs"]["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert described["jobs"]["deploy"]["needs"] == "ci"
    environment = list(steps("deploy.yml"))[-1]["env"]
    for name in ("RENDER_SERVICE_ID", "RENDER_API_KEY", "RENDER_DEPLOY_HOOK_URL"):
        assert environment[name] == f"${{{{ secrets.{name} }}}}"


# Packages


def locked(path: str) -> dict[str, dict[str, int]]:
    """Versions by name, each with its number of hashes."""
    found: dict[str, dict[str, int]] = {}
    for block in re.split(r"\n(?=\S)", text(path)):
        if match := re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", block):
            hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block))
            found.setdefault(canonicalize_name(match[1]), {})[match[2]] = hashes
        else:
            assert not block.strip() or block.startswith("#"), block
    return found


@pytest.mark.parametrize("path", ["requirements.lock", "requirements-dev.lock"])
def test_lock_files_are_pinned_by_hash_and_name_no_address(path):
    assert all(count for versions in locked(path).values() for count in versions.values())
    assert "://" not in text(path)
    assert not re.search(r"^\s*-(?!-hash)", text(path), re.MULTILINE), "no options"


def test_lock_files_are_in_step_with_the_project():
    runtime, dev = locked("requirements.lock"), locked("requirements-dev.lock")
    assert runtime.items() <= dev.items(), "the larger one holds the smaller one"
    groups = PROJECT["dependency-groups"]
    for lock, wanted in (
        (runtime, [*PROJECT["project"]["dependencies"], *groups["build"]]),
        (dev, groups["dev"]),
    ):
        for requirement in map(Requirement, wanted):
            versions = lock.get(canonicalize_name(requirement.name), {})
            assert versions, f"{requirement.name} is not locked: python3 dev.py lock"
            assert all(Version(v) in requirement.specifier for v in versions), requirement


# What must not be written down

LOCAL = "|".join("/" + place + "/" for place in ("root", "home", "Users"))
FORBIDDEN = {
    "address of a registry": r"""(index[-_]url|find[-_]links|registry)["'\s=:]+\S*://|://\S+/simple\b""",
    "address in a lock file": r'"resolved":\s*"http',
    "path of one machine": rf"(?<![\w.~/-])({LOCAL})\w",
}


def kept_files() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not a git checkout: {error}")
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_registry_or_one_machine():
    found = []
    for path in kept_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(lines, 1):
            found += [
                f"{path.relative_to(ROOT)}:{number}: {what}"
                for what, pattern in FORBIDDEN.items()
                if path != Path(__file__) and re.search(pattern, line)
            ]
    assert not found


def test_the_environment_and_the_resolver_s_own_lock_are_not_kept():
    names = {str(path.relative_to(ROOT)) for path in kept_files()}
    assert "uv.lock" not in names
    assert not any(name.startswith((".venv/", "data/")) or name == ".env" for name in names)


# Papers


def test_the_licence_is_mit():
    assert text("LICENSE").startswith("MIT License\n\nCopyright (c) 2026 genonce contributors\n")
    assert PROJECT["project"]["license"] == "MIT"


def test_the_change_log_has_a_place_for_what_is_new():
    assert re.search(r"^## \[Unreleased\]$", text("CHANGELOG.md"), re.MULTILINE)


def test_python_versions_are_the_same_everywhere():
    lowest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PYTHONS[0] == lowest
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + lowest.replace(".", "")
    assert PROJECT["tool"]["mypy"]["python_version"] == lowest


def test_types_are_checked_in_all_programs():
    checked = PROJECT["tool"]["mypy"]["files"]
    for folder in ("src", "bench", "tests/standins"):
        assert folder in checked or not list((ROOT / folder).rglob("*.py")), folder
