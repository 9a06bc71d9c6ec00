#!/usr/bin/env python3
"""The two commands, run and test, and the other habits. Needs Python 3.11 and nothing else.

python3 dev.py run [...]     set up, then start everything: genonce serve [...]
python3 dev.py test [...]    set up, check, then pytest [...]; --slow adds the longer modes
python3 dev.py setup         set up .venv alone
python3 dev.py check         format, lint, types and import contracts
python3 dev.py bench [...]   the benchmarks: python -m bench [...]
python3 dev.py lock [...]    make the lock files anew: uv lock [...], then uv export
"""

import os
import sys


def refusal(version: "tuple[int, ...]", system: str) -> str:
    """Why this cannot run here, or "". The whole file stays readable for Python 3.6, to say so."""
    if tuple(version[:2]) < (3, 11):
        return (
            f"dev.py needs Python 3.11 or newer; {sys.executable} is {version[0]}.{version[1]}.\n"
            "Run it with a newer one, for example: python3.13 dev.py run"
        )
    if system != "posix":
        return "genonce runs on Linux and macOS; on Windows, run it inside WSL."
    return ""


if __name__ == "__main__" and refusal(sys.version_info[:3], os.name):
    sys.exit(refusal(sys.version_info[:3], os.name))

import contextlib
import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
RUNTIME, DEV = "requirements.lock", "requirements-dev.lock"
STAMP, UNFINISHED = ".genonce-stamp", ".genonce-unfinished"
WORKERS = "3"  # processes of pytest; tests mostly wait, so two cores carry three
ALONE = ("-s", "--pdb", "--trace")  # options of pytest that several processes cannot serve

NO_VENV = """\
This Python cannot make virtual environments: its module {} is missing.
On Debian and Ubuntu: sudo apt install python3-venv
Then run the same command again."""

NOT_INSTALLED = """
{} failed (exit status {}); its own message is above.
- No network? Only the first start needs it; afterwards everything is in .venv.
- Behind a proxy: set HTTPS_PROXY. With a mirror of your own: configure pip or uv for it
  (pip.conf, PIP_INDEX_URL, UV_INDEX_URL); this script adds no address.
- A hash does not match: the mirror serves other files than requirements*.lock names.
Then run the same command again; it starts over by itself."""


class Failed(Exception):
    """A step went wrong; the text says what to do."""


def call(command: Sequence[str]) -> int:
    """Run a command in the project's folder and return its exit status."""
    # An open turn (see there) goes along, and nothing else: Python's files are not inherited.
    return subprocess.run(command, cwd=ROOT, check=False, close_fds=False).returncode


def find_uv() -> list[str]:
    """The command for uv, or an empty list."""
    found = shutil.which("uv")
    candidates = [[found]] if found else []
    if importlib.util.find_spec("uv"):
        candidates.append([sys.executable, "-m", "uv"])
    for command in candidates:
        # A shim may be on PATH without a uv behind it.
        probe = subprocess.run([*command, "--version"], capture_output=True, check=False)
        if probe.returncode == 0:
            return command
    return []


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


