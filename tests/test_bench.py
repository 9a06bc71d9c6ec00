"""The benchmark runs, counts right and prints its table; how fast anything is, no test says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a quick run of two figures prints, and its numbers."""
    file = tmp_path_factory.mktemp("bench") / "run.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", "hits", "crowd", "--json", str(file)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "150"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


def test_the_table_names_the_machine_and_every_figure(run: tuple[str, dict[str, Any]]) -> None:
    table, numbers = run
    for word in ("figure", "measured", "target", "beside bare", "verdict", "Python"):
        assert word in table
    names = [figure["name"] for figure in numbers["figures"]]
    assert names == ["cached-hit POST", "200 equal POSTs at once, n=2, cold"]
    assert "cached-hit POST" in table
    assert "200 equal POSTs" in table  # a long name is folded
    assert numbers["machine"]["cores"] == os.cpu_count()


def test_equal_posts_buy_one_task(run: tuple[str, dict[str, Any]]) -> None:
    crowd = run[1]["figures"][1]["raw"]
    assert (crowd["posts"], crowd["tasks"], crowd["pictures_bought"]) == (200, 1, 2)


def test_service_and_bare_handler_are_both_loaded(run: tuple[str, dict[str, Any]]) -> None:
    hits = run[1]["figures"][0]["raw"]
    assert hits["answers"] > 0
    assert len(hits["rounds_per_second"]) == 2
    assert all(own > 0 and bare > 0 for own, bare in hits["rounds_per_second"])


def test_an_unknown_figure_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--only", "nonsense"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "nonsense" in done.stderr
