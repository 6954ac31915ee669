"""Starts the emulator with what it lacks for template.yaml and `cargo xtask up`.

Everything in which a deployment on the emulator differs from one on AWS is in this folder: here what concerns
resources and WebSockets, in functions.py the functions' processes, in server.py its HTTP server, in rest_api.py the REST
API, in permissions.py who may do what.
"""

import contextvars
import os
import signal
import sys
import threading

# Read when it is imported. What is removed here is not for the functions, which inherit the environment.
os.environ.update(MINISTACK_HOST=os.environ["BIND_HOST"], MINISTACK_REGION=os.environ.pop("INTAKE_REGION"))
LOG = os.environ.pop("INTAKE_FUNCTION_LOG")

import functions
import permissions
import rest_api
import server
from ministack import app
from ministack.services import apigateway, dynamodb
from ministack.services.cloudformation.provisioners import _RESOURCE_HANDLERS as RESOURCES


def end_with_the_parent():
    """Ends this process when its parent has ended, however that happened: standard input is a pipe, which is closed
    then."""
    # Not sys.stdin: a thread that reads from it blocks the end of the interpreter.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def on_create(kind):
    """Puts the decorated function before the creation of every resource of a type. It gets the resource's
    properties, and may return a function of the name that the resource gets."""

    def decorate(prepare):
        create = RESOURCES[kind]["create"]

        def prepare_and_create(logical_id, properties, stack_name):
            finish = prepare(properties)
            name, attributes = create(logical_id, properties, stack_name)
            if finish:
                finish(name)
            return name, attributes

        RESOURCES[kind]["create"] = prepare_and_create
        return prepare

    return decorate


@on_create("AWS::Lambda::Function")
def set_variables(function):
    """Sets the variable that Lambda itself sets, and the endpoint of this machine."""
    variables = function.setdefault("Environment", {}).setdefault("Variables", {})
    if "WEBSOCKET_ENDPOINT" in variables:
        host, _, stage = variables["WEBSOCKET_ENDPOINT"].removeprefix("https://").partition("/")
        api = host.partition(".")[0]
        variables["WEBSOCKET_ENDPOINT"] = f"{os.environ['AWS_ENDPOINT_URL']}/_aws/execute-api/{api}/{stage}"
    if "LoggingConfig" in function:
        variables["AWS_LAMBDA_LOG_LEVEL"] = function["LoggingConfig"]["ApplicationLogLevel"]


@on_create("AWS::Lambda::EventSourceMapping")
def make_limit_a_number(source):
    """A parameter of the template is a text here, and comparing it with a number would end the polling."""
    scaling = source.get("ScalingConfig", {})
    if "MaximumConcurrency" in scaling:
        scaling["MaximumConcurrency"] = int(scaling["MaximumConcurrency"])


@on_create("AWS::CloudWatch::Alarm")
def watch_one_metric(alarm):
    """An alarm on an expression is rejected here. It gets the first metric of the expression: no alarm changes its state
    here anyway."""
    query = next((query["MetricStat"] for query in alarm.pop("Metrics", []) if "MetricStat" in query), None)
    if query:
        alarm.update(query["Metric"], Period=query["Period"], Statistic=query["Stat"])


@on_create("AWS::DynamoDB::Table")
def turn_on_expiry(table):
    expiry = table.get("TimeToLiveSpecification")
    if expiry:
        return lambda name: dynamodb._update_ttl({"TableName": name, "TimeToLiveSpecification": expiry})


def parse_statements_once():
    """The emulator parses each statement of a batch twice, with the same parameters."""
    parse = dynamodb._parse_partiql
    last = (None, None, None)

    def parse_once(statement, parameters):
        nonlocal last
        if last[0] is not statement or last[1] is not parameters:
            last = (statement, parameters, parse(statement, parameters))
        return last[2]

    dynamodb._parse_partiql = parse_once


def create_route_response(_logical_id, properties, _stack_name):
    # The emulator's reference to a route has the API's id in front.
    api, route, key = properties["ApiId"], properties["RouteId"].rpartition("/")[2], properties["RouteResponseKey"]
    rest_api.made(apigateway._create_route_response(api, route, {"routeResponseKey": key}))
    return f"{api}/{route}/{key}", {}


def select_subprotocols_as_aws_does():
    """Returns to a WebSocket client which of its subprotocols the function has selected."""
    handle, invoke = apigateway.handle_websocket, apigateway._invoke_ws_lambda
    selected = contextvars.ContextVar("selected_subprotocol")

    async def invoke_and_select(*arguments, **more):
        response = await invoke(*arguments, **more)
        for name, value in ((response or {}).get("headers") or {}).items():
            if name.lower() == "sec-websocket-protocol":
                selected.set(value)
        return response

    async def handle_with_subprotocol(scope, receive, send, *rest, **more):
        selected.set(None)

        async def send_selected(message):
            if message["type"] == "websocket.accept":
                message = {**message, "subprotocol": selected.get()}
            await send(message)

        await handle(scope, receive, send_selected, *rest, **more)

    apigateway._invoke_ws_lambda = invoke_and_select
    apigateway.handle_websocket = handle_with_subprotocol


if __name__ == "__main__":
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    # Otherwise the emulator rejects a template with a route response, although its API has them. It is deleted with
    # its route.
    RESOURCES["AWS::ApiGatewayV2::RouteResponse"] = {"create": create_route_response, "delete": lambda *_: None}
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    functions.run_as_aws_does(log)
    parse_statements_once()
    select_subprotocols_as_aws_does()
    permissions.check_as_aws_does()
    rest_api.behave_as_aws_does(log)
    server.serve_quickly()
    sys.exit(app.main())