class Environment:
    """The project's .venv, and what is installed in it.

    The stamp is written last and holds a digest for each step that was done, so that the next
    start knows in a moment whether anything is missing. Around the steps stands a mark: an
    environment that carries it was interrupted half-way and is made anew.
    """

    def __init__(
        self,
        root: Path,
        *,
        call: Callable[[Sequence[str]], int] = call,
        find_uv: Callable[[], list[str]] = find_uv,
        has_module: Callable[[str], object] = importlib.util.find_spec,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        self.root, self.venv = root, root / ".venv"
        self.bin = self.venv / "bin"
        self._call, self._find_uv, self._has_module, self._say = call, find_uv, has_module, say
        # Not the environment's own interpreter, should that be the one running this.
        self._python = getattr(sys, "_base_executable", None) or sys.executable

    def ensure(self, lock: str) -> None:
        """Install what ``lock`` names, and the project; at once if that is done already.

        Raises:
            Failed: it could not be done.
        """
        if not self._missing(lock):
            return
        with self._turn():
            missing = self._missing(lock)
            if missing:
                start = time.monotonic()
                self._set_up(lock, missing)
                self._say(f"dev.py: .venv is ready after {time.monotonic() - start:.1f} s")

    def _wanted(self) -> dict[str, str]:
        """A digest of what each step depends on, by the step's name."""
        place = f"{sys.version_info[:2]} {self.venv}".encode()
        files = {lock: (self.root / lock).read_bytes() for lock in (RUNTIME, DEV)}
        return {
            "venv": digest(place),
            RUNTIME: digest(place, files[RUNTIME]),
            DEV: digest(place, files[DEV]),
            "project": digest(place, (self.root / "pyproject.toml").read_bytes()),
        }

    def _done(self) -> dict[str, str]:
        """The stamp's content; empty if the environment cannot be relied on."""
        if not all(os.access(self.bin / name, os.X_OK) for name in ("python", "genonce")):
            return {}
        stamp = self.venv / STAMP
        lines = stamp.read_text().splitlines() if stamp.exists() else []
        return {step: value for step, _, value in (line.partition(" ") for line in lines)}

    def _missing(self, lock: str) -> list[str]:
        wanted, done = self._wanted(), self._done()
        # What is in the larger lock file is in it with the smaller one's versions.
        packages = lock if lock == DEV or done.get(DEV) != wanted[DEV] else DEV
        return [step for step in ("venv", packages, "project") if done.get(step) != wanted[step]]

    def _set_up(self, lock: str, missing: list[str]) -> None:
        wanted, uv = self._wanted(), self._find_uv()
        if self._done().get(DEV) == wanted[DEV]:
            lock = DEV  # it is there already, and stays
        self._prepare_venv(with_pip=not uv)
        (self.venv / UNFINISHED).touch()
        (self.venv / STAMP).unlink(missing_ok=True)
        try:
            if missing != ["project"]:
                self._say(f"dev.py: installing {lock} into .venv with {'uv' if uv else 'pip'} ...")
                self._install(uv, "--require-hashes", "-r", lock)
            # Its build tools are in the lock file too, so this downloads nothing.
            self._install(uv, "--no-index", "--no-deps", "--no-build-isolation", "-e", ".")
        except Failed:
            # Both installers fetch everything before they change anything.
            (self.venv / UNFINISHED).unlink()
            raise
        temporary = self.venv / f"{STAMP}.new"
        done = ("venv", lock, "project")
        temporary.write_text("".join(f"{step} {wanted[step]}\n" for step in done))
        temporary.replace(self.venv / STAMP)
        (self.venv / UNFINISHED).unlink()

    def _prepare_venv(self, *, with_pip: bool) -> None:
        """Have a .venv that works: one made by other means is kept, a broken one is not."""
        if self.venv.exists() and self._is_broken():
            self._say("dev.py: .venv is unfinished, moved or of another Python; making it anew")
            shutil.rmtree(self.venv)
        if with_pip:
            self._add_pip()
        elif not self.venv.exists():
            self._make_venv("venv", "--without-pip")

    def _is_broken(self) -> bool:
        stamp = self.venv / STAMP
        if (self.venv / UNFINISHED).exists() or not (self.bin / "python").exists():
            return True
        if stamp.exists() and f"venv {self._wanted()['venv']}\n" not in stamp.read_text():
            return True
        version = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
        return bool(self._call([*self._in_venv, "-c", version]))

    def _add_pip(self) -> None:
        """Make the environment with pip, or put pip into one that uv made without."""
        present = "import importlib.util as u, sys; sys.exit(not u.find_spec('pip'))"
        if not self.venv.exists() or self._call([*self._in_venv, "-c", present]):
            self._make_venv("ensurepip")

    def _make_venv(self, needed: str, *options: str) -> None:
        for module in ("venv", needed):
            if not self._has_module(module):
                raise Failed(NO_VENV.format(module))
        new = not self.venv.exists()
        if self._call([self._python, "-m", "venv", *options, str(self.venv)]):
            if new:
                shutil.rmtree(self.venv, ignore_errors=True)
            raise Failed(NO_VENV.format(f"{needed}, or a part of it,"))

    @property
    def _in_venv(self) -> list[str]:
        return [str(self.bin / "python"), "-I"]

    def _install(self, uv: list[str], *what: str) -> None:
        if uv:
            command = [*uv, "pip", "install", "--quiet", "--python", str(self.bin / "python")]
            if not self._call([*command, *what]):
                return
            # uv does not read pip's configuration, which may know a mirror.
            self._say("dev.py: uv failed; trying pip ...")
            self._add_pip()
        command = [*self._in_venv, "-m", "pip", "--disable-pip-version-check", "install"]
        status = self._call([*command, "--quiet", "--no-input", *what])
        if status:
            raise Failed(NOT_INSTALLED.format("pip", status).strip())

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One setup at a time.

        The turn is a lock that the kernel keeps until the last process that has it is gone: if
        this one is killed, the installer that it started still keeps others waiting.
        """
        with (self.root / "pyproject.toml").open("rb") as file:
            os.set_inheritable(file.fileno(), True)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say("dev.py: another dev.py is setting up .venv; waiting for it ...")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def check(environment: Environment) -> int:
    """Run the four checks side by side, each with its own cache; 0 if all are content."""
    commands = {
        "format": ["ruff", "format", "--check", "."],
        "lint": ["ruff", "check", "."],
        "types": ["mypy"],
        "contracts": ["lint-imports"],
    }
    start = time.monotonic()
    running = {name: _started(environment.bin, words) for name, words in commands.items()}
    failed = []
    for name, process in running.items():
        output, _ = process.communicate()
        if process.returncode:
            failed.append(name)
            print(f"--- {name}: {' '.join(commands[name])}\n{output.rstrip()}\n")
    took = f"{time.monotonic() - start:.1f} s"
    print(f"check: {', '.join(failed) or 'nothing'} failed ({took})", flush=True)
    return 1 if failed else 0


def _started(bin_: Path, words: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(bin_ / words[0]), *words[1:]],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def pytest_arguments(arguments: Sequence[str]) -> list[str]:
    """What pytest is called with: several processes unless told otherwise, --slow spelt out."""
    given = [a for a in arguments if a != "--slow"]
    alone = any(a.startswith(("-n", "--numprocesses")) or a in ALONE for a in given)
    spread = [] if alone else ["-n", WORKERS, "--dist", "loadgroup"]
    return [*spread, *(["-m", ""] if "--slow" in arguments else []), *given]


def export(uv: Sequence[str], arguments: Sequence[str]) -> int:
    """Make the lock files anew; extra arguments (--upgrade) go to ``uv lock``."""
    if not uv:
        raise Failed("lock needs uv: install it, for example with: pip install uv")
    plain = ["export", "--quiet", "--frozen", "--no-header", "--no-emit-index-url"]
    plain += ["--no-emit-project", "--format", "requirements-txt"]
    return (
        call([*uv, "lock", *arguments])
        or call([*uv, *plain, "--no-default-groups", "--group", "build", "-o", RUNTIME])
        or call([*uv, *plain, "--all-groups", "-o", DEV])
    )


def become(command: Sequence[str]) -> int:
    """Put a command in this process's place, so that signals and exit status are its own."""
    os.chdir(ROOT)
    os.execv(command[0], list(command))


def setup(environment: Environment, _: Sequence[str]) -> int:
    environment.ensure(RUNTIME)
    return 0


def run(environment: Environment, arguments: Sequence[str]) -> int:
    environment.ensure(RUNTIME)
    return become([str(environment.bin / "genonce"), "serve", *arguments])


def test(environment: Environment, arguments: Sequence[str]) -> int:
    environment.ensure(DEV)
    checked = check(environment)
    python = str(environment.bin / "python")
    return call([python, "-m", "pytest", *pytest_arguments(arguments)]) or checked


def check_only(environment: Environment, _: Sequence[str]) -> int:
    environment.ensure(DEV)
    return check(environment)


def bench(environment: Environment, arguments: Sequence[str]) -> int:
    environment.ensure(DEV)
    return become([str(environment.bin / "python"), "-m", "bench", *arguments])


def lock(_: Environment, arguments: Sequence[str]) -> int:
    return export(find_uv(), arguments)


COMMANDS: "dict[str, Callable[[Environment, Sequence[str]], int]]" = {
    "setup": setup,
    "run": run,
    "test": test,
    "check": check_only,
    "bench": bench,
    "lock": lock,
}


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    command = COMMANDS.get(arguments[0])
    if not command:
        print(f"dev.py: no such command: {arguments[0]}\n\n{__doc__}", file=sys.stderr)
        return 2
    return command(Environment(ROOT), arguments[1:])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Failed, OSError) as error:
        sys.exit(f"dev.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
