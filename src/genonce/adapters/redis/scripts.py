"""The Lua scripts beside this file, each one transition, with what they share put in front."""

import hashlib
from importlib import resources

import msgspec

_FOLDER = resources.files("genonce.adapters.redis") / "lua"


class Script(msgspec.Struct, frozen=True):
    """A script's text and the SHA-1 that Redis knows it by."""

    name: str
    text: str
    sha: str


def load_script(name: str) -> Script:
    """Read one script and the prelude."""
    prelude = (_FOLDER / "prelude.lua").read_text()
    text = f"{prelude}\n{(_FOLDER / f'{name}.lua').read_text()}"
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Scripts(msgspec.Struct, frozen=True, kw_only=True):
    """All scripts, read once at start."""

    claim: Script
    read_task: Script
    read_events: Script
    read_slots: Script
    lease_slots: Script
    renew_leases: Script
    open_purchase: Script
    close_purchase: Script
    fill_slot: Script
    finish: Script
    release: Script
    cancel: Script
    forget: Script
    lose_slot: Script
    meter: Script
    take_jobs: Script
    pace: Script
    keep_turn: Script
    rest: Script
    agree_store: Script


def load_scripts() -> Scripts:
    """Read every script."""
    return Scripts(**{name: load_script(name) for name in Scripts.__struct_fields__})
