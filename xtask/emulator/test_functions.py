"""The functions' processes, with a function that says what it is told to."""

import asyncio
import io
import os
import pathlib
import queue
import signal
import sys
import tempfile
import threading
import unittest
import zipfile

import functions
from ministack.core import lambda_runtime
from ministack.services import apigateway_v1 as gateway

FUNCTION = f"""#!{sys.executable}
import http.client, json, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    invocation = api.getresponse()
    event = json.loads(invocation.read())
    print("\\n".join(event["print"]), flush=True)
    if "exit" in event:
        os._exit(event["exit"])
    path = "/2018-06-01/runtime/invocation/" + invocation.headers["Lambda-Runtime-Aws-Request-Id"]
    api.request("POST", path + event["kind"], json.dumps({{"process": os.getpid()}}))
    api.getresponse().read()
"""


def environment(log):
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        file = zipfile.ZipInfo("bootstrap")
        file.external_attr = 0o755 << 16
        archive.writestr(file, FUNCTION)
    functions.Environment.log = log
    arn = "arn:aws:lambda:us-east-1:000000000000:function:echo"
    config = {"FunctionName": "echo", "FunctionArn": arn, "Role": "", "Timeout": 10}
    return functions.Environment("echo", config, code.getvalue())


def event(*lines, kind="/response", **more):
    return {"print": lines, "kind": kind, **more}


class Processes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name, "functions.log")
        log = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.addCleanup(os.close, log)
        self.threads = set(threading.enumerate())
        self.environment = environment(log)
        self.addCleanup(lambda: lambda_runtime.kill_workers([self.environment]))

    def test_one_process_handles_invocations_and_everything_it_prints_is_copied(self):
        first = self.environment.invoke(event("one", "two"), "r-1")
        second = self.environment.invoke(event("three", kind="/error"), "r-2")
        self.assertEqual((first["status"], first["log"]), ("ok", "one\ntwo"))
        self.assertEqual((second["status"], second["log"]), ("error", "three"))
        self.assertEqual(first["result"], second["error_payload"])
        self.assertEqual(self.path.read_text(), "echo\tone\necho\ttwo\necho\tthree\n")

    def test_a_process_that_ends_is_an_error_and_the_next_invocation_gets_another(self):
        died = self.environment.invoke(event("last words", exit=3), "r-1")
        self.assertEqual((died["status"], died["log"]), ("error", "last words"))
        process = self.environment.invoke(event("a"), "r-2")["result"]["process"]
        os.kill(process, signal.SIGKILL)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        self.assertEqual(self.environment.invoke(event("b"), "r-3")["status"], "ok")

    def test_nothing_is_left_of_an_environment_that_has_ended(self):
        process = self.environment.invoke(event("a"), "r-1")["result"]["process"]
        lambda_runtime.kill_workers([self.environment])
        for thread in set(threading.enumerate()) - self.threads:
            thread.join(10)
            self.assertFalse(thread.is_alive(), thread.name)
        self.assertRaises(ProcessLookupError, os.kill, process, 0)


class Output(unittest.TestCase):
    def setUp(self):
        (read, self.write), (self.copied, self.log) = os.pipe(), os.pipe()
        self.printed = os.fdopen(read, "rb")
        self.addCleanup(self.printed.close)
        for end in (self.copied, self.log):
            self.addCleanup(os.close, end)

    def test_what_is_printed_before_the_response_belongs_to_the_invocation(self):
        invoked = environment(self.log)
        invoked._output = functions.Output(self.printed, "echo", self.log, invoked._stderr_queue)
        os.write(self.write, b"one\n")
        os.close(self.write)
        self.assertEqual(invoked._drain_stderr_bounded(), "one")

    def test_a_line_is_copied_when_it_is_complete_or_the_last_one(self):
        lines = queue.Queue()
        output = functions.Output(self.printed, "echo", self.log, lines)
        os.write(self.write, b"one\r\ntw")
        self.assertTrue(output.read())
        self.assertEqual(os.read(self.copied, 100), b"echo\tone\n")
        os.write(self.write, b"o\nthree")
        os.close(self.write)
        self.assertFalse(output.read())
        self.assertEqual(os.read(self.copied, 100), b"echo\ttwo\necho\tthree\n")
        self.assertEqual([lines.get_nowait() for _ in range(3)], ["one", "two", "three"])


class Concurrency(unittest.TestCase):
    def test_a_request_above_the_quota_is_rejected_as_one_that_the_integration_failed(self):
        functions.limit_concurrency()
        go_on = threading.Event()

        async def one_too_many():
            names = {"thread_name": "test"}
            handled = [asyncio.create_task(gateway.run_reentrant(go_on.wait, **names)) for _ in range(functions.MAX_CONCURRENCY)]
            await asyncio.sleep(0)
            rejected = await asyncio.wait_for(gateway.run_reentrant(go_on.wait, **names), 10)
            go_on.set()
            self.assertEqual(set(await asyncio.gather(*handled)), {True})
            self.assertTrue(await gateway.run_reentrant(go_on.wait, **names))
            return rejected

        rejected = asyncio.run(one_too_many())
        self.assertTrue(rejected["throttle"])

        async def reject(*_arguments, **_more):
            return rejected, None

        gateway._call_lambda_raw, gateway._build_lambda_event_v1 = reject, lambda *_arguments, **_more: {}
        response = asyncio.run(gateway._invoke_lambda_proxy_v1({}, *[None] * 10))
        self.assertEqual(response.response_type, "INTEGRATION_FAILURE")
