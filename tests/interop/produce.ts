// produce.ts: publish each line of standard input, a JSON value, to a stream.
//   node dist/produce.js orders --type order.imported < orders.ndjson
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { Redis } from "ioredis";
import { envelope, flat } from "./entries.js";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    flat: { type: "boolean" },
    type: { type: "string" },
    key: { type: "string" },
    headers: { type: "string" }, // a JSON object
  },
});
const [stream] = positionals;
if (stream === undefined) throw new Error("Which stream? node dist/produce.js STREAM [--flat] [--type TYPE]");
const { type, key } = values;
const headers = values.headers === undefined ? undefined : JSON.parse(values.headers);

const redis = new Redis(process.env["REDIS_URL"] ?? "redis://localhost:6379/0");
redis.on("error", (error) => console.error(`${error}`));

for await (const line of createInterface({ input: process.stdin })) {
  const payload: unknown = JSON.parse(line);
  const fields = values.flat ? flat(payload as object, { type }) : envelope(payload, { type, key, headers });
  // A lost connection: ioredis sends it again when it is back. It may be there twice then, with one id.
  console.log(await redis.xadd(stream, "*", ...fields));
}
await redis.quit();
