// PUT /messages/{id} and POST /messages as the examples of the AWS SDK and of Powertools for AWS Lambda write it.

import { Logger } from "@aws-lambda-powertools/logger";
import { ConditionalCheckFailedException, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, PutCommand } from "@aws-sdk/lib-dynamodb";

const logger = new Logger();
const dynamodb = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const table = process.env.MESSAGES_TABLE;
const legalId = /^[A-Za-z0-9_-]{1,64}$/;

const respond = (statusCode, body) => ({
  statusCode,
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
});

const isObject = (text) => {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
};

const store = async (owner, id, payload) => {
  const now = new Date().toISOString();
  try {
    await dynamodb.send(
      new PutCommand({
        TableName: table,
        Item: {
          pk: `${id}#${owner}`,
          status: "stored",
          payload,
          via: "sync",
          attempts: 1,
          received_at: now,
          stored_at: now,
        },
        ConditionExpression: "attribute_not_exists(pk)",
      }),
    );
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
    return false;
  }
  logger.info("stored", { message_id: id });
  return true;
};

// POST /messages, one after the other.
const storeAll = async (owner, messages) => {
  const outcomes = [];
  for (const { id, payload } of messages) {
    const isStored = legalId.test(id) && (await store(owner, id, JSON.stringify(payload)));
    outcomes.push({ id, status: isStored ? "stored" : "not stored" });
  }
  return outcomes;
};

export const handler = async (event, context) => {
  logger.addContext(context);
  const owner = event.requestContext.authorizer.principalId;
  if (!isObject(event.body)) return respond(400, { message: "the body is not a JSON object" });
  if (event.httpMethod === "POST") {
    return respond(200, { outcomes: await storeAll(owner, JSON.parse(event.body).messages) });
  }
  const id = event.pathParameters.id;
  if (!legalId.test(id)) return respond(400, { message: "illegal id" });
  if (!(await store(owner, id, event.body))) {
    return respond(409, { message: "there is a message with this id" });
  }
  return respond(201, { id, status: "stored" });
};
