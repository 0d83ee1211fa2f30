// Checks a webhook of Forge with nothing but Node's own library.
//
//     node verify.mjs SECRET WEBHOOK-ID WEBHOOK-TIMESTAMP WEBHOOK-SIGNATURE < body      ends with 0 if it is genuine
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

const TOLERANCE = 300; // seconds

export function verify(secret, id, timestamp, signatures, body) {
  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : Buffer.from(secret);
  // Somebody may have kept it, to send it again.
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) return false;
  // The bytes as they came: parse them later.
  const mac = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64");
  const expected = Buffer.from(`v1,${mac}`);
  return signatures.split(" ").some((each) => {
    const given = Buffer.from(each);
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

if (process.argv[1].endsWith("verify.mjs")) {
  const [secret, id, timestamp, signatures] = process.argv.slice(2);
  process.exitCode = verify(secret, id, timestamp, signatures, readFileSync(0)) ? 0 : 1;
}
