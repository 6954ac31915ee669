"""Starts the emulator with what template.yaml and `cargo xtask up` need and it does not have: a type of resource,
a log of the functions that can be followed, and one id of a request in all its places.
"""

import base64
import contextvars
import datetime
import json
import os
import sys

from ministack import app
from ministack.core import lambda_runtime
from ministack.services import apigateway, apigateway_v1
from ministack.services.cloudformation import provisioners


class Copied:
    """A function's output that also goes to the log file: the function's name, a tab, the line."""

    def __init__(self, stream, name, log):
        self._stream = stream
        self._name = name.encode()
        self._log = log

    def readline(self):
        line = self._stream.readline()
        if line:
            # One write for each line, at the end of the file: lines of several functions never mix.
            os.write(self._log, self._name + b"\t" + line.rstrip(b"\r\n") + b"\n")
        return line

    def close(self):
        self._stream.close()


def open_log(path):
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def copy_output(log):
    """Has every line that a function writes copied to a file.

    The emulator hands a function's output to CloudWatch Logs when an invocation has ended, in a stream for
    each invocation. To follow that is to ask for all of them over and over, and a function that hangs, or dies
    while it starts, shows nothing. In the file a line is there as soon as it is written.
    """
    pump = lambda_runtime.ProvidedWorker._pump_output

    def pump_and_copy(worker, stream, queue):
        pump(worker, Copied(stream, worker.func_name, log), queue)

    lambda_runtime.ProvidedWorker._pump_output = pump_and_copy


def create_route_response(logical_id, properties, stack_name):
    # The emulator's reference to a route has the API's id in front.
    route = properties["RouteId"].rpartition("/")[2]
    status, _, body = apigateway._create_route_response(
        properties["ApiId"], route, {"routeResponseKey": properties["RouteResponseKey"]}
    )
    if status >= 400:
        raise ValueError(f"{logical_id}: {body!r}")
    return f"{properties['ApiId']}/{route}/{properties['RouteResponseKey']}", {}


def delete_route_response(physical_id, properties):
    """Nothing to do: it goes with its route."""


def know_route_responses():
    """Without these a template with a route response is refused, although the API has them."""
    provisioners._RESOURCE_HANDLERS.setdefault(
        "AWS::ApiGatewayV2::RouteResponse", {"create": create_route_response, "delete": delete_route_response}
    )


def name_requests(log):
    """Gives each HTTP request its extended request id, and logs what it is answered.

    API Gateway makes one for each request: the authorizer and the functions find it in their events, mapping
    templates as a variable, access logs have it, and the caller gets it in a header. The emulator has it in the
    functions' events alone, and writes no access logs.
    """
    current = contextvars.ContextVar("extended_request_id")
    handle = apigateway_v1._handle_execute_in_scope
    build = apigateway_v1._build_lambda_event_v1
    authorize = apigateway_v1._invoke_authorizer_lambda
    render = apigateway_v1._render_request_template_v1

    async def handle_named(api_id, stage, method, *rest):
        current.set(base64.b64encode(os.urandom(11)).decode())
        status, headers, body = await handle(api_id, stage, method, *rest)
        entry = {
            "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z"),
            "level": "INFO",
            "message": "answered",
            "correlation_id": current.get(),
            "method": method,
            "status": status,
        }
        os.write(log, b"gateway\t" + json.dumps(entry).encode() + b"\n")
        return status, {**headers, "x-amz-apigw-id": current.get()}, body

    def build_named(*arguments, **more):
        event = build(*arguments, **more)
        event["requestContext"]["extendedRequestId"] = current.get()
        return event

    async def authorize_named(authorizer, event, *rest):
        event["requestContext"]["extendedRequestId"] = current.get()
        return await authorize(authorizer, event, *rest)

    def render_named(template, body, params, context=None):
        return render(template, body, params, {**(context or {}), "extendedRequestId": current.get()})

    apigateway_v1._handle_execute_in_scope = handle_named
    apigateway_v1._build_lambda_event_v1 = build_named
    apigateway_v1._invoke_authorizer_lambda = authorize_named
    apigateway_v1._render_request_template_v1 = render_named


if __name__ == "__main__":
    know_route_responses()
    # Taken out of the environment, which the functions see.
    log = open_log(os.environ.pop("INTAKE_FUNCTION_LOG"))
    copy_output(log)
    name_requests(log)
    sys.exit(app.main())
