// Signs standard input as GitLab's signing token does, by the library of the Standard Webhooks project.
// Prints the signature. Usage: node standard.mjs SECRET ID SECONDS < body
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const [secret, id, at] = process.argv.slice(2);
const body = readFileSync(0, "utf8");
process.stdout.write(new Webhook(secret).sign(id, new Date(Number(at) * 1000), body));
