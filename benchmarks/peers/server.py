"""The plain server around every peer: Starlette and uvicorn, one process, a pool of threads.

It answers `/v1/compare` (multipart files `source` and `target`, the largest face of each) and
`/v1/embed` (`image`, its largest face). It has the usual tuning: uvicorn with uvloop and httptools,
no access log, a thread for each core, both photos of a comparison at the same time, and one thread
for OpenCV.
"""

import argparse
import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.peers.engine import Engine
from deployments.contracts import FloatArray


class PeerServer:
    def __init__(self, engine: Engine, *, workers: int) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(workers)

    def app(self) -> Starlette:
        routes = [
            Route("/healthz", self._get_health),
            Route("/v1/compare", self._post_compare, methods=["POST"]),
            Route("/v1/embed", self._post_embed, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _get_health(self, request: Request) -> Response:
        return Response("ok")

    async def _post_compare(self, request: Request) -> Response:
        source, target = await self._embeddings(request, "source", "target")
        return JSONResponse({"similarity": float(source @ target)})

    async def _post_embed(self, request: Request) -> Response:
        (embedding,) = await self._embeddings(request, "image")
        return JSONResponse({"embedding": embedding.tolist()})

    async def _embeddings(self, request: Request, *fields: str) -> list[FloatArray]:
        async with request.form() as form:
            files = [await _content(form.get(field), field) for field in fields]
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(self._threads, self._embed, file) for file in files]
        return await asyncio.gather(*calls)

    def _embed(self, file: bytes) -> FloatArray:
        photo = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
        if photo is None:
            raise HTTPException(422, "not an image")
        vector = self._engine.embed(photo.astype(np.uint8, copy=False))
        if vector is None:
            raise HTTPException(422, "no face found")
        return vector


def peer_options(description: str) -> argparse.ArgumentParser:
    """The options that every peer has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--threads", type=int, help="threads of one network call")
    parser.add_argument("--workers", type=int, help="photos at a time; default: cores / threads")
    return parser


def serve(engine: Engine, options: argparse.Namespace) -> None:
    """Answer on 127.0.0.1 until the process is ended."""
    cv2.setNumThreads(1)
    workers = options.workers or max(1, (os.cpu_count() or 1) // (options.threads or 1))
    app = PeerServer(engine, workers=workers).app()
    uvicorn.run(
        app,
        port=options.port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )


async def _content(part: UploadFile | str | None, field: str) -> bytes:
    if not isinstance(part, UploadFile):
        raise HTTPException(400, f"{field}: expected a file")
    return await part.read()
