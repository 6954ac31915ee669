// What the client's tests run against: a proxy before the API of a running stack, with faults on demand. It also serves
// the page on which a browser runs the same cases, under the name `localhost`: another origin than the API's.
//
// node server.mjs ORIGIN   prints its port

import { readFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";

const FILES = {
  "/": ["text/html", "<!doctype html><meta charset=utf-8><title>Cases</title>"],
  "/intake.js": ["text/javascript", readFileSync(new URL("../../client/intake.js", import.meta.url))],
  "/cases.mjs": ["text/javascript", readFileSync(new URL("cases.mjs", import.meta.url))],
};
/** As the gateway responds itself. */
const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-methods": "GET,PUT,POST,DELETE",
  "access-control-allow-headers": "Authorization,*",
  "access-control-expose-headers": "Retry-After,x-amz-apigw-id",
};

const target = new URL(process.argv[2]);
/** What happens to the next requests, one each; to those after the last, what happens to the last if it is `for ever`. */
let faults = [];
let requests = [];
const sockets = new Set();
let isMuted = false;
let refusesSockets = false;

/** How the tests tell it what to do. */
const CONTROL = {
  "PUT /faults": (body) => (faults = body),
  "GET /requests": () => requests,
  "DELETE /requests": () => (requests = []),
  "PUT /muted": (body) => (isMuted = body),
  "PUT /refuses-sockets": (body) => (refusesSockets = body),
  "DELETE /sockets": () => sockets.forEach((socket) => socket.destroy()),
};

/** Passes a request on, and collects the response. */
function pass(request, body) {
  return new Promise((resolve, reject) => {
    const { method, url: path, headers } = request;
    const options = { host: target.hostname, port: target.port, method, path, headers };
    const passed = http.request(options, async (response) => {
      const chunks = [];
      for await (const chunk of response) chunks.push(chunk);
      resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) });
    });
    passed.on("error", reject);
    passed.end(body);
  });
}

const server = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const { method, url } = request;
  const respond = (status, headers, content) => response.writeHead(status, { ...CORS, ...headers }).end(content);
  const [type, file] = FILES[url.split("?")[0]] ?? [];
  if (file) return respond(200, { "content-type": type }, file);
  if (url.startsWith("/control")) {
    if (method === "OPTIONS") return respond(200);
    const result = CONTROL[`${method} ${url.slice("/control".length)}`](body.length ? JSON.parse(body) : undefined);
    return respond(200, {}, JSON.stringify(result ?? null));
  }
  if (method === "OPTIONS") return answer(await pass(request, body));

  const entry = { method, path: url.replace(/^.*?(?=\/(messages|queue|receipts)\b)/, ""), at: performance.now() };
  requests.push(entry);
  const fault = faults[0];
  if (faults.length > 1 || fault?.forEver === undefined) faults.shift();
  if (fault?.status) {
    const { status, retryAfter } = fault;
    const problem = { type: "urn:intake:problem:test", title: "A fault", status, detail: "On purpose." };
    const headers = { "content-type": "application/problem+json", "x-amz-apigw-id": "test=" };
    if (retryAfter !== undefined) headers["retry-after"] = String(retryAfter);
    return respond(status, headers, JSON.stringify(problem));
  }
  if (fault?.cut === "before") return request.socket.destroy();
  const passed = await pass(request, body);
  entry.status = passed.status;
  if (fault?.cut !== "after") return answer(passed);
  // The request took effect, and nobody learns it. A browser repeats a request by itself if there is no response at
  // all; it does not once it has the headers.
  response.writeHead(passed.status, passed.headers);
  response.write(passed.body.subarray(0, 1), () => request.socket.destroy());

  function answer({ status, headers, body }) {
    response.writeHead(status, headers).end(body);
  }
});

server.on("upgrade", (request, socket, head) => {
  socket.on("error", () => {});
  if (refusesSockets) return socket.destroy();
  const upstream = net.connect(target.port, target.hostname, () => {
    const { rawHeaders } = request;
    const lines = [`GET ${request.url} HTTP/1.1`];
    for (let at = 0; at < rawHeaders.length; at += 2) lines.push(`${rawHeaders[at]}: ${rawHeaders[at + 1]}`);
    upstream.write(`${lines.join("\r\n")}\r\n\r\n`);
    upstream.write(head);
    socket.pipe(upstream);
    upstream.on("data", (data) => isMuted || socket.write(data));
  });
  sockets.add(socket);
  const end = () => (sockets.delete(socket), socket.destroy(), upstream.destroy());
  for (const side of [socket, upstream]) side.on("close", end).on("error", end);
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
// It ends with whoever started it.
process.stdin.resume().on("end", () => process.exit());
