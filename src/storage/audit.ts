/**
 * `almanac audit verify`: walks every object of a store offline and says which bytes lie. Chains are checked entry by entry,
 * documents and artifacts against the digest in their name, part files against the digest in the log that published them;
 * and whatever logs and documents name must be there, unless the audit log says that it was deleted on purpose.
 */
import { splitSegment } from './chain.ts';
import { sha256 } from './digest.ts';
import { deletedOnPurpose } from './erased.ts';
import { entryNumberOf, isForeign, keys } from './keys.ts';
import { listAll, type ObjectInfo, type ObjectStore } from './object-store.ts';
import { namedByDocument, namedByEntry } from './references.ts';
import { parseCommit } from './table/actions.ts';
import { foldTable } from './table/state.ts';

export interface AuditFinding {
  readonly key: string;
  /** First byte that is wrong; null when only the whole object is known to be wrong. */
  readonly byte: number | null;
  /** What was expected and what was found. */
  readonly message: string;
}

export interface AuditReport {
  readonly objects: number;
  readonly bytes: number;
  readonly chains: number;
  readonly entries: number;
  readonly findings: readonly AuditFinding[];
}

/** Reads everything once. Objects that cannot be read are findings; nothing is ever changed. */
export async function verifyStore(store: ObjectStore): Promise<AuditReport> {
  const listing = await listAll(store, '');
  if (listing.kind !== 'found') {
    const message = `the store could not be listed: ${listing.kind === 'unknown' ? listing.cause : listing.kind}`;
    return { objects: 0, bytes: 0, chains: 0, entries: 0, findings: [{ key: store.url, byte: null, message }] };
  }
  const objects = listing.value;
  const findings: AuditFinding[] = [];
  const chains = new Map<string, ObjectInfo[]>();
  for (const object of objects) {
    if (entryNumberOf(object.key) === null) continue;
    const prefix = object.key.slice(0, object.key.lastIndexOf('/'));
    const chain = chains.get(prefix) ?? [];
    chain.push(object);
    chains.set(prefix, chain);
  }
  /** Object → who names it. */
  const named = new Map<string, string>();
  let entries = 0;
  for (const [prefix, chain] of chains) {
    entries += chain.length;
    const texts = await verifyChain(store, { prefix, chain, objects, findings });
    if (prefix.endsWith('/_delta_log')) await verifyPartFiles(store, prefix, texts, findings);
    for (const [number, text] of texts.entries())
      for (const key of namedByEntry(prefix, text)) named.set(key, named.get(key) ?? `entry ${number} of ${prefix}`);
  }
  for (const object of objects) {
    if (isForeign(object.key))
      findings.push({ key: object.key, byte: null, message: 'Almanac has no object of this name: move it away' });
    const bytes = await verifyDigestInName(store, object, findings);
    if (bytes === null || !object.key.startsWith(keys.documents)) continue;
    for (const key of namedByDocument(object.key, new TextDecoder().decode(bytes)))
      named.set(key, named.get(key) ?? object.key);
  }
  findings.push(...(await absentObjects(store, named, new Set(objects.map(object => object.key)))));
  const bytes = objects.reduce((sum, object) => sum + object.bytes, 0);
  return { objects: objects.length, bytes, chains: chains.size, entries, findings };
}

/** Returns the texts of the entries up to the first that is not there. */
async function verifyChain(
  store: ObjectStore,
  walk: { prefix: string; chain: readonly ObjectInfo[]; objects: readonly ObjectInfo[]; findings: AuditFinding[] },
): Promise<readonly string[]> {
  const { prefix, chain, findings } = walk;
  const copies = await segmentCopies(store, prefix, walk.objects);
  const texts: string[] = [];
  for (const object of chain) {
    const number = entryNumberOf(object.key) ?? -1;
    if (number !== texts.length) {
      const message = `entry ${texts.length} is missing, entry ${number} exists: restore it from a backup`;
      findings.push({ key: `${prefix}/${String(texts.length).padStart(20, '0')}.json`, byte: null, message });
      break;
    }
    const text = await readText(store, object.key, findings);
    if (text === null) break;
    texts.push(text);
  }
  for (const [number, text] of texts.entries())
    verifyLink(texts, number, { text, key: chain[number]!.key, copies, findings });
  return texts;
}

function verifyLink(
  texts: readonly string[],
  number: number,
  entry: { text: string; key: string; copies: ReadonlyMap<number, string>; findings: AuditFinding[] },
): void {
  const { text, key, copies, findings } = entry;
  const copy = copies.get(number);
  const successor = texts[number + 1];
  const claimed = successor === undefined ? null : prevHashOf(successor);
  const found = sha256(text);
  // The successor vouches for the entry; a segment is a second copy that shows where they part.
  if (claimed !== null && claimed !== found) {
    const byte =
      copy !== undefined && sha256(copy) === claimed ? firstDifference(copy, text) : repairedByte(text, claimed);
    findings.push({ key, byte, message: `the entry has hash ${found}, its successor says ${claimed}` });
  } else if (copy !== undefined && copy !== text) {
    findings.push({
      key,
      byte: firstDifference(copy, text),
      message: 'the entry differs from its copy in the segment',
    });
  } else if (claimed === null) {
    const problem = entryProblem(text);
    if (problem !== null) findings.push({ key, byte: null, message: problem });
  }
}

