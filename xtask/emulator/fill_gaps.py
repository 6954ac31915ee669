"""Fills in, by API calls, what the local emulator ignores in template.yaml and openapi.yaml.

Everything in which a deployment on the emulator differs from one on AWS is in this file. It has to run after every
deployment, because an update drops its changes. It names no route, table or function: it reads them from the stack
and from openapi.yaml.
"""

import argparse
import json
import re
import sys
import urllib.error
import urllib.request

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

STAGE = "v1"
METHODS = {"get", "put", "post", "delete", "patch", "head", "options"}
BAD_BODY = b"[]"


class GapError(Exception):
    """A gap that could not be filled, in one line for a person."""


class Stack:
    """The deployed stack: its resources and parameters, and clients for it."""

    def __init__(self, endpoint, region, name):
        self.endpoint = endpoint.rstrip("/")
        self.region = region
        # The emulator accepts any credentials and derives the account from the key: here, it is all zeros.
        self._session = boto3.session.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name=region
        )
        cloudformation = self.client("cloudformation")
        described = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        self.id = described["StackId"]
        self.parameters = {p["ParameterKey"]: p["ParameterValue"] for p in described.get("Parameters", [])}
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
        self.resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
        template = cloudformation.get_template(StackName=name, TemplateStage="Processed")["TemplateBody"]
        if isinstance(template, str):
            template = yaml.safe_load(template)
        self.template = template["Resources"]

    def client(self, service):
        # One attempt: on this machine a second one would fail, too.
        config = Config(retries={"max_attempts": 1})
        return self._session.client(service, endpoint_url=self.endpoint, config=config)

    def of_type(self, kind):
        """The logical and physical id of each resource of a type."""
        return [
            (resource["LogicalResourceId"], resource["PhysicalResourceId"])
            for resource in self.resources
            if resource["ResourceType"] == kind
        ]

    def only(self, kind):
        found = self.of_type(kind)
        if len(found) != 1:
            raise GapError(f"the stack has {len(found)} resources of type {kind}, not one")
        return found[0][1]

    def resolve(self, value):
        """Replaces the intrinsic functions in header mappings."""
        if not isinstance(value, dict):
            return value
        (function, argument), *more = value.items()
        if more or function != "Fn::Sub" or not isinstance(argument, str):
            raise GapError(f"openapi.yaml has {json.dumps(value)} where only a text or Fn::Sub is supported")
        return re.sub(r"\$\{([^}]+)\}", lambda match: self._reference(match[1]), argument)

    def _reference(self, name):
        pseudo = {"AWS::Region": self.region, "AWS::Partition": "aws", "AWS::AccountId": self.id.split(":")[4]}
        for known in (pseudo, self.parameters, dict((r["LogicalResourceId"], r["PhysicalResourceId"]) for r in self.resources)):
            if name in known:
                return known[name]
        raise GapError(f"openapi.yaml refers to {name}, which the stack does not have")

    def resolve_all(self, mapping):
        return {key: self.resolve(value) for key, value in (mapping or {}).items()}


