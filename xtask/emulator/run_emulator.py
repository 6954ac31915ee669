"""Starts the emulator with what it lacks for template.yaml and `cargo xtask up`: a type of resource, mapping templates
that decide, subprotocols of WebSockets, a functions' log that can be followed, one id for a request everywhere, and some
checks of permissions.
"""

import base64
import contextvars
import datetime
import json
import os
import re
import sys
import xml.etree.ElementTree

import mapping_templates

# Read when it is imported.
os.environ.update(MINISTACK_HOST=os.environ["BIND_HOST"], MINISTACK_REGION=os.environ.pop("INTAKE_REGION"))

from ministack import app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.core.responses import get_account_id, get_region
from ministack.services import apigateway, apigateway_v1, sqs
from ministack.services.cloudformation import provisioners


class Copied:
    """A function's output, also written to the log file: the function's name, a tab, the line."""

    def __init__(self, stream, name, log):
        self._stream = stream
        self._name = name.encode()
        self._log = log

    def readline(self):
        line = self._stream.readline()
        if line:
            # One write for each line, at the end of the file: lines of several functions do not mix.
            os.write(self._log, self._name + b"\t" + line.rstrip(b"\r\n") + b"\n")
        return line

    def close(self):
        self._stream.close()


def open_log(path):
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def copy_output(log):
    """Copies every line that a function writes to a file, at once.

    The emulator passes a function's output to CloudWatch Logs when an invocation has ended, in a stream of its own.
    Following that means reading all streams again and again, and a function that hangs, or dies in its start, shows
    nothing.
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
    """Nothing to do: it is deleted with its route."""


def support_route_responses():
    """Otherwise the emulator rejects a template with a route response, although its API has them."""
    provisioners._RESOURCE_HANDLERS.setdefault(
        "AWS::ApiGatewayV2::RouteResponse", {"create": create_route_response, "delete": delete_route_response}
    )


# How long a request to SQS may be, in bytes. AWS does not say it; it is well over a message's 1 MiB.
LONGEST_REQUEST = 2 * 1024 * 1024


def map_messages_as_aws_does():
    """Renders the templates between the REST API and the queue with all that openapi.yaml needs, applies what they
    override of a response, and shows them errors of SQS as JSON and in SQS's own status."""
    invoke, respond = apigateway_v1._invoke_sqs_v1, apigateway_v1._service_integration_response
    parameters = contextvars.ContextVar("parameters")
    overrides = contextvars.ContextVar("overrides", default=None)

    async def invoke_with_parameters(integration, *arguments, **more):
        headers, body, query, path = arguments[6:10]
        last = {name: value[-1] if isinstance(value, list) else value for name, value in (query or {}).items()}
        parameters.set((path or {}, last, headers or {}))
        if len(body or b"") > LONGEST_REQUEST:
            return respond_with_overrides(integration, 413, '"HTTP content length exceeded"', "application/json", {})
        return await invoke(integration, *arguments, **more)

    def render(template, body, _parameters, context=None):
        request = mapping_templates.Input(body, *parameters.get())
        text, override = mapping_templates.render(template, request, context or {})
        overrides.set(override)
        return text

    def respond_with_overrides(integration, status, text, *rest):
        overrides.set(None)
        status, headers, body = respond(integration, status, as_json(text), *rest)
        override = overrides.get()
        if override:
            status, headers = override["status"] or status, {**headers, **override["header"]}
        return status, headers, body

    apigateway_v1._invoke_sqs_v1 = invoke_with_parameters
    apigateway_v1._render_request_template_v1 = render
    apigateway_v1._service_integration_response = respond_with_overrides


def as_json(text):
    """An error of SQS in JSON, which it sends because the API accepts nothing else."""
    if not text.startswith("<"):
        return text
    error = xml.etree.ElementTree.fromstring(text).find("{*}Error")
    return json.dumps({"Error": {part.tag.rpartition("}")[2]: part.text for part in error}})


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