/** Copies of entries from the segments of a chain. */
async function segmentCopies(
  store: ObjectStore,
  prefix: string,
  objects: readonly ObjectInfo[],
): Promise<ReadonlyMap<number, string>> {
  const folder = prefix.endsWith('/_delta_log')
    ? `${prefix.slice(0, -'_delta_log'.length)}_segments/`
    : `${prefix}/segments/`;
  const copies = new Map<number, string>();
  for (const object of objects.filter(({ key }) => key.startsWith(folder))) {
    const first = Number(/(\d{20})\.ndjson$/.exec(object.key)?.[1]);
    const answer = await store.get(object.key);
    if (answer.kind !== 'found') continue;
    // One that its own first line does not vouch for is no copy; readers pass over it too.
    const texts = (await splitSegment(answer.value.bytes)) ?? [];
    for (const [index, text] of texts.entries()) copies.set(first + index, text);
  }
  return copies;
}

async function verifyPartFiles(
  store: ObjectStore,
  prefix: string,
  texts: readonly string[],
  findings: AuditFinding[],
): Promise<void> {
  const root = prefix.slice(0, -'/_delta_log'.length);
  let state: ReturnType<typeof foldTable>;
  try {
    state = foldTable(texts.map((text, version) => parseCommit(text, version)));
  } catch (error) {
    findings.push({
      key: prefix,
      byte: null,
      message: `the log cannot be folded: ${error instanceof Error ? error.message : error}`,
    });
    return;
  }
  for (const generation of state.generations()) {
    if (generation.forgotten !== null) continue;
    for (const file of generation.files) await verifyBytes(store, `${root}/${file.path}`, file.sha256, findings);
  }
}

/** Objects that something names and the store does not have, deletions on purpose left out. */
async function absentObjects(
  store: ObjectStore,
  named: ReadonlyMap<string, string>,
  present: ReadonlySet<string>,
): Promise<readonly AuditFinding[]> {
  const absent = [...named].filter(([key]) => !present.has(key));
  if (absent.length === 0) return [];
  // An audit log that cannot be read is a finding of its own, and excuses nothing.
  const deleted = await deletedOnPurpose(store).catch(() => new Map<string, string>());
  return absent
    .filter(([key]) => !deleted.has(key))
    .map(([key, by]) => ({
      key,
      byte: null,
      message: `${by} names it and it is not in the store: restore it from a backup`,
    }));
}

/** The bytes of a document or artifact whose name is their digest; null for any other object, and for one that lies. */
async function verifyDigestInName(
  store: ObjectStore,
  object: ObjectInfo,
  findings: AuditFinding[],
): Promise<Uint8Array | null> {
  const digest = /^(?:documents\/[^/]+\/([0-9a-f]{64})\.json|artifacts\/([0-9a-f]{64}))$/.exec(object.key);
  return digest === null ? null : await verifyBytes(store, object.key, digest[1] ?? digest[2]!, findings);
}

const rangeBytes = 8 << 20;

async function verifyBytes(
  store: ObjectStore,
  key: string,
  digest: string,
  findings: AuditFinding[],
): Promise<Uint8Array | null> {
  const head = await store.head(key);
  if (head.kind !== 'found') {
    const message = head.kind === 'not_found' ? 'it is referenced and not in the store' : 'it cannot be read';
    findings.push({ key, byte: null, message });
    return null;
  }
  const parts: Uint8Array[] = [];
  for (let from = 0; from < head.value.bytes; from += rangeBytes) {
    const answer = await store.get(key, { range: [from, Math.min(from + rangeBytes, head.value.bytes)] });
    if (answer.kind !== 'found') {
      findings.push({ key, byte: from, message: 'it cannot be read from here on' });
      return null;
    }
    parts.push(answer.value.bytes);
  }
  const bytes = Buffer.concat(parts);
  const found = sha256(bytes);
  if (found === digest) return bytes;
  const byte = bytes.length <= repairBytesMax ? repairedByte(bytes, digest) : null;
  findings.push({ key, byte, message: `expected digest ${digest}, found ${found}` });
  return null;
}

/** Objects up to this size are searched for the single byte whose change explains the wrong hash. */
const repairBytesMax = 2048;

/** Position of the one byte that, put right, gives the expected hash; null when no single byte does. */
function repairedByte(object: string | Uint8Array, digest: string): number | null {
  const bytes = typeof object === 'string' ? Buffer.from(object) : Buffer.from(object);
  if (bytes.length > repairBytesMax) return null;
  for (let position = 0; position < bytes.length; position += 1) {
    const original = bytes[position]!;
    for (let value = 0; value < 256; value += 1) {
      bytes[position] = value;
      if (value !== original && sha256(bytes) === digest) return position;
    }
    bytes[position] = original;
  }
  return null;
}

function firstDifference(expected: string, found: string): number {
  const [left, right] = [Buffer.from(expected), Buffer.from(found)];
  let byte = 0;
  while (byte < left.length && left[byte] === right[byte]) byte += 1;
  return byte;
}

function prevHashOf(text: string): string | null {
  return /"prevHash":"([0-9a-f]{64})"/.exec(text)?.[1] ?? null;
}

function entryProblem(text: string): string | null {
  if (!text.endsWith('\n')) return `the entry is cut short after ${text.length} characters`;
  try {
    for (const line of text.trimEnd().split('\n')) JSON.parse(line);
    return null;
  } catch (error) {
    return `the entry is not JSON: ${error instanceof Error ? error.message : error}`;
  }
}

async function readText(store: ObjectStore, key: string, findings: AuditFinding[]): Promise<string | null> {
  const answer = await store.get(key);
  if (answer.kind === 'found') return new TextDecoder().decode(answer.value.bytes);
  const message = answer.kind === 'unknown' ? answer.cause : answer.kind;
  findings.push({ key, byte: null, message: `it cannot be read: ${message}` });
  return null;
}
