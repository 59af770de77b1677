/**
 * A log: numbered JSON entries in a chain, each with a commit id and a schema version. Readers fold it; whoever loses the
 * race for the next number reads again and decides again.
 */
import { type Appended, Chain, type ChainFormat, type Linked } from './chain.ts';
import { canonicalJson } from './digest.ts';
import { StorageFault } from './fault.ts';
import { keys } from './keys.ts';
import type { StoragePorts } from './ports.ts';

export interface LogEntry<Body> extends Linked {
  /** Position in the log, from 0. */
  readonly number: number;
  /** Clock time of the writer (ISO, UTC): for people; the order is the number's. */
  readonly at: string;
  readonly body: Body;
}

export interface LogSchema<Body> {
  /** What the entries are: `deployment`, `runs`, …; stands in every entry as `<name>/<version>`. */
  readonly name: string;
  /** The version that is written. */
  readonly version: number;
  /** Brings a body of an older version to the next one: `upgrades[0]` from 1 to 2, `upgrades[1]` from 2 to 3, … */
  readonly upgrades: readonly ((body: never) => unknown)[];
  /** Phantom: what bodies of the written version are. */
  readonly body?: Body;
}

export class Log<Body> {
  readonly #chain: Chain<LogEntry<Body>>;
  readonly #ports: StoragePorts;
  readonly #schema: LogSchema<Body>;

  constructor(ports: StoragePorts, prefix: string, schema: LogSchema<Body>) {
    this.#ports = ports;
    this.#schema = schema;
    this.#chain = new Chain(ports.store, logFormat(prefix, schema));
  }

  /** All entries in order, verified. A log that was never written to is empty. Throws `StorageFault`. */
  read(): Promise<readonly LogEntry<Body>[]> {
    return this.#chain.read();
  }

  /**
   * Appends what `decide` returns for the entries as they are, or nothing when it returns null. `decide` is pure: after a
   * lost race it is asked again with the winner's entry in the list. Safe to run twice when `decide` recognises its own
   * earlier entry and returns null.
   */
  async append(decide: (entries: readonly LogEntry<Body>[]) => Body | null): Promise<Appended<LogEntry<Body>>> {
    const commit = this.#ports.random.id();
    return await this.#chain.append((entries, draft) => {
      const body = decide(entries);
      if (body === null) return null;
      const at = this.#ports.clock.now().toISOString();
      const schema = `${this.#schema.name}/${this.#schema.version}`;
      return `${canonicalJson({ schema, ...draft, commit, at, body })}\n`;
    }, commit);
  }
}

/** How a log's entries look; the audit reads the chains of all logs through it, whatever their bodies are. */
export function logFormat<Body>(prefix: string, schema: LogSchema<Body>): ChainFormat<LogEntry<Body>> {
  const current = `${schema.name}/${schema.version}`;
  return {
    name: prefix,
    entryKey: number => keys.logEntry(prefix, number),
    segmentKey: first => keys.logSegment(prefix, first),
    parse: (text, number) => parseEntry(text, { number, prefix, schema, current }),
  };
}

function parseEntry<Body>(text: string, expected: Expected<Body>): LogEntry<Body> {
  if (!text.endsWith('\n')) throw new Error(`the entry is cut short after ${text.length} characters`);
  const entry: unknown = JSON.parse(text);
  if (!isEnvelope(entry)) throw new Error('the entry lacks one of schema, number, prevHash, commit, at, body');
  if (entry.number !== expected.number) throw new Error(`the entry calls itself number ${entry.number}`);
  // The schema's name and version say what the body is; it was written by this code from that type.
  if (entry.schema === expected.current) return entry as LogEntry<Body>;
  return { ...entry, body: upgraded(entry, expected) };
}

interface Expected<Body> {
  readonly number: number;
  readonly prefix: string;
  readonly schema: LogSchema<Body>;
  /** The schema as the entries name it. */
  readonly current: string;
}

interface Envelope extends Linked {
  readonly schema: string;
  readonly number: number;
  readonly at: string;
  readonly body: unknown;
}

function isEnvelope(value: unknown): value is Envelope {
  if (typeof value !== 'object' || value === null) return false;
  const { schema, number, prevHash, commit, at } = value as Partial<Record<keyof Envelope, unknown>>;
  return (
    typeof schema === 'string' &&
    typeof number === 'number' &&
    (prevHash === null || typeof prevHash === 'string') &&
    typeof commit === 'string' &&
    typeof at === 'string' &&
    'body' in value
  );
}

function upgraded<Body>(entry: Envelope, { prefix, schema, current }: Expected<Body>): Body {
  const key = keys.logEntry(prefix, entry.number);
  const [name, written] = entry.schema.split('/');
  const version = Number(written);
  if (name !== schema.name || !Number.isInteger(version) || version < 1) {
    throw new StorageFault('foreign', key, `expected an entry of ${current}, found ${entry.schema}`);
  }
  if (version > schema.version) {
    const message = `entry is ${entry.schema}, this version of Almanac reads up to ${current}: upgrade Almanac`;
    throw new StorageFault('foreign', key, message);
  }
  let body = entry.body;
  for (const upgrade of schema.upgrades.slice(version - 1)) body = upgrade(body as never);
  return body as Body;
}
