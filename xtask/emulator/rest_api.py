"""The REST API as AWS has it: with everything that openapi.yaml says, mapping templates that decide, and one id for a
request everywhere."""

import base64
import contextvars
import datetime
import json
import os
import xml.etree.ElementTree

import mapping_templates
from ministack.services import apigateway_v1 as gateway
from ministack.services import sqs

# How long a request to SQS may be, in bytes. AWS does not say it; it is well over a message's 1 MiB.
LONGEST_REQUEST = 2 * 1024 * 1024
# The extended request id of the request that is being handled.
request_id = contextvars.ContextVar("request_id")


def behave_as_aws_does(log):
    import_everything()
    check_delays()
    map_messages()
    name_requests(log)


def import_everything():
    """The emulator's own import of an OpenAPI document takes routes, authorizers and the addresses of integrations.
    At this point CloudFormation has replaced all intrinsic functions."""
    import_rest_api = gateway._import_rest_api

    def import_and_complete(document, *rest):
        api = import_rest_api(document, *rest)
        validators = create_models_and_validators(api, document)
        for kind, response in document["x-amazon-apigateway-gateway-responses"].items():
            made(gateway._put_gateway_response(api, kind, response))
        for resource in gateway._resources[api].values():
            for name, method in resource["resourceMethods"].items():
                complete(method, document["paths"][resource["path"]][name.lower()], validators)
        return api

    gateway._import_rest_api = import_and_complete


def create_models_and_validators(api, document):
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        # A model cannot refer to another one: each has all of them as definitions.
        text = json.dumps({**schema, "definitions": schemas}).replace("#/components/schemas/", "#/definitions/")
        made(gateway._create_model(api, {"name": name, "schema": text}))
    return {
        name: made(gateway._create_request_validator(api, checks))["id"]
        for name, checks in document["x-amazon-apigateway-request-validators"].items()
    }


def made(response):
    """What a call of the emulator's API made. The deployment fails if it made nothing."""
    status, _, body = response
    if status >= 400:
        raise ValueError(body.decode())
    return json.loads(body)


def complete(method, operation, validators):
    if "x-amazon-apigateway-request-validator" in operation:
        method["requestValidatorId"] = validators[operation["x-amazon-apigateway-request-validator"]]
        contents = operation["requestBody"]["content"]
        method["requestModels"] = {
            kind: content["schema"]["$ref"].rpartition("/")[2] for kind, content in contents.items()
        }
    described = operation["x-amazon-apigateway-integration"]
    for part in ("credentials", "requestTemplates", "passthroughBehavior"):
        if part in described:
            method["methodIntegration"][part] = described[part]
    method["methodIntegration"]["integrationResponses"] = {
        pattern: {**response, "selectionPattern": "" if pattern == "default" else pattern}
        for pattern, response in described.get("responses", {}).items()
    }


def map_messages():
    """Renders the templates between the REST API and the queue with all that openapi.yaml needs, applies what they
    override of a response, and shows them errors of SQS as JSON and in SQS's own status."""
    invoke, respond = gateway._invoke_sqs_v1, gateway._service_integration_response
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
        context = {**(context or {}), "extendedRequestId": request_id.get()}
        text, override = mapping_templates.render(template, request, context)
        overrides.set(override)
        return text

    def respond_with_overrides(integration, status, text, *rest):
        overrides.set(None)
        status, headers, body = respond(integration, status, as_json(text), *rest)
        override = overrides.get()
        if override:
            status, headers = override["status"] or status, {**headers, **override["header"]}
        return status, headers, body

    gateway._invoke_sqs_v1 = invoke_with_parameters
    gateway._render_request_template_v1 = render
    gateway._service_integration_response = respond_with_overrides


def check_delays():
    """SQS rejects a delay of more than 15 minutes ("SendMessage"). openapi.yaml sends one in the place of a body that is
    too long."""
    send = sqs._act_send_message

    def send_if_in_range(data, *rest):
        if int(data.get("DelaySeconds") or 0) > 900:
            raise sqs._Err("InvalidParameterValue", "Reason: DelaySeconds must be >= 0 and <= 900.")
        return send(data, *rest)

    sqs._HANDLERS["SendMessage"] = send_if_in_range


def as_json(text):
    """An error of SQS in JSON, which it sends because the API accepts nothing else."""
    if not text.startswith("<"):
        return text
    error = xml.etree.ElementTree.fromstring(text).find("{*}Error")
    return json.dumps({"Error": {part.tag.rpartition("}")[2]: part.text for part in error}})


def name_requests(log):
    """Gives each HTTP request its extended request id, and logs the response.

    API Gateway makes one for each request. It is in the events of the authorizer and the functions, a variable of
    mapping templates, in access logs, and in a header of the response. The emulator has it in the functions' events
    only, and writes no access logs.
    """
    handle, build = gateway._handle_execute_in_scope, gateway._build_lambda_event_v1
    authorize = gateway._invoke_authorizer_lambda

    async def handle_named(api_id, stage, method, *rest):
        request_id.set(base64.b64encode(os.urandom(11)).decode())
        status, headers, body = await handle(api_id, stage, method, *rest)
        entry = {
            "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z"),
            "level": "INFO",
            "message": "responded",
            "correlation_id": request_id.get(),
            "method": method,
            "status": status,
        }
        os.write(log, b"gateway\t" + json.dumps(entry).encode() + b"\n")
        return status, {**headers, "x-amz-apigw-id": request_id.get()}, body

    def build_named(*arguments, **more):
        event = build(*arguments, **more)
        event["requestContext"]["extendedRequestId"] = request_id.get()
        return event

    async def authorize_named(authorizer, event, *rest):
        event["requestContext"]["extendedRequestId"] = request_id.get()
        return await authorize(authorizer, event, *rest)

    gateway._handle_execute_in_scope = handle_named
    gateway._build_lambda_event_v1 = build_named
    gateway._invoke_authorizer_lambda = authorize_named
