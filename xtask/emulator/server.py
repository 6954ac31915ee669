"""The emulator's HTTP server, with a parser and an event loop in C. Those it brings are in Python, and take a third of
the time of a request."""

import asyncio
import gc

import hypercorn.asyncio
import uvicorn
import uvloop
from uvicorn.protocols.http import httptools_impl


def serve_quickly():
    """What the emulator starts as its own server is this one."""
    hypercorn.asyncio.serve = serve
    asyncio.run = uvloop.run


async def serve(application, config):
    # What is loaded stays: looking through it for garbage again and again takes a tenth of a request's time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    host, _, port = config.bind[0].rpartition(":")
    options = uvicorn.Config(
        application,
        host=host,
        port=int(port),
        http=Connection,
        ws="websockets-sansio",
        timeout_keep_alive=config.keep_alive_timeout,
        # As API Gateway, which pings no client.
        ws_ping_interval=None,
        # The emulator has its own.
        server_header=False,
        date_header=False,
        log_config=None,
        # Below that it logs addresses with tokens.
        log_level="warning",
        access_log=False,
    )
    await uvicorn.Server(options).serve()


class Connection(httptools_impl.HttpToolsProtocol):
    def handle_websocket_upgrade(self):
        """Several lines of subprotocols are one list (RFC 6455, 11.3.4). The server and the emulator's events would
        have the last one only."""
        name, headers = b"sec-websocket-protocol", self.scope["headers"]
        lines = [value for header, value in headers if header == name]
        if len(lines) > 1:
            headers[:] = [header for header in headers if header[0] != name] + [(name, b", ".join(lines))]
        super().handle_websocket_upgrade()
