// What a person sees of the public API. `intake.js` is its client.

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

/** A request as a command line. The variables are those that `cargo xtask up` prints. */
export function curl(method, path, body) {
  const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const url = `"$INTAKE"${quote(path)}`;
  const parts = [`curl -i -X ${method} ${url}`, `-H "Authorization: Bearer $TOKEN"`];
  if (body !== undefined) parts.push("-H 'Content-Type: application/json'", `--data-raw ${quote(body)}`);
  return parts.join(" \\\n  ");
}
