"""Iterators of either kind as one."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator


async def iterate(source: Any) -> AsyncIterator[Any]:
    if hasattr(source, "__anext__"):
        async for value in source:
            yield value
    else:
        for value in source:
            yield value
            await asyncio.sleep(0)


async def close_source(source: Any) -> None:
    if hasattr(source, "aclose"):
        await source.aclose()
    elif hasattr(source, "close"):
        source.close()
