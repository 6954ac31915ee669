"""Checks permissions where the emulator checks others than AWS, or none."""

import contextvars
import json
import re

from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import apigateway_v1, sqs

INSERT = re.compile(r'\s*INSERT\s+INTO\s+"([^"]+)"', re.IGNORECASE)
SESSION = re.compile(r"arn:(aws[a-z-]*):sts::(\d+):assumed-role/(.+)/[^/]+")


def check_as_aws_does():
    check_partiql()
    check_batches_of_sqs()
    resolve_callers()
    send_as_the_gateways_role()


def check_partiql():
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


def check_batches_of_sqs():
    """The action that AWS checks for a batch of SQS is that of a single message."""

    def single(action):
        return action.removesuffix("Batch") if action and action.startswith("sqs:") else action

    extract, enforce = iam_actions.extract_iam_action, sqs._enforce_queue_policy
    iam_actions.extract_iam_action = lambda *arguments: single(extract(*arguments))
    sqs._enforce_queue_policy = lambda queue, action: enforce(queue, single(action))


def resolve_callers():
    """In policies, a session of a role counts as the role, and this machine's own traffic as TLS, which the emulator
    does not support."""
    resolve = iam_evaluator._resolve_condition_key

    def resolve_role(key, context):
        if key.lower() == "aws:securetransport":
            return "true"
        value = resolve(key, context)
        return SESSION.sub(r"arn:\1:iam::\2:role/\3", value) if key.lower() == "aws:principalarn" else value

    iam_evaluator._resolve_condition_key = resolve_role


def send_as_the_gateways_role():
    """Lets the REST API send to the queue in the role that openapi.yaml names, if that role is allowed to. The
    emulator sends as the account itself."""
    invoke, enforce = apigateway_v1._invoke_sqs_v1, sqs._enforce_queue_policy
    acting_role = contextvars.ContextVar("acting_role", default=None)

    async def invoke_as_role(integration, *arguments, **more):
        role = acting_role.set(integration["credentials"])
        caller = iam_evaluator._request_caller_arn.set(integration["credentials"])
        try:
            return await invoke(integration, *arguments, **more)
        finally:
            iam_evaluator._request_caller_arn.reset(caller)
            acting_role.reset(role)

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
