"""Every Redis key and channel that genonce makes: type, writer, lifetime.

Keys that arq names (`arq:job:`, `arq:in-progress:`, `arq:retry:`, the queue) are arq's; they are
listed here where a script of ours writes them.
"""

import hashlib

from arq.constants import (
    default_queue_name,
    in_progress_key_prefix,
    job_key_prefix,
    retry_key_prefix,
)

from genonce.domain.identity import SeriesId, TaskId

QUEUE = default_queue_name
"""Sorted set of job ids by time of enqueueing; written by claim.lua; a job leaves when it ends."""

IN_PROGRESS = in_progress_key_prefix
"""Prefix of a string, one a running job; written by take_jobs.lua, renewed by the worker's
heartbeat; lives seconds."""

RETRY = retry_key_prefix
"""Prefix of arq's count of tries; written by arq; lives a day."""


def task(task_id: TaskId) -> str:
    """Hash: a task's record. Written by the claim and the job; lives RESULT_TTL after last use."""
    return f"gn:task:{task_id}"


def events(task_id: TaskId) -> str:
    """List: the present attempt's events. Written with the task, lives as long."""
    return f"gn:events:{task_id}"


def series(series_id: SeriesId) -> str:
    """Hash: canonical request and one field a slot. Written by claims and jobs, lives as tasks."""
    return f"gn:series:{series_id}"


def idempotency(caller: str, key: str) -> str:
    """String: digest of the request that used an Idempotency-Key. Written by the claim; 24 h."""
    return f"gn:idem:{_short(caller + chr(0) + key)}"


def meter(name: str, caller: str) -> str:
    """List: when units were taken, in us. Written by whoever takes; lives its longest window."""
    return f"gn:meter:{name}:{_short(caller)}"


def job(task_id: TaskId) -> str:
    """Prefix of a string: arq's job body; the attempt follows. Written by claim.lua; 7 days."""
    return f"{job_key_prefix}{task_id}:"


def durations() -> str:
    """Hash: model -> moving average of a task's seconds. Written by finish.lua; one field a model,
    owned by the deployment.
    """
    return "gn:durations"


def store_id() -> str:
    """String: id of the image store that all processes share. Written at start; lives a day after
    the last start or worker's beat.
    """
    return "gn:store"


def rest(provider: str) -> str:
    """String: a provider is to be left alone. Written by jobs; lives as long as the rest."""
    return f"gn:pace:{provider}:rest"


def pace(provider: str) -> str:
    """List: times of a provider's calls, in us. Written by pace.lua; lives the longest window."""
    return f"gn:pace:{provider}:log"


def turns(provider: str) -> str:
    """Sorted set: calls under way by the time until which they count. Written by pace.lua; lives
    seconds, renewed while calls are out.
    """
    return f"gn:pace:{provider}:turns"


def fault(provider: str) -> str:
    """String: what the operator has to mend. Written by jobs; 10 minutes, or until a success."""
    return f"gn:fault:{provider}"


def wake_channel() -> str:
    """Channel: a job was queued, or one was given back. Its subscribers are the live workers."""
    return "gn:wake"


def task_channel(task_id: TaskId) -> str:
    """Channel: an event of one task."""
    return f"gn:task:{task_id}"


def series_channel(series_id: SeriesId) -> str:
    """Channel: a slot was filled or given back."""
    return f"gn:series:{series_id}"


def turns_channel(provider: str) -> str:
    """Channel: a provider's call ended."""
    return f"gn:pace:{provider}"


def _short(text: str) -> str:
    """A caller or a client's key may be long, or personal: the key holds a digest."""
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=12).hexdigest()
