// The consumer of the queue as the examples of Powertools for AWS Lambda (batch processing) write it.

import { BatchProcessor, EventType, processPartialResponse } from "@aws-lambda-powertools/batch";
import { Logger } from "@aws-lambda-powertools/logger";
import {
  ApiGatewayManagementApiClient,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";
import { ConditionalCheckFailedException, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, PutCommand, QueryCommand } from "@aws-sdk/lib-dynamodb";

const logger = new Logger();
const processor = new BatchProcessor(EventType.SQS);
const dynamodb = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const push = new ApiGatewayManagementApiClient({ endpoint: process.env.WEBSOCKET_ENDPOINT });
const { MESSAGES_TABLE: messages, CONNECTIONS_TABLE: connections } = process.env;
const legalId = /^[A-Za-z0-9_-]{1,64}$/;

// The notifications of the batch, by owner.
const events = new Map();

const store = async (record) => {
  const owner = record.messageAttributes.owner.stringValue;
  const id = record.messageAttributes.id.stringValue;
  if (!legalId.test(id)) throw new Error("illegal id");
  const payload = JSON.parse(record.body);
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) {
    throw new Error("the body is not a JSON object");
  }
  const now = new Date().toISOString();
  try {
    await dynamodb.send(
      new PutCommand({
        TableName: messages,
        Item: {
          pk: `${id}#${owner}`,
          status: "stored",
          payload: record.body,
          via: "queue",
          attempts: Number(record.attributes.ApproximateReceiveCount),
          received_at: record.attributes.SentTimestamp,
          stored_at: now,
          receipt: record.messageId,
        },
        ConditionExpression: "attribute_not_exists(pk)",
      }),
    );
  } catch (error) {
    // It was delivered before, and is stored.
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
  }
  logger.info("stored", { message_id: id, receipt: record.messageId });
  if (!events.has(owner)) events.set(owner, []);
  events.get(owner).push({
    specversion: "1.0",
    id: `${record.messageId}:stored`,
    source: "/intake",
    type: "intake.message.stored",
    subject: id,
    time: now,
    datacontenttype: "application/json",
    data: { receipt: record.messageId },
  });
};

const notify = async (owner, itsEvents) => {
  const found = await dynamodb.send(
    new QueryCommand({
      TableName: connections,
      KeyConditionExpression: "#owner = :owner",
      ExpressionAttributeNames: { "#owner": "owner" },
      ExpressionAttributeValues: { ":owner": owner },
    }),
  );
  const Data = JSON.stringify(itsEvents);
  await Promise.all(
    (found.Items ?? []).map((item) =>
      push.send(new PostToConnectionCommand({ ConnectionId: item.connection_id, Data })),
    ),
  );
};

export const handler = async (event, context) => {
  logger.addContext(context);
  events.clear();
  const response = await processPartialResponse(event, store, processor, { context });
  await Promise.all(
    [...events].map(([owner, itsEvents]) =>
      notify(owner, itsEvents).catch((error) => logger.error("a push failed", error)),
    ),
  );
  return response;
};
