"""The stream that tells an open page what is new."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response, StreamingResponse

from officers.pages.at import At, unlocked_or_not
from officers.pages.live import TooManyTabs

router = APIRouter()


@router.get("/live")
async def live(here: Annotated[At, Depends(unlocked_or_not)]) -> Response:
    """Stream what is new to one tab (server-sent events)."""
    stream = here.house.live.stream()
    try:
        first = await anext(stream)
    except TooManyTabs:
        return Response(status_code=204)  # tells an EventSource not to ask again

    async def events() -> AsyncIterator[str]:
        yield first
        async for event in stream:
            yield event

    return StreamingResponse(events(), media_type="text/event-stream")
