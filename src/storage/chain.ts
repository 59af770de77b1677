/**
 * A chain: numbered objects, each created if absent and each holding the hash of the one before. It is the one primitive
 * that decides anything in Almanac; `Log` and the table of predictions are two formats on top of it.
 *
 *     0 ── hash ──▶ 1 ── hash ──▶ 2 ── hash ──▶ 3        (4 is free: whoever creates it has decided)
 *     └────── segment 0: copies of 0…1023 ──────┘        (only for speed, under a digest of its own; can be deleted)
 *
 * Reading never lists to find the end: it walks until a number is absent, because a listing may be stale. Writing follows
 * four rules: read slot n; if it is taken, decide again with it in mind; if it is absent, create it; on *any* answer but
 * "created", read slot n again. A writer advances only past a slot it has seen taken, so an entry that arrives late can
 * never be decided twice.
 */
import { webcrypto } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { sha256 } from './digest.ts';
import { notWritten, StorageFault } from './fault.ts';
import { entryNumberOf } from './keys.ts';
import type { ObjectStore } from './object-store.ts';
import { type SharedLog, sharedLog } from './shared-log.ts';

const { subtle } = webcrypto;

/** What every entry must say about itself, whatever else is in it. */
export interface Linked {
  /** SHA-256 of the bytes of the entry before; null for entry 0. */
  readonly prevHash: string | null;
  /** Drawn for one append; tells a writer that the entry it finds is its own. */
  readonly commit: string;
}

export interface ChainFormat<Entry extends Linked> {
  /** Folder of the chain, for messages. */
  readonly name: string;
  entryKey(number: number): string;
  segmentKey(first: number): string;
  /** Throws when the text is not a whole entry with this number. */
  parse(text: string, number: number): Entry;
}

export interface Draft {
  /** The number the entry will have, and the hash it must carry. */
  readonly number: number;
  readonly prevHash: string | null;
}

export type Appended<Entry> =
  | { readonly kind: 'appended'; readonly entry: Entry }
  /** The decision was not to write. */
  | { readonly kind: 'declined' };

/** Entries per segment. */
export const segmentLength = 1024;
/**
 * How often is asked before the caller hears `unavailable` of answers that say nothing, or `corrupt` of bytes that do not fit.
 * A store that cuts one read in thirty short, unnoticed, does so four times in a row once in a million.
 */
const attemptsMax = 8;
/** Parallel reads while walking to the end. */
const windowMax = 32;
/** Segments that are fetched while one is parsed; each is about half a megabyte. */
const segmentsAhead = 16;

export class Chain<Entry extends Linked> {
  readonly #store: ObjectStore;
  readonly #format: ChainFormat<Entry>;
  /** Verified entries by number; they never change, so a chain that stays open reads each only once. */
  readonly #entries: Entry[] = [];
  /** SHA-256 of the bytes of the last of them: what the next must carry. */
  #lastHash: string | null = null;
  /** Entries that are copied into segments; the texts of all later ones wait in `#tailTexts`. */
  #segmentsEnd = 0;
  readonly #tailTexts: string[] = [];
  #state: 'new' | 'open' = 'new';
  /** Calls on one chain take turns: each sees the entries the former one verified. */
  #turn: Promise<unknown> = Promise.resolve();
  readonly #shared: SharedLog;

  constructor(store: ObjectStore, format: ChainFormat<Entry>) {
    this.#store = store;
    this.#format = format;
    this.#shared = sharedLog(store, format.name);
  }

  /** All entries, verified; those of earlier calls are not read again. Throws `StorageFault`. */
  read(): Promise<readonly Entry[]> {
    return this.#inTurn(async () => (await this.#read()).slice());
  }