class RestApi:
    """The REST API, as it is deployed and as openapi.yaml describes it."""

    def __init__(self, stack, document):
        self.stack = stack
        self.document = document
        self.client = stack.client("apigateway")
        self.id = stack.only("AWS::ApiGateway::RestApi")
        resources = self.client.get_resources(restApiId=self.id, limit=500)["items"]
        self.resource_ids = {resource["path"]: resource["id"] for resource in resources}

    def operations(self):
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                if method in METHODS:
                    yield path, method.upper(), operation

    def fill(self):
        self._models()
        validators = self._validators()
        for path, method, operation in self.operations():
            self._method(path, method, operation, validators)
        self._gateway_responses()
        # Gateway responses take effect with a deployment.
        self.client.create_deployment(restApiId=self.id, stageName=STAGE)

    def _models(self):
        schemas = self.document.get("components", {}).get("schemas", {})
        existing = {model["name"] for model in self.client.get_models(restApiId=self.id, limit=500)["items"]}
        for name, schema in schemas.items():
            if name in existing:
                self.client.delete_model(restApiId=self.id, modelName=name)
            # A model cannot refer to another one: each has all of them as definitions.
            text = json.dumps({**schema, "definitions": schemas}).replace("#/components/schemas/", "#/definitions/")
            self.client.create_model(restApiId=self.id, name=name, contentType="application/json", schema=text)

    def _validators(self):
        for validator in self.client.get_request_validators(restApiId=self.id, limit=500)["items"]:
            self.client.delete_request_validator(restApiId=self.id, requestValidatorId=validator["id"])
        described = self.document.get("x-amazon-apigateway-request-validators", {})
        return {
            name: self.client.create_request_validator(restApiId=self.id, name=name, **checks)["id"]
            for name, checks in described.items()
        }

    def _method(self, path, method, operation, validators):
        where = {"restApiId": self.id, "resourceId": self.resource_ids[path], "httpMethod": method}
        imported = self.client.get_method(**where)
        validator = operation.get(
            "x-amazon-apigateway-request-validator", self.document.get("x-amazon-apigateway-request-validator")
        )
        self.client.put_method(
            **where,
            **given(
                authorizationType=imported["authorizationType"],
                authorizerId=imported.get("authorizerId"),
                authorizationScopes=imported.get("authorizationScopes"),
                apiKeyRequired=imported.get("apiKeyRequired", False),
                operationName=operation.get("operationId"),
                requestParameters=request_parameters(operation),
                requestModels=request_models(operation),
                requestValidatorId=validators[validator] if validator else None,
            ),
        )
        for status, response in operation["responses"].items():
            headers = {f"method.response.header.{name}": False for name in response.get("headers", {})}
            self.client.put_method_response(**where, statusCode=status, **given(responseParameters=headers))

        integration = operation["x-amazon-apigateway-integration"]
        before = imported["methodIntegration"]
        self.client.put_integration(
            **where,
            **given(
                type=before["type"],
                integrationHttpMethod=before.get("httpMethod"),
                # The emulator has resolved its intrinsic functions.
                uri=before.get("uri"),
                credentials=self._role(integration.get("credentials")),
                requestParameters=self.stack.resolve_all(integration.get("requestParameters")),
                requestTemplates=integration.get("requestTemplates"),
                passthroughBehavior=integration.get("passthroughBehavior", "when_no_match").upper(),
                timeoutInMillis=integration.get("timeoutInMillis"),
            ),
        )
        for pattern, response in integration.get("responses", {}).items():
            self.client.put_integration_response(
                **where,
                statusCode=response["statusCode"],
                selectionPattern="" if pattern == "default" else pattern,
                **given(
                    responseParameters=self.stack.resolve_all(response.get("responseParameters")),
                    responseTemplates=response.get("responseTemplates"),
                ),
            )

    def _role(self, reference):
        """The ARN of the role in which a method calls its service."""
        if reference is None:
            return None
        name, attribute = reference["Fn::GetAtt"]
        physical = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in self.stack.resources}
        if attribute != "Arn" or name not in physical:
            raise GapError(f"openapi.yaml has {json.dumps(reference)} where the ARN of a role is expected")
        return f"arn:aws:iam::{self.stack.id.split(':')[4]}:role/{physical[name]}"

    def _gateway_responses(self):
        for kind, response in self.document.get("x-amazon-apigateway-gateway-responses", {}).items():
            self.client.put_gateway_response(
                restApiId=self.id,
                responseType=kind,
                **given(
                    statusCode=response.get("statusCode"),
                    responseParameters=self.stack.resolve_all(response.get("responseParameters")),
                    responseTemplates=response.get("responseTemplates"),
                ),
            )

    def check(self, token):
        """Sends a bad body to every method that validates its body.

        Otherwise, if filling in had no effect, invalid messages would be accepted and nothing would show it."""
        checked = 0
        for path, method, operation in self.operations():
            if "x-amazon-apigateway-request-validator" not in operation or "requestBody" not in operation:
                continue
            path = re.sub(r"\{[^}]+\}", "fill-gaps-check", path)
            url = f"{self.stack.endpoint}/_aws/execute-api/{self.id}/{STAGE}{path}"
            status = status_of(method, url, token)
            if status != 400:
                raise GapError(f"{method} {path}: the response to a bad body is {status}, not 400")
            checked += 1
        if not checked:
            raise GapError("openapi.yaml has no method that validates its body")
        return checked


