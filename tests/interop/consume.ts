// consume.ts: handle the messages of a consumer group, and acknowledge each.
//   node dist/consume.js orders warehouse [--name NAME] [--claim-idle MS]
import { hostname } from "node:os";
import { setTimeout as wait } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Redis } from "ioredis";
import { decode, type Message } from "./entries.js";

type Entry = [id: string, fields: string[] | null];

const COUNT = 10; // handle so many within CLAIM_IDLE, or others take them for abandoned
const BLOCK_MS = 1000; // how long a read waits, and so how long a stop takes

class Consumer {
  private from = "0"; // "0": what is pending under our name, ">": what is new
  private claimed = "0-0"; // how far we have looked for what others abandoned

  /**
   * `stream` is its key on the server. `name` belongs to one process at a time. `claimIdleMs` is for a group that no
   * Django worker serves: take over what was pending for so long, under whatever name.
   */
  constructor(
    private readonly redis: Redis,
    private readonly stream: string,
    private readonly group: string,
    private readonly name: string,
    private readonly handle: (message: Message) => Promise<void>,
    private readonly claimIdleMs?: number,
  ) {
    // The reply to a read may be lost with the connection: then its messages are pending, and nobody has them.
    redis.on("close", () => (this.from = "0"));
  }

  /** Handle messages until `stop` is aborted; what was read by then is handled too. */
  async run(stop: AbortSignal): Promise<void> {
    await this.createGroup();
    while (!stop.aborted) {
      try {
        for (const entry of await this.read()) await this.settle(entry);
        for (const entry of await this.claim()) await this.settle(entry);
      } catch (error) {
        // FLUSHALL, a failover, or somebody deleted it: begin anew, which may bring some messages again.
        if (!String(error).includes("NOGROUP")) throw error;
        await this.createGroup();
      }
    }
  }

  private async createGroup(): Promise<void> {
    try {
      await this.redis.xgroup("CREATE", this.stream, this.group, "0", "MKSTREAM");
    } catch (error) {
      if (!String(error).includes("BUSYGROUP")) throw error; // it is there, which is fine
    }
  }

  private async read(): Promise<Entry[]> {
    const from = this.from;
    const reply = await this.redis.xreadgroup(
      "GROUP", this.group, this.name, "COUNT", COUNT, "BLOCK", BLOCK_MS, "STREAMS", this.stream, from,
    );
    const [[, entries]] = (reply ?? [["", []]]) as [[stream: string, entries: Entry[]]];
    if (from !== ">" && this.from === from) this.from = entries.at(-1)?.[0] ?? ">";
    return entries;
  }

  private async claim(): Promise<Entry[]> {
    if (this.claimIdleMs === undefined) return [];
    const { redis, stream, group, name, claimIdleMs, claimed } = this;
    const reply = await redis.xautoclaim(stream, group, name, claimIdleMs, claimed, "COUNT", COUNT);
    const [next, entries] = reply as [string, (Entry | null)[]];
    this.claimed = next;
    return entries.filter((entry) => entry !== null);
  }

  /** Acknowledged once `handle` has returned; if it throws, the message stays pending. */
  private async settle([id, fields]: Entry): Promise<void> {
    try {
      if (fields !== null) await this.handle(decode(this.stream, id, fields));
      else console.error(`${this.stream}/${id} was deleted while it was pending`);
    } catch (error) {
      console.error(`${this.stream}/${id} stays pending:`, error);
      return;
    }
    await this.redis.xack(this.stream, this.group, id);
  }
}

/** Stands for the work: takes as long as the message says. */
async function ship(message: Message): Promise<void> {
  const { seconds = 0 } = Object(message.payload);
  if (!(seconds >= 0)) throw new RangeError(`seconds: expected 0 or more, not ${seconds}`);
  await wait(seconds * 1000);
  console.log(JSON.stringify(message));
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { name: { type: "string", default: hostname() }, "claim-idle": { type: "string" } },
});
const [stream, group] = positionals;
if (stream === undefined || group === undefined) throw new Error("node dist/consume.js STREAM GROUP [--name NAME]");

const redis = new Redis(process.env["REDIS_URL"] ?? "redis://localhost:6379/0", {
  maxRetriesPerRequest: null, // wait for a server that is away
  socketTimeout: 10 * BLOCK_MS, // notice one that is gone without a word
});
redis.on("error", (error) => console.error(`${error}`));

const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());

const claimIdle = values["claim-idle"];
const claimIdleMs = claimIdle === undefined ? undefined : Number(claimIdle);
await new Consumer(redis, stream, group, values.name, ship, claimIdleMs).run(stop.signal);
redis.disconnect();
