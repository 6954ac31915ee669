// The cases under Node.js. `INTAKE_CLIENT` says where everything is, as JSON.

import { test } from "node:test";

import * as client from "../../client/intake.js";
import { cases, run } from "./cases.mjs";

// Node.js warns of listeners and timers that pile up.
process.on("warning", (warning) => {
  throw warning;
});

const at = JSON.parse(process.env.INTAKE_CLIENT);
for (const name of Object.keys(cases)) test(name, () => run(name, client, at));