def given(**arguments):
    """The arguments that have a value."""
    return {name: value for name, value in arguments.items() if value is not None and value != {}}


def request_parameters(operation):
    places = {"path": "path", "query": "querystring", "header": "header"}
    return {
        f"method.request.{places[parameter['in']]}.{parameter['name']}": parameter.get("required", False)
        for parameter in operation.get("parameters", [])
        if parameter["in"] in places
    }


def request_models(operation):
    contents = operation.get("requestBody", {}).get("content", {})
    return {
        media_type: content["schema"]["$ref"].rpartition("/")[2]
        for media_type, content in contents.items()
        if "$ref" in content.get("schema", {})
    }


def status_of(method, url, token):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=BAD_BODY, method=method, headers=headers)
    # The emulator is not behind this machine's proxy, if there is one.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def fill_functions(stack):
    """Sets the variables that Lambda itself sets, and the endpoint of this machine."""
    client = stack.client("lambda")
    websocket_api = stack.only("AWS::ApiGatewayV2::Api")
    endpoint = f"{stack.endpoint}/_aws/execute-api/{websocket_api}/{STAGE}"
    for _, name in stack.of_type("AWS::Lambda::Function"):
        configuration = client.get_function_configuration(FunctionName=name)
        variables = configuration.get("Environment", {}).get("Variables", {})
        wanted = dict(variables)
        if "WEBSOCKET_ENDPOINT" in wanted:
            wanted["WEBSOCKET_ENDPOINT"] = endpoint
        level = configuration.get("LoggingConfig", {}).get("ApplicationLogLevel")
        if level:
            wanted["AWS_LAMBDA_LOG_LEVEL"] = level
        if wanted != variables:
            client.update_function_configuration(FunctionName=name, Environment={"Variables": wanted})


def fill_event_sources(stack):
    """Turns the limits of event sources into numbers. In the emulator a parameter of the template is a text, and
    comparing it with a number ends the polling."""
    client = stack.client("lambda")
    for source in client.list_event_source_mappings()["EventSourceMappings"]:
        limit = source.get("ScalingConfig", {}).get("MaximumConcurrency")
        if limit is not None:
            client.update_event_source_mapping(
                UUID=source["UUID"], ScalingConfig={"MaximumConcurrency": int(limit)}
            )


def fill_tables(stack):
    """Turns on expiry in the tables for which the template does."""
    client = stack.client("dynamodb")
    for logical_id, name in stack.of_type("AWS::DynamoDB::Table"):
        wanted = stack.template[logical_id]["Properties"].get("TimeToLiveSpecification")
        if not wanted or str(wanted["Enabled"]).lower() != "true":
            continue
        current = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        if current.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
            client.update_time_to_live(
                TableName=name,
                TimeToLiveSpecification={"AttributeName": wanted["AttributeName"], "Enabled": True},
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True, help="URL of the emulator, http://127.0.0.1:PORT")
    parser.add_argument("--region", required=True)
    parser.add_argument("--stack", required=True, help="name of the stack")
    parser.add_argument("--openapi", required=True, help="path of openapi.yaml")
    parser.add_argument("--token", help="a valid token, to check that a bad body is rejected")
    arguments = parser.parse_args()

    with open(arguments.openapi, encoding="utf-8") as file:
        document = yaml.safe_load(file)
    stack = Stack(arguments.endpoint, arguments.region, arguments.stack)
    api = RestApi(stack, document)
    api.fill()
    print("REST API: filled in from openapi.yaml", flush=True)
    fill_functions(stack)
    print("functions: local endpoint set", flush=True)
    fill_event_sources(stack)
    print("event sources: limits are numbers", flush=True)
    fill_tables(stack)
    print("tables: expiry on", flush=True)
    if arguments.token:
        checked = api.check(arguments.token)
        print(f"check: a bad body is rejected by {checked} methods", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (GapError, BotoCoreError, ClientError, OSError, KeyError, yaml.YAMLError) as error:
        sys.exit(f"fill_gaps: {type(error).__name__}: {error}")
