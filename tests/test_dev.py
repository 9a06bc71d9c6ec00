"""dev.py: its commands, what it refuses, and that a second setup has nothing to do."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import dev

UV = ["a-uv"]


class Computer:
    """Runs no command; leaves behind what each would, and notes it in one word."""

    def __init__(self, *, uv: bool = True, pip: bool = True) -> None:
        self.done: list[str] = []
        self.said: list[str] = []
        self.failing: set[str] = set()
        self.modules = {"venv", "ensurepip"}
        self.uv, self.pip = uv, pip

    def call(self, command: Sequence[str]) -> int:
        step = self._step(list(command))
        if step in self.failing:
            return 1
        if step in ("asks for its version", "asks for pip"):
            return int(step == "asks for pip" and not self.pip)
        self.done.append(step)
        return 0

    def _step(self, command: list[str]) -> str:
        if command[1:3] == ["-m", "venv"]:
            (Path(command[-1]) / "bin").mkdir(parents=True, exist_ok=True)
            script(Path(command[-1]) / "bin" / "python")
            return "venv"
        if "-c" in command:
            return "asks for its version" if "version" in command[-1] else "asks for pip"
        tool = "uv" if command[:1] == UV else "pip"
        if "-r" in command:
            assert "--require-hashes" in command
            return f"{tool} {command[command.index('-r') + 1]}"
        assert {"--no-index", "--no-deps", "--no-build-isolation"} <= set(command)
        python = command[command.index("--python") + 1] if tool == "uv" else command[0]
        if f"{tool} project" not in self.failing:
            script(Path(python).parent / "genonce")
        return f"{tool} project"

    def environment(self, root: Path) -> dev.Environment:
        return dev.Environment(
            root,
            call=self.call,
            find_uv=lambda: UV if self.uv else [],
            has_module=self.modules.__contains__,
            say=self.said.append,
        )

    def sets_up(self, root: Path, lock: str = dev.RUNTIME) -> list[str]:
        """What a new process of dev.py does."""
        self.done.clear()
        self.environment(root).ensure(lock)
        return list(self.done)


def script(path: Path) -> None:
    path.touch(mode=0o755)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (dev.RUNTIME, dev.DEV, "pyproject.toml"):
        (tmp_path / name).write_text(f"# {name}\n")
    return tmp_path


FIRST = ["venv", f"uv {dev.RUNTIME}", "uv project"]


def test_the_second_setup_installs_nothing(root):
    computer = Computer()
    assert computer.sets_up(root) == FIRST
    assert computer.sets_up(root) == []


def test_without_uv_pip_does_it(root):
    assert Computer(uv=False).sets_up(root) == ["venv", f"pip {dev.RUNTIME}", "pip project"]


def test_the_larger_environment_serves_run_too(root):
    computer = Computer()
    assert computer.sets_up(root, dev.DEV) == ["venv", f"uv {dev.DEV}", "uv project"]
    assert computer.sets_up(root, dev.RUNTIME) == []
    assert computer.sets_up(root, dev.DEV) == []


def test_the_smaller_one_grows(root):
    computer = Computer()
    computer.sets_up(root)
    assert computer.sets_up(root, dev.DEV) == [f"uv {dev.DEV}", "uv project"]


def test_a_new_lock_file_is_installed(root):
    computer = Computer()
    computer.sets_up(root)
    (root / dev.RUNTIME).write_text("# newer\n")
    assert computer.sets_up(root) == [f"uv {dev.RUNTIME}", "uv project"]
    assert computer.sets_up(root) == []


def test_a_new_pyproject_installs_the_project_alone(root):
    computer = Computer()
    computer.sets_up(root, dev.DEV)
    (root / "pyproject.toml").write_text("# newer\n")
    assert computer.sets_up(root) == ["uv project"]
    assert computer.sets_up(root, dev.DEV) == []


@pytest.mark.parametrize("lost", ["python", "genonce"])
def test_a_damaged_environment_heals(root, lost):
    computer = Computer()
    computer.sets_up(root)
    (root / ".venv" / "bin" / lost).unlink()
    assert computer.sets_up(root)[-2:] == FIRST[-2:]
    assert computer.sets_up(root) == []


def test_an_interrupted_setup_is_begun_anew(root):
    class Interrupted(Computer):
        def call(self, command: Sequence[str]) -> int:
            if "-r" in command:
                raise KeyboardInterrupt
            return super().call(command)

    with pytest.raises(KeyboardInterrupt):
        Interrupted().sets_up(root)
    (root / ".venv" / "half-written").touch()
    computer = Computer()
    assert computer.sets_up(root) == FIRST
    assert not (root / ".venv" / "half-written").exists()
    assert any("making it anew" in line for line in computer.said)


def test_a_moved_folder_gets_a_new_environment(root, tmp_path_factory):
    Computer().sets_up(root)
    moved = tmp_path_factory.mktemp("moved") / "there"
    shutil.copytree(root, moved)
    assert Computer().sets_up(moved) == FIRST


def test_an_environment_made_by_other_means_is_kept(root):
    (root / ".venv" / "bin").mkdir(parents=True)
    script(root / ".venv" / "bin" / "python")
    assert Computer().sets_up(root) == FIRST[1:]


def test_pip_is_added_where_uv_left_it_out(root):
    Computer().sets_up(root)
    (root / dev.RUNTIME).write_text("# newer\n")
    computer = Computer(uv=False, pip=False)
    assert computer.sets_up(root) == ["venv", f"pip {dev.RUNTIME}", "pip project"]


def test_where_uv_fails_pip_is_tried(root):
    computer = Computer(pip=False)
    computer.failing = {f"uv {dev.RUNTIME}"}
    assert computer.sets_up(root) == ["venv", "venv", f"pip {dev.RUNTIME}", "uv project"]


def test_a_failed_install_says_what_to_do_and_is_tried_again(root):
    computer = Computer(uv=False)
    computer.failing = {f"pip {dev.RUNTIME}"}
    with pytest.raises(dev.Failed, match="HTTPS_PROXY"):
        computer.sets_up(root)
    computer.failing = set()
    assert computer.sets_up(root) == [f"pip {dev.RUNTIME}", "pip project"]


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_python_without_venv_is_told_the_remedy(root, module):
    computer = Computer(uv=False)
    computer.modules.remove(module)
    with pytest.raises(dev.Failed, match=rf"{module} is missing\.\n.*python3-venv"):
        computer.sets_up(root)
    assert not computer.done


def test_two_setups_take_turns(root):
    """The second one waits for the first, and then finds nothing to do."""
    program = (
        "import sys, time, pathlib, dev\n"
        "sys.path.insert(0, 'tests')\n"
        "import test_dev\n"
        "class Slow(test_dev.Computer):\n"
        "    def call(self, command):\n"
        "        time.sleep(0.2)\n"
        "        return super().call(command)\n"
        "print(Slow().sets_up(pathlib.Path(sys.argv[1])))\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(root)],
            cwd=dev.ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = sorted(process.communicate()[0].strip() for process in both)
    assert said == sorted(["[]", str(FIRST)])


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 6, 15), (2, 7, 18)])
def test_an_old_python_is_refused_by_name(version):
    text = dev.refusal(version, "posix")
    assert "needs Python 3.11" in text
    assert f"{version[0]}.{version[1]}" in text
    assert "python3.13 dev.py run" in text


def test_supported_systems_are_not_refused():
    assert dev.refusal((3, 11, 0), "posix") == ""
    assert dev.refusal((3, 14, 1), "posix") == ""
    assert "WSL" in dev.refusal((3, 13, 0), "nt")


def test_without_a_command_the_commands_are_listed(capsys):
    assert dev.main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"python3 dev.py {command}" in listed for command in dev.COMMANDS)


def test_an_unknown_command_is_a_mistake(capsys):
    assert dev.main(["tset"]) == 2
    assert "no such command: tset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ([], ["-n", dev.WORKERS, "--dist", "loadgroup"]),
        (["-k", "x"], ["-n", dev.WORKERS, "--dist", "loadgroup", "-k", "x"]),
        (["-n0"], ["-n0"]),
        (["-n", "8"], ["-n", "8"]),
        (["--pdb"], ["--pdb"]),
        (["--slow", "-s"], ["-m", "", "-s"]),
    ],
)
def test_pytest_runs_in_several_processes_unless_told_otherwise(given, called):
    assert dev.pytest_arguments(given) == called


def test_lock_without_uv_says_what_is_missing():
    with pytest.raises(dev.Failed, match="needs uv"):
        dev.export([], [])


def test_it_imports_only_the_standard_library():
    program = "import sys, dev; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    output = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=dev.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    foreign = set(output.split()) - set(sys.stdlib_module_names) - {"__main__", "dev"}
    assert not {name for name in foreign if not name.startswith("_")}


def test_it_is_executable():
    assert os.access(dev.ROOT / "dev.py", os.X_OK)
