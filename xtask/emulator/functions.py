"""Function processes that cost little: how they are spoken to, how many there are, and what they print.

The emulator has all of this, for a few invocations a second. A burst leaves it with hundreds of processes for minutes,
with two threads for each that wake up ten times a second, and an invocation waits for output that does not come.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import json
import os
import queue
import select
import socket
import socketserver
import threading
import time

from ministack.core import lambda_runtime
from ministack.services import apigateway_v1 as gateway
from ministack.services import lambda_svc

# How many invocations for REST requests are handled at once: the account's quota here. 200 requests a second need 40,
# if a throttled table keeps each for 0.2 s; two processors run no more. Batches of the queue have their own limit.
MAX_CONCURRENCY = 64
# After how many seconds an idle process ends; one stays for each function. Long enough for a cold start to be rare
# while requests arrive, short enough for a burst to be over when it is over.
MAX_IDLE = 5


def run_as_aws_does(log):
    limit_concurrency()
    Environment.log = log
    lambda_runtime.ProvidedWorker = Environment
    socketserver.ThreadingTCPServer.serve_forever = serve
    socketserver.ThreadingTCPServer.shutdown = lambda server: server.socket.shutdown(socket.SHUT_RDWR)
    threading.Thread(target=end_idle_processes, daemon=True).start()


def limit_concurrency():
    """Rejects a REST request that would need one more invocation at once than the quota, as Lambda and API Gateway do.

    "If the Lambda API rejects the invocation request, API Gateway returns a 500 error code" ("Handling Lambda errors
    with an API Gateway API"), as the gateway response INTEGRATION_FAILURE. The emulator passes Lambda's 429 on.
    """
    threads = concurrent.futures.ThreadPoolExecutor(MAX_CONCURRENCY)
    invoke, respond = gateway._invoke_lambda_proxy_v1, gateway._lambda_proxy_response
    under_way = set()

    class Throttled(Exception):
        pass

    async def run(function, *arguments, thread_name):
        if len(under_way) >= MAX_CONCURRENCY:
            return lambda_svc._throttle_response("ConcurrentInvocationLimitExceeded", "Rate Exceeded.")
        # A thread that is there already: starting one costs as much as the rest of an invocation.
        context = contextvars.copy_context()
        running = asyncio.get_running_loop().run_in_executor(threads, context.run, function, *arguments)
        under_way.add(running)
        running.add_done_callback(under_way.discard)
        # As on AWS, a function goes on if its caller does not wait any more.
        return await asyncio.shield(running)

    def respond_unless_throttled(result):
        if result.get("throttle"):
            raise Throttled
        return respond(result)

    async def invoke_unless_throttled(*arguments, **more):
        try:
            return await invoke(*arguments, **more)
        except Throttled:
            return gateway._gw_error("INTEGRATION_FAILURE", "Internal server error")

    gateway.run_reentrant = run
    gateway._lambda_proxy_response = respond_unless_throttled
    gateway._invoke_lambda_proxy_v1 = invoke_unless_throttled


def end_idle_processes():
    while True:
        time.sleep(1)
        lambda_runtime.reap_idle_workers(MAX_IDLE)


class Output:
    """What a process prints: each line goes to the log file at once, after the function's name and a tab, and to
    CloudWatch Logs when the invocation has ended."""

    def __init__(self, stream, name, log, lines):
        os.set_blocking(stream.fileno(), False)
        self._stream, self._name, self._log, self._lines = stream, name.encode(), log, lines
        self._rest = b""
        self._lock = threading.Lock()

    def read(self):
        """Reads what there is now. Returns whether there may be more later."""
        with self._lock:
            while not self._stream.closed:
                try:
                    text = os.read(self._stream.fileno(), 65536)
                except BlockingIOError:
                    return True
                *complete, self._rest = (self._rest + text).split(b"\n")
                if not text:
                    complete = [self._rest] if self._rest else []
                    self._stream.close()
                for line in complete:
                    line = line.rstrip(b"\r")
                    # One write for each line, at the end of the file: lines of several functions do not mix.
                    os.write(self._log, self._name + b"\t" + line + b"\n")
                    # So many are printed by no invocation; they are in the log file.
                    if not self._lines.full():
                        self._lines.put(line.decode(errors="replace"))
            return False

    def follow(self):
        """Reads until the end."""
        readable = select.poll()
        readable.register(self._stream, select.POLLIN)
        while self.read():
            readable.poll()


class Environment(lambda_runtime.ProvidedWorker):
    """An execution environment whose threads wake up only if there is something to do."""

    log = None
    _output = None

    def _build_handler_class(self, generation, pending):
        return type("Connection", (Connection,), {"worker": self, "generation": generation, "pending": pending})

    def _pump_output(self, stream, lines):
        self._output = Output(stream, self.func_name, self.log, lines)
        self._output.follow()

    def _drain_stderr_bounded(self, **_limits):
        # What a function prints before it responds is there already.
        if self._output:
            self._output.read()
        return self._drain_stderr()

    def _teardown(self):
        super()._teardown()
        self._end_waiting()

    def _discard_tmpdir(self):
        super()._discard_tmpdir()
        self._end_waiting()

    def _end_waiting(self):
        """Ends the thread that waits for the next invocation, if there is one."""
        with contextlib.suppress(queue.Full):
            self._pending.put_nowait(None)


class Connection(socketserver.StreamRequestHandler):
    """A connection to the Runtime API ("Using the Lambda runtime API for custom runtimes"), as far as the functions'
    runtime uses it: it sends its bodies whole, with their length."""

    def handle(self):
        while request := self.rfile.readline():
            method, path, _ = request.decode().split(" ")
            length = 0
            while (header := self.rfile.readline().strip()):
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            body = self.rfile.read(length)
            if method == "POST":
                self.respond(self.record(path, body))
            elif not self.send_next():
                return

    def send_next(self):
        """Sends the next invocation, whenever that is. Returns whether there was one before this environment ended."""
        next_one = self.worker._mark_first_poll(self.generation) and self.pending.get()
        if not next_one:
            return False
        request_id, event, deadline, trace_id, function = next_one
        headers = {"Aws-Request-Id": request_id, "Deadline-Ms": deadline, "Invoked-Function-Arn": function}
        if trace_id:
            headers["Trace-Id"] = trace_id
        self.respond("200 OK", {f"Lambda-Runtime-{name}": value for name, value in headers.items()}, event)
        return True

    def record(self, path, body):
        """Records what a function has responded. Returns the status for it."""
        body = json.loads(body)
        kind = path.rpartition("/")[2]
        if path.endswith("/init/error"):
            self.worker._record_init_error(self.generation, body)
            return "202 Accepted"
        request_id = path.split("/")[-2]
        accepted = self.worker._record_result(self.generation, request_id, kind, body)
        return "202 Accepted" if accepted else "400 Bad Request"

    def respond(self, status, headers={}, body=None):
        body = b"" if body is None else json.dumps(body).encode()
        headers = {**headers, "Content-Type": "application/json", "Content-Length": len(body)}
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        # One write, so that nothing waits for an acknowledgement.
        self.wfile.write("\r\n".join(lines).encode() + body)


def serve(server, poll_interval):
    """Accepts connections until the server is shut down. The emulator's loop looks ten times a second whether it is."""
    with contextlib.suppress(OSError):
        while True:
            server.process_request(*server.socket.accept())
