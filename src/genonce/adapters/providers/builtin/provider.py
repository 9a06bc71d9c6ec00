"""The built-in image maker: a deterministic renderer of our own, no network, no model weights.

It composes a picture from the prompt's words and the seed; it does not understand language.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from genonce.domain.catalogue import Bounds, Model
from genonce.domain.ports import Call, Rendered
from genonce.domain.request import ImageRequest

STYLES = ("landscape", "geometric", "flow", "mosaic")

MODELS = (
    Model(
        id="genonce/builtin",
        provider="builtin",
        aliases=("builtin",),
        description=(
            "Built-in renderer: composes a picture from the prompt's words and the seed. "
            "Deterministic, offline, free; not a neural model."
        ),
        width=Bounds(64, 2048, 512),
        height=Bounds(64, 2048, 512),
        steps=Bounds(1, 50, 20),
        guidance=Bounds(0, 20, 7.0),
        negative_prompt=True,
        seed=True,
        styles=STYLES,
        formats=("png", "webp", "jpeg"),
        price_usd=0.0,
    ),
)


class Renderer(Protocol):
    """Draws one picture and tells each step; runs in a thread."""

    def __call__(self, request: ImageRequest, seed: int, on_step: Callable[[int], None]) -> bytes:
        """Return the encoded picture; ``on_step`` takes each step's number, from 1."""
        ...


class Builtin:
    """`Provider` that draws in threads of this process.

    Args:
        render: draws one picture.
        threads: pictures at once.
    """

    name = "builtin"
    is_free = True

    def __init__(self, render: Renderer, *, threads: int) -> None:
        self._render = render
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="render")

    async def make(
        self, call: Call, on_progress: Callable[[int, float], None]
    ) -> AsyncIterator[Rendered]:
        """See `Provider.make`."""
        loop = asyncio.get_running_loop()
        steps = call.request.steps or 1
        for index, seed in zip(call.indexes, call.seeds, strict=True):

            def on_step(step: int, index: int = index) -> None:
                # After a Ctrl-C the loop may be gone before the thread is.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(on_progress, index, 0.95 * step / steps)

            data = await loop.run_in_executor(
                self._threads, self._render, call.request, seed or 0, on_step
            )
            yield Rendered(index=index, data=data, seed=seed, cost_usd=0.0)

    async def aclose(self) -> None:
        """See `Provider.aclose`."""
        self._threads.shutdown(wait=False, cancel_futures=True)
