// Webhooks from a queue, as the documentation of these two libraries says.
//   deliver.mjs queue REDIS-PORT < one body a line
//   deliver.mjs work REDIS-PORT SECRET AT-ONCE RECEIVER-PORT
import { createHmac } from "node:crypto";
import { createInterface } from "node:readline";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { Agent, request, setGlobalDispatcher } from "undici";

const [what, redis, secret, atOnce, receiver] = process.argv.slice(2);
const connection = { host: "127.0.0.1", port: Number(redis) };
const options = { attempts: 10, backoff: { type: "exponential", delay: 5000 }, removeOnComplete: true };
const job = (body) => ({ name: "deliver", data: body, opts: { ...options, jobId: JSON.parse(body).eventId } });

if (what === "queue") {
  const queue = new Queue("deliveries", { connection });
  let batch = [];
  for await (const body of createInterface({ input: process.stdin })) {
    if (batch.push(job(body)) === 500) await queue.addBulk(batch.splice(0));
  }
  await queue.addBulk(batch);
  await queue.close();
} else {
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  setGlobalDispatcher(new Agent({ connections: Number(atOnce) }));
  const deliver = async ({ id, data: body }) => {
    const at = Math.floor(Date.now() / 1000);
    const seal = createHmac("sha256", key).update(`${id}.${at}.${body}`).digest("base64");
    const headers = {
      "content-type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": String(at),
      "webhook-signature": `v1,${seal}`,
    };
    const answer = await request(`http://127.0.0.1:${receiver}/`, { method: "POST", headers, body });
    await answer.body.dump();
    if (answer.statusCode >= 300) throw new Error(`the receiver answered ${answer.statusCode}`);
  };
  new Worker("deliveries", deliver, { connection: { ...connection, maxRetriesPerRequest: null }, concurrency: Number(atOnce) });
  // What is sent one by one comes by a list, from a program that has only redis-cli.
  const queue = new Queue("deliveries", { connection });
  const list = new Redis({ ...connection, maxRetriesPerRequest: null });
  for (;;) {
    const [, body] = await list.brpop("bench:one-by-one", 0);
    const { name, data, opts } = job(body);
    await queue.add(name, data, opts);
  }
}
