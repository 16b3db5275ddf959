"""Serve in one process: for containers, where the engine restarts what ends.

    python -m service --host 0.0.0.0 --port 3000

`bentoml serve` keeps a process that owns the listening socket and starts a worker. In a container it outlives a worker that
was killed, and connections to it hang; and it takes memory of its own.
"""

import argparse
import logging
import signal
import sys


def main() -> None:
    """Read the command line and serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m service", description="Serve the models of the store.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    arguments = parser.parse_args()
    # The server raises the signal again when it has stopped in good order; that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    import uvicorn

    from service.app import Amostra

    logging.getLogger("uvicorn").setLevel(logging.INFO)
    uvicorn.run(
        Amostra.to_asgi(),  # type: ignore[attr-defined]
        host=arguments.host,
        port=arguments.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # Connections are kept longer than clients keep them, so that none is closed under a request that is on its way.
        timeout_keep_alive=75,
        # When this begins, service.stopping has waited for all that was taken in.
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
