// The public API, as any client uses it.

/** How long a caller waits for a response: the API's own limit is 29 seconds. */
const TIMEOUT_MS = 35_000;

/** Sends a request. Returns the response, or `status: 0` and the reason why there is none. */
export async function request(base, token, method, path, body) {
  const headers = { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const start = performance.now();
  const took = () => performance.now() - start;
  try {
    const options = { method, headers, body, cache: "no-store", credentials: "omit" };
    const response = await fetch(base + path, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = await response.text();
    return { status: response.status, headers: Object.fromEntries(response.headers), text, ms: took() };
  } catch (error) {
    return { status: 0, headers: {}, text: "", reason: `${error.name}: ${error.message}`, ms: took() };
  }
}

/** The body of a response, if it is JSON. */
export function json(response) {
  try {
    return JSON.parse(response.text);
  } catch {
    return null;
  }
}

/** What a response without success says, as a title and a detail. */
export function problem(response) {
  const body = json(response);
  if (body?.title) return { title: body.title, detail: body.detail ?? "" };
  if (response.status === 0) {
    const detail = "Whether the request took effect is unknown. Sending the same again is safe.";
    return { title: "No response", detail: `${response.reason}. ${detail}` };
  }
  return { title: `Status ${response.status}, without a problem document`, detail: response.text.slice(0, 300) };
}

/** Owner and expiry of a token, without checking its signature; null if it is no JSON Web Token. */
export function claims(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const { sub, exp } = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
    return typeof sub === "string" && typeof exp === "number" ? { owner: sub, expiresAt: exp * 1000 } : null;
  } catch {
    return null;
  }
}

/** What is wrong with a payload, in words; null if the API accepts it. */
export function payloadFault(text) {
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > 256 * 1024) return `Too long: ${bytes.toLocaleString("en-US")} of at most 262,144 bytes.`;
  if (text.includes("\ufffd")) return "It has the character U+FFFD. Write it as the escape \\ufffd.";
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `Not JSON: ${error.message}.`;
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) return "JSON, but not an object.";
  if (Object.keys(value).length === 0) return "An object without a member.";
  return null;
}

export const isLegalId = (id) => /^[A-Za-z0-9_-]{1,64}$/.test(id);

/** A request as a command line. The variables are those that `cargo xtask up` prints. */
export function curl(method, path, body) {
  const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const url = `"$INTAKE"${quote(path)}`;
  const parts = [`curl -i -X ${method} ${url}`, `-H "Authorization: Bearer $TOKEN"`];
  if (body !== undefined) parts.push("-H 'Content-Type: application/json'", `--data-raw ${quote(body)}`);
  return parts.join(" \\\n  ");
}
