"""A crowd that asks the same at once, when nobody has asked before."""

import statistics
from collections import Counter

import msgspec

from bench.figure import Figure
from bench.line import GENERATE, post
from bench.load import Outcome, Plan, run_load
from bench.service import Service, service

PICTURES = 2
ALL_S = 1.2


def crowd(*, quick: bool) -> list[Figure]:
    """Equal POSTs, each on its own connection, all sent at once on a cold key."""
    count, rounds = (200, 1) if quick else (2000, 5)
    with service(workers=1) as own:
        own.post({"prompt": "warm up"}, wait_s=30)
        times_s, tasks, pictures, answers = [], 0, 0, Counter[int]()
        for number in range(rounds):
            own.provider.tell("/_reset")
            outcome = _ask_at_once(own, f"a crowd {number}", count)
            own.settle(within_s=30)
            times_s.append(outcome.seconds)
            answers.update(outcome.statuses)
            tasks += len({msgspec.json.decode(body).get("taskId") for body in outcome.bodies})
            pictures += own.provider.stats().pictures
    median_s = statistics.median(times_s)
    refused = answers.total() - answers[202]
    is_exact = tasks == rounds and pictures == PICTURES * rounds and not refused
    return [
        Figure(
            name=f"{count:,} equal POSTs at once, n={PICTURES}, cold",
            measured=f"{median_s:.2f} s (worst of {rounds}: {max(times_s):.2f} s); "
            f"{pictures / rounds:g} pictures bought, {tasks / rounds:g} task"
            + (f"; {refused:,} of {answers.total():,} not taken" if refused else ""),
            target=f"all within {ALL_S:g} s; {PICTURES} bought, 1 task",
            ok=median_s < ALL_S and is_exact,
            raw={
                "posts": count,
                "seconds": median_s,
                "worst_seconds": max(times_s),
                "rounds": rounds,
                "pictures_bought": pictures,
                "tasks": tasks,
                "answers": {str(status): count for status, count in answers.items()},
            },
        )
    ]


def _ask_at_once(own: Service, prompt: str, count: int) -> Outcome:
    request = post(GENERATE, {"prompt": prompt, "n": PICTURES}).decode()
    plan = Plan(port=own.port, connections=count, requests=[request] * count)
    outcome = run_load(plan, pid=own.web)
    assert outcome.answers == count, outcome
    return outcome