  async #read(): Promise<readonly Entry[]> {
    if (this.#state === 'new') await this.#readSegments();
    await this.#walk();
    if (this.#state === 'new') await this.#refuseGap();
    this.#state = 'open';
    return this.#entries;
  }

  /**
   * Appends what `propose` returns for the entries as they are; after a lost race it is asked again. It must return the
   * same text for the same draft, or null when there is nothing to write.
   */
  append(
    propose: (entries: readonly Entry[], draft: Draft) => string | null,
    commit: string,
  ): Promise<Appended<Entry>> {
    return this.#inTurn(() => this.#shared.inTurn(() => this.#append(propose, commit)));
  }

  async #append(
    propose: (entries: readonly Entry[], draft: Draft) => string | null,
    commit: string,
  ): Promise<Appended<Entry>> {
    let unclear = '';
    let offered: { readonly number: number; readonly text: string } | undefined;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const entries = await this.#read();
      const number = entries.length;
      if (offered !== undefined && number > offered.number) {
        // The slot is taken: by an earlier try of this very call whose answer was lost, or by someone else.
        const own = entries[offered.number];
        if (own?.commit === commit) return { kind: 'appended', entry: own };
        attempt = 0;
      }
      // While the slot stays free it is offered the same bytes, since a first try may still arrive.
      if (offered?.number !== number) {
        const text = propose(entries, { number, prevHash: this.#lastHash });
        if (text === null) return { kind: 'declined' };
        offered = { number, text };
      }
      const key = this.#format.entryKey(number);
      const answer = await this.#store.putIfAbsent(key, new TextEncoder().encode(offered.text));
      switch (answer.kind) {
        case 'applied': {
          const entry = this.#accept(number, offered.text);
          await this.#writeSegments();
          return { kind: 'appended', entry };
        }
        case 'not_applied':
          if (answer.reason === 'refused') throw notWritten(key, answer.detail);
          unclear = answer.detail;
          break;
        case 'unknown':
          unclear = answer.cause;
          break;
      }
    }
    throw new StorageFault('unavailable', this.#format.name, `no clear answer after ${attemptsMax} tries: ${unclear}`);
  }

  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    const result = this.#shared.working(() => this.#turn.then(call));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** Walks forward from the last verified entry until a number is absent. */
  async #walk(): Promise<void> {
    for (let width = 1; ; width = Math.min(width * 4, windowMax)) {
      this.#acceptShared();
      const from = this.#entries.length;
      const numbers = Array.from({ length: width }, (_, index) => from + index);
      const texts = await Promise.all(numbers.map(number => this.#readText(this.#format.entryKey(number))));
      for (const [index, text] of texts.entries()) {
        if (text === null) return;
        await this.#acceptRead(from + index, text);
      }
    }
  }

  /** Takes over what other chains of this process have read or written; the first entry that does not fit is fetched. */
  #acceptShared(): void {
    for (;;) {
      const number = this.#entries.length;
      const text = this.#shared.text(number);
      if (text === undefined) return;
      try {
        this.#accept(number, text);
      } catch (error) {
        if (error instanceof StorageFault) return;
        throw error;
      }
    }
  }

  async #readText(key: string): Promise<string | null> {
    let unclear = '';
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const answer = await this.#store.get(key);
      if (answer.kind === 'found') return new TextDecoder().decode(answer.value.bytes);
      if (answer.kind === 'not_found') return null;
      unclear = answer.kind === 'changed' ? answer.detail : answer.cause;
    }
    throw new StorageFault('unavailable', key, `no clear answer after ${attemptsMax} reads: ${unclear}`);
  }

  /** Bytes that do not fit are read again before they are called corrupt: a read may have been cut short. */
  async #acceptRead(number: number, text: string): Promise<void> {
    for (let attempt = 1, found = text; ; attempt += 1) {
      try {
        this.#accept(number, found);
        return;
      } catch (error) {
        if (attempt === attemptsMax) throw error;
        found = (await this.#readText(this.#format.entryKey(number))) ?? '';
      }
    }
  }

