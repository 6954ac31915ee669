// A Lambda runtime for Node.js as small as possible: it asks for events, calls the handler, responds.
//
// It stands for AWS's own, aws-lambda-ric, which brings a native module that needs CMake and autotools to be
// built. It does less than that one, which is to this peer's advantage.

import { Agent, request } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

const call = (method, path, body) =>
  new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "Content-Length": Buffer.byteLength(body) };
    const asked = request(
      { host, port, agent, method, path: `/2018-06-01/runtime/${path}`, headers },
      (response) => {
        const parts = [];
        response.on("data", (part) => parts.push(part));
        response.on("end", () => resolve({ headers: response.headers, body: Buffer.concat(parts) }));
        response.on("error", reject);
      },
    );
    asked.on("error", reject);
    asked.end(body);
  });

const failure = (error) =>
  JSON.stringify({ errorType: error?.name, errorMessage: error?.message, trace: error?.stack?.split("\n") });

const [file, name] = process.argv[2].split(".");
const { [name]: handler } = createRequire(import.meta.url)(join(process.env.LAMBDA_TASK_ROOT, file));

for (;;) {
  const next = await call("GET", "invocation/next");
  const id = next.headers["lambda-runtime-aws-request-id"];
  const deadline = Number(next.headers["lambda-runtime-deadline-ms"]);
  const context = {
    awsRequestId: id,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    invokedFunctionArn: next.headers["lambda-runtime-invoked-function-arn"],
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
  try {
    const response = await handler(JSON.parse(next.body), context);
    await call("POST", `invocation/${id}/response`, JSON.stringify(response));
  } catch (error) {
    await call("POST", `invocation/${id}/error`, failure(error));
  }
}
