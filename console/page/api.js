// What a person sees of the public API: problems, rules and command lines. `intake.js` is its client.

/** What a response without success says, as a title and a detail. */
export function problem(response) {
  const body = response.json;
  if (body?.title) return { title: body.title, detail: body.detail ?? "" };
  if (response.status === 0) {
    const detail = "Whether the request took effect is unknown. Sending the same again is safe.";
    return { title: "No response", detail: `${response.reason}. ${detail}` };
  }
  return { title: `Status ${response.status}, without a problem document`, detail: response.text.slice(0, 300) };
}

/** The owner that a token names, without checking its signature; null if it is no JSON Web Token. */
export function ownerOf(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const { sub } = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
    return typeof sub === "string" ? sub : null;
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
