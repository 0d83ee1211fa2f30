// Checks a webhook by the library of the Standard Webhooks project; says what is wrong with it, or nothing.
// Usage: node verify.mjs SECRET ID SECONDS SIGNATURES < body
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const [secret, id, at, signatures] = process.argv.slice(2);
const headers = { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": signatures };
try {
  new Webhook(secret).verify(readFileSync(0, "utf8"), headers);
} catch (error) {
  process.stdout.write(String(error));
}
