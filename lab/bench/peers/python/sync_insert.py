"""PUT /messages/{id} as the examples of boto3 and of Powertools for AWS Lambda write it."""

import json
import os
import re
from datetime import datetime, timezone

import boto3
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

logger = Logger()
table = boto3.resource("dynamodb").Table(os.environ["MESSAGES_TABLE"])
LEGAL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def respond(status, body):
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(body),
    }


@logger.inject_lambda_context
def handler(event, context):
    owner = event["requestContext"]["authorizer"]["principalId"]
    id = event["pathParameters"]["id"]
    if not LEGAL_ID.fullmatch(id):
        return respond(400, {"message": "illegal id"})
    try:
        payload = json.loads(event["body"])
    except (TypeError, ValueError):
        payload = None
    if not isinstance(payload, dict):
        return respond(400, {"message": "the body is not a JSON object"})
    now = datetime.now(timezone.utc).isoformat()
    try:
        table.put_item(
            Item={
                "pk": f"{id}#{owner}",
                "status": "stored",
                "payload": event["body"],
                "via": "sync",
                "attempts": 1,
                "received_at": now,
                "stored_at": now,
            },
            ConditionExpression="attribute_not_exists(pk)",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return respond(409, {"message": "there is a message with this id"})
    logger.info("stored", message_id=id)
    return respond(201, {"id": id, "status": "stored"})
