// Prints every payload of @octokit/webhooks-examples, signed by @octokit/webhooks-methods:
// a JSON object a line, {event, body, signature}. Usage: node examples.mjs SECRET
import { createRequire } from "node:module";
import { sign } from "@octokit/webhooks-methods";

const webhooks = createRequire(import.meta.url)("@octokit/webhooks-examples");
for (const { name, examples } of webhooks.default ?? webhooks) {
  for (const example of examples) {
    const body = JSON.stringify(example);
    const signature = await sign(process.argv[2], body);
    process.stdout.write(JSON.stringify({ event: name, body, signature }) + "\n");
  }
}
