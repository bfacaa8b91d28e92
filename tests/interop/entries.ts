// entries.ts: a message as the fields of a stream's entry, and back.
import { randomUUID } from "node:crypto";

export interface Message {
  id: string; // the same each time it is delivered: be idempotent by it
  type: string;
  payload: unknown;
  key: string | null;
  headers: Record<string, unknown>;
  time: Date;
}

export interface Options {
  id?: string; // a UUID; give the same one when you publish a message once more
  type?: string | undefined;
  key?: string | undefined;
  headers?: Record<string, unknown> | undefined;
}

const ENVELOPE = new Set(["id", "type", "data", "time", "key", "headers"]);
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The fields of an envelope: the payload is any JSON value. */
export function envelope(payload: unknown, { id = randomUUID(), type, key, headers }: Options = {}): string[] {
  const data = JSON.stringify(payload);
  if (data === undefined) throw new TypeError(`${String(payload)}: expected a JSON value`);
  return [
    ...["id", id],
    ...(type ? ["type", type] : []),
    ...["data", data],
    ...(key === undefined ? [] : ["key", key]),
    ...(headers ? ["headers", JSON.stringify(headers)] : []),
  ];
}

/** The fields of a flat entry: each key of the payload is one, handlers get a dict of texts. */
export function flat(payload: object, { id = randomUUID(), type }: Pick<Options, "id" | "type"> = {}): string[] {
  const fields = ["drs-id", id, ...(type ? ["type", type] : [])]; // "drs-id" must be the first
  for (const [name, value] of Object.entries(payload)) {
    if (name === "drs-id" || (type && name === "type")) throw new TypeError(`${name}: this field is set already`);
    if (value !== null && !["string", "number", "boolean"].includes(typeof value)) {
      throw new TypeError(`${name}: expected text, a number, true, false or null; use an envelope`);
    }
    fields.push(name, String(value));
  }
  return fields;
}

/** The message of an entry, an envelope or not. Throws where an envelope with an id can't be decoded. */
export function decode(key: string, entryId: string, fields: string[]): Message {
  const pairs = fields.flatMap((name, at) => (at % 2 ? [] : [[name, fields[at + 1] ?? ""] as const]));
  const entry: Record<string, string | undefined> = Object.fromEntries(pairs);
  if (isEnvelope(pairs.length, entry)) {
    try {
      return opened(`${key}/${entryId}`, entryId, entry);
    } catch (error) {
      if (entry["id"] !== undefined) throw error;
    }
  }
  const ours = fields[0] === "drs-id" && UUID.test(fields[1] ?? "");
  const payload = Object.fromEntries(Object.entries(entry).filter(([name]) => !(ours && name === "drs-id")));
  const id = (ours && fields[1]) || `${key}/${entryId}`;
  return { id, type: entry["type"] ?? "", payload, key: null, headers: {}, time: timeOf(entryId) };
}

function isEnvelope(length: number, entry: Record<string, string | undefined>): boolean {
  const names = Object.keys(entry);
  if (entry["data"] === undefined || names.length !== length) return false; // a field that is there twice
  return names.every((name) => ENVELOPE.has(name)) && (entry["id"] === undefined || UUID.test(entry["id"]));
}

function opened(id: string, entryId: string, entry: Record<string, string | undefined>): Message {
  const headers: unknown = JSON.parse(entry["headers"] ?? "{}");
  if (headers === null || typeof headers !== "object" || Array.isArray(headers)) {
    throw new TypeError("headers: expected an object");
  }
  const time = entry["time"] === undefined ? timeOf(entryId) : new Date(entry["time"]);
  if (Number.isNaN(time.getTime())) throw new TypeError(`time: expected RFC 3339, not ${entry["time"]}`);
  return {
    id: entry["id"] ?? id,
    type: entry["type"] ?? "",
    payload: JSON.parse(entry["data"] ?? ""),
    key: entry["key"] ?? null,
    headers: headers as Record<string, unknown>,
    time,
  };
}

/** When an entry was appended: its id begins with the ms since 1970. */
function timeOf(entryId: string): Date {
  return new Date(Number(entryId.split("-")[0]));
}
