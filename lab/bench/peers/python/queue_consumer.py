"""The consumer of the queue as the examples of Powertools for AWS Lambda (batch processing) write it."""

import json
import os
import re
from collections import defaultdict
from datetime import datetime, timezone

import boto3
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError

logger = Logger()
processor = BatchProcessor(event_type=EventType.SQS)
dynamodb = boto3.resource("dynamodb")
messages = dynamodb.Table(os.environ["MESSAGES_TABLE"])
connections = dynamodb.Table(os.environ["CONNECTIONS_TABLE"])
push = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["WEBSOCKET_ENDPOINT"])
LEGAL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

# The notifications of the batch, by owner.
events = defaultdict(list)


def store(record: SQSRecord):
    owner = record.message_attributes["owner"].string_value
    id = record.message_attributes["id"].string_value
    if not LEGAL_ID.fullmatch(id):
        raise ValueError("illegal id")
    if not isinstance(record.json_body, dict):
        raise ValueError("the body is not a JSON object")
    now = datetime.now(timezone.utc).isoformat()
    try:
        messages.put_item(
            Item={
                "pk": f"{id}#{owner}",
                "status": "stored",
                "payload": record.body,
                "via": "queue",
                "attempts": int(record.attributes.approximate_receive_count),
                "received_at": record.attributes.sent_timestamp,
                "stored_at": now,
                "receipt": record.message_id,
            },
            ConditionExpression="attribute_not_exists(pk)",
        )
    except ClientError as error:
        # It was delivered before, and is stored.
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
    logger.info("stored", message_id=id, receipt=record.message_id)
    events[owner].append(
        {
            "specversion": "1.0",
            "id": f"{record.message_id}:stored",
            "source": "/intake",
            "type": "intake.message.stored",
            "subject": id,
            "time": now,
            "datacontenttype": "application/json",
            "data": {"receipt": record.message_id},
        }
    )


def notify(owner, its_events):
    found = connections.query(KeyConditionExpression=Key("owner").eq(owner))
    frame = json.dumps(its_events).encode()
    for item in found["Items"]:
        push.post_to_connection(ConnectionId=item["connection_id"], Data=frame)


@logger.inject_lambda_context
def handler(event, context):
    events.clear()
    response = process_partial_response(
        event=event, record_handler=store, processor=processor, context=context
    )
    for owner, its_events in events.items():
        try:
            notify(owner, its_events)
        except ClientError:
            logger.exception("a push failed")
    return response
