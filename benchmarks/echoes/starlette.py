"""Nothing but Starlette: one route that answers with the body."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type="application/x-npy")


app = Starlette(routes=[Route("/echo", echo, methods=["POST"])])