  #accept(number: number, text: string): Entry {
    const entry = this.#parse(number, text);
    this.#entries.push(entry);
    this.#lastHash = sha256(text);
    this.#tailTexts.push(text);
    this.#shared.verified(number, text);
    return entry;
  }

  #parse(number: number, text: string): Entry {
    const key = this.#format.entryKey(number);
    let entry: Entry;
    try {
      entry = this.#format.parse(text, number);
    } catch (error) {
      if (error instanceof StorageFault) throw error;
      const found = error instanceof Error ? error.message : String(error);
      throw new StorageFault('corrupt', key, `${found}. Nothing was changed; run \`almanac audit verify\``);
    }
    if (entry.prevHash !== this.#lastHash) {
      const message =
        `expected to follow an entry with hash ${this.#lastHash ?? '(none)'}, found ${entry.prevHash ?? '(none)'}: ` +
        'this entry or the one before was changed. Nothing was written; run `almanac audit verify`';
      throw new StorageFault('corrupt', key, message);
    }
    return entry;
  }

  /** An entry beyond the end means that one in between is lost; writing into the gap would rewrite the past. */
  async #refuseGap(): Promise<void> {
    const end = this.#entries.length;
    const page = await this.#store.list(`${this.#format.name}/`, {
      after: this.#format.entryKey(end),
      limit: 4,
    });
    // A listing only ever warns; without an answer the walk above still stands.
    if (page.kind !== 'found') return;
    const beyond = page.value.objects.map(object => entryNumberOf(object.key)).find(number => number !== null);
    if (beyond === undefined) return;
    // Others may have appended meanwhile.
    await this.#walk();
    if (this.#entries.length > end) return;
    const message =
      `entry ${end} is absent while entry ${beyond} exists. The log has a gap and is not written to; restore ` +
      `${this.#format.entryKey(end)} from a backup, then run \`almanac audit verify\``;
    throw new StorageFault('corrupt', this.#format.name, message);
  }

  // --- Segments -----------------------------------------------------------------------------------------------------

  /**
   * Reads whole segments; one that is absent or does not fit the chain ends it, and the entries themselves are read. While one
   * is parsed, the next are fetched and hashed on other threads.
   */
  async #readSegments(): Promise<void> {
    const ahead: Promise<readonly string[] | null>[] = [];
    let nextFirst = this.#entries.length;
    for (let width = 1; ; width = Math.min(width * 2, segmentsAhead)) {
      while (ahead.length < width) {
        ahead.push(this.#fetchSegment(nextFirst));
        nextFirst += segmentLength;
      }
      const texts = await ahead.shift();
      if (texts == null || !this.#acceptSegment(texts)) break;
      this.#segmentsEnd = this.#entries.length;
      // Lets the fetches behind this one take their next step, and a worker send its heartbeat.
      await setImmediate();
    }
    await Promise.allSettled(ahead);
    await this.#confirmSegments();
  }

  async #fetchSegment(first: number): Promise<readonly string[] | null> {
    const answer = await this.#store.get(this.#format.segmentKey(first));
    return answer.kind === 'found' ? await splitSegment(answer.value.bytes) : null;
  }

  /**
   * The segment's own digest vouches for its bytes, so that its entries need not be hashed one by one: each names the hash of
   * the one before. Whether the copies say what the entries say is for the audit.
   */
  #acceptSegment(texts: readonly string[]): boolean {
    if (texts.length !== segmentLength) return false;
    const first = this.#entries.length;
    const entries: Entry[] = [];
    try {
      for (const [index, entryText] of texts.entries()) entries.push(this.#format.parse(entryText, first + index));
    } catch {
      return false;
    }
    if (entries[0]?.prevHash !== this.#lastHash) return false;
    for (const entry of entries) this.#entries.push(entry);
    this.#lastHash = sha256(texts.at(-1) ?? '');
    return true;
  }

  /** A segment is a copy: its last entry must be the one that really stands in the chain. */
  async #confirmSegments(): Promise<void> {
    if (this.#entries.length === 0) return;
    const text = await this.#readText(this.#format.entryKey(this.#entries.length - 1));
    if (text !== null && sha256(text) === this.#lastHash) return;
    this.#entries.length = 0;
    this.#lastHash = null;
    this.#segmentsEnd = 0;
  }

  /** Best effort, after the decision: a segment that is not written costs time, never truth. */
  async #writeSegments(): Promise<void> {
    while (this.#tailTexts.length >= segmentLength) {
      const texts = this.#tailTexts.splice(0, segmentLength);
      const key = this.#format.segmentKey(this.#segmentsEnd);
      this.#segmentsEnd += segmentLength;
      await this.#store.putIfAbsent(key, new TextEncoder().encode(joinSegment(texts)));
    }
  }
}

/** A line with the digest of what follows, then the entries. They end in a line break, so an empty line stands between two. */
export function joinSegment(texts: readonly string[]): string {
  const body = texts.join('\n');
  return `${sha256(body)}\n${body}`;
}

/** The texts of a segment; null when its bytes are not those that its first line vouches for. */
export async function splitSegment(bytes: Uint8Array): Promise<readonly string[] | null> {
  const start = bytes.indexOf(lineBreak) + 1;
  // Hashed on a thread of the pool, while this one parses the segments before.
  const found = Buffer.from(await subtle.digest('SHA-256', bytes.subarray(start))).toString('hex');
  const decoder = new TextDecoder();
  if (found !== decoder.decode(bytes.subarray(0, start)).trimEnd()) return null;
  const body = decoder.decode(bytes.subarray(start));
  const texts: string[] = [];
  for (let from = 0; from < body.length; ) {
    const end = body.indexOf('\n\n', from);
    texts.push(end < 0 ? body.slice(from) : body.slice(from, end + 1));
    from = end < 0 ? body.length : end + 2;
  }
  return texts;
}

const lineBreak = 10;
