// Webhooks onto a queue, as the documentation of these three libraries says.
// Arguments: the port to listen on, the port of Redis, the secret.
import { createNodeMiddleware, Webhooks } from "@octokit/webhooks";
import { Queue } from "bullmq";
import express from "express";

const [port, redis, secret] = process.argv.slice(2);
const queue = new Queue("webhooks", { connection: { host: "127.0.0.1", port: Number(redis) } });
const webhooks = new Webhooks({ secret });
webhooks.on("push", ({ id, payload }) => queue.add("push", payload, { jobId: id }));

const app = express();
app.use(createNodeMiddleware(webhooks, { path: "/webhook/github" }));
app.listen(Number(port), "127.0.0.1");