def name_requests(log):
    """Gives each HTTP request its extended request id, and logs the response.

    API Gateway makes one for each request. It is in the events of the authorizer and the functions, a variable of
    mapping templates, in access logs, and in a header of the response. The emulator has it in the functions' events
    only, and writes no access logs.
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
            "message": "responded",
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


INSERT = re.compile(r'\s*INSERT\s+INTO\s+"([^"]+)"', re.IGNORECASE)


def check_partiql_as_aws_does():
    """Checks each statement of a batch for its own action on its own table. The emulator checks the batch as a
    whole, for an action that AWS does not have and on every resource.

    It still does for a batch with a statement other than INSERT, which no role of ours allows.
    """
    checks = iam_actions.dynamodb_transaction_checks

    def checks_with_batches(action, body, region, account):
        if action != "dynamodb:BatchExecuteStatement":
            return checks(action, body, region, account)
        statements = [INSERT.match(statement["Statement"]) for statement in json.loads(body)["Statements"]]
        if not all(statements):
            return []
        tables = {statement[1] for statement in statements}
        arns = [f"arn:aws:dynamodb:{region}:{account}:table/{table}" for table in tables]
        return [("dynamodb:PartiQLInsert", arn) for arn in arns]

    iam_actions.dynamodb_transaction_checks = checks_with_batches


def single_action(action):
    """The action that AWS checks for a batch of SQS: that of a single message."""
    return action.removesuffix("Batch") if action and action.startswith("sqs:") else action


def check_batches_of_sqs_as_aws_does():
    extract = iam_actions.extract_iam_action
    iam_actions.extract_iam_action = lambda *arguments: single_action(extract(*arguments))
    enforce = sqs._enforce_queue_policy
    sqs._enforce_queue_policy = lambda queue, action: enforce(queue, single_action(action))


def resolve_callers_as_aws_does():
    """In policies, a session of a role counts as the role, and this machine's own traffic as TLS, which the emulator
    does not support."""
    resolve = iam_evaluator._resolve_condition_key
    session = re.compile(r"arn:(aws[a-z-]*):sts::(\d+):assumed-role/(.+)/[^/]+")

    def resolve_as_aws_does(key, context):
        if key.lower() == "aws:securetransport":
            return "true"
        value = resolve(key, context)
        if key.lower() == "aws:principalarn":
            return session.sub(r"arn:\1:iam::\2:role/\3", value)
        return value

    iam_evaluator._resolve_condition_key = resolve_as_aws_does


# The role in which the REST API calls its service.
acting_role = contextvars.ContextVar("intake_acting_role", default="")


def send_as_the_gateways_role():
    """Lets the REST API send to the queue in the role that openapi.yaml names, if that role is allowed to. The
    emulator sends as the account itself."""
    invoke, enforce = apigateway_v1._invoke_sqs_v1, sqs._enforce_queue_policy

    async def invoke_as_role(integration, *arguments, **more):
        role = integration.get("credentials") or ""
        acting = acting_role.set(role)
        caller = iam_evaluator._request_caller_arn.set(role)
        try:
            return await invoke(integration, *arguments, **more)
        finally:
            iam_evaluator._request_caller_arn.reset(caller)
            acting_role.reset(acting)

    def enforce_with_role(queue, action):
        enforce(queue, action)
        role = acting_role.get()
        if role:
            context = iam_evaluator.EvalContext(
                principal_arn=role,
                principal_type="AssumedRole",
                principal_account=get_account_id(),
                action=action,
                resource_arn=queue["attributes"]["QueueArn"],
                region=get_region(),
            )
            policies = iam_evaluator._gather_role_policies(role.rpartition("/")[2], get_account_id())
            if iam_evaluator.evaluate(context, policies).decision != "Allow":
                raise sqs._Err("AccessDenied", f"{role} is not allowed {action}", 403)

    apigateway_v1._invoke_sqs_v1 = invoke_as_role
    sqs._enforce_queue_policy = enforce_with_role


if __name__ == "__main__":
    support_route_responses()
    check_partiql_as_aws_does()
    check_batches_of_sqs_as_aws_does()
    resolve_callers_as_aws_does()
    send_as_the_gateways_role()
    map_messages_as_aws_does()
    select_subprotocols_as_aws_does()
    # Removed from the environment, which the functions inherit.
    log = open_log(os.environ.pop("INTAKE_FUNCTION_LOG"))
    copy_output(log)
    name_requests(log)
    sys.exit(app.main())
