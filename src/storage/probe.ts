/**
 * Is this store what it must be? Some S3 look-alikes accept the conditions and ignore them; others check and then write,
 * and let two racing writers both win. Everything here rests on create-if-absent, so a worker asks before its first write.
 *
 * The probe works below `_probe/<random>/` and removes what it wrote.
 */
import { randomUUID } from 'node:crypto';
import type { ObjectStore, ReadResult, WriteResult } from './object-store.ts';

export interface ProbeCheck {
  readonly check: string;
  readonly passed: boolean;
  /** What was expected and found; the next step when it failed. */
  readonly detail: string;
}

export interface ProbeReport {
  readonly url: string;
  readonly passed: boolean;
  readonly checks: readonly ProbeCheck[];
}

/** Stores that assemble an object from parts let the probe hold back the request that decides. */
interface PartsStore extends ObjectStore {
  prepareParts(key: string, body: Uint8Array): Promise<{ complete(): Promise<WriteResult> }>;
}

/** Writers per race; more rounds than one, because a window of microseconds is not met every time. */
const racers = 20;
const rounds = 5;
const partRacers = 8;

/** Never throws. The first failed check ends it: after that the store cannot be trusted with the rest. */
export async function probeStore(store: ObjectStore): Promise<ProbeReport> {
  const folder = `_probe/${randomUUID()}`;
  const written = new Set<string>();
  const probe: Probe = { store, key: name => remember(written, `${folder}/${name}`) };
  const steps = [createThenRead, createTwice, staleReads, racingCreates, ...(hasParts(store) ? [racingParts] : [])];
  const checks: ProbeCheck[] = [];
  for (const step of steps) {
    const check = await step(probe).catch(error => failed(step.name, String(error)));
    checks.push(check);
    if (!check.passed) break;
  }
  for (const key of written) await store.delete(key);
  return { url: store.url, passed: checks.every(check => check.passed), checks };
}

/** The report's failure in one sentence, or null. */
export function probeProblem(report: ProbeReport): string | null {
  const check = report.checks.find(({ passed }) => !passed);
  if (check === undefined) return null;
  return `store ${report.url} cannot be used: ${check.check}: ${check.detail}`;
}

interface Probe {
  readonly store: ObjectStore;
  /** A key below the probe's folder. */
  readonly key: (name: string) => string;
}

async function createThenRead({ store, key }: Probe): Promise<ProbeCheck> {
  const check = 'what was written is read and listed at once';
  const name = key('written');
  const body = Buffer.from(`probe ${randomUUID()}`);
  const created = await store.putIfAbsent(name, body);
  if (created.kind !== 'applied') return failed(check, `the write answered ${told(created)}; is the store writable?`);
  const read = await store.get(name);
  if (read.kind !== 'found' || Buffer.compare(read.value.bytes, body) !== 0) return failed(check, `read ${told(read)}`);
  const listed = await store.list(name);
  const isListed = listed.kind === 'found' && listed.value.objects.some(object => object.key === name);
  return isListed ? passed(check) : failed(check, `the listing of ${name} does not have it: ${told(listed)}`);
}

async function createTwice({ store, key }: Probe): Promise<ProbeCheck> {
  const check = 'a second create of the same key is refused';
  const name = key('twice');
  const first = await store.putIfAbsent(name, Buffer.from('first'));
  const second = await store.putIfAbsent(name, Buffer.from('second'));
  if (first.kind === 'applied' && second.kind === 'not_applied' && second.reason === 'exists') {
    const read = await store.get(name);
    const isFirst = read.kind === 'found' && Buffer.from(read.value.bytes).toString() === 'first';
    return isFirst ? passed(check) : failed(check, `it was refused, but the first content is gone: ${told(read)}`);
  }
  return failed(check, `expected applied, then exists; found ${told(first)}, then ${told(second)}. ${advice}`);
}

async function staleReads({ store, key }: Probe): Promise<ProbeCheck> {
  const check = 'a read of another version than the pinned one is refused';
  const name = key('pinned');
  const created = await store.putIfAbsent(name, Buffer.from('pinned'));
  const etag = created.kind === 'applied' ? created.etag : '';
  const pinned = await store.get(name, { ifMatch: etag });
  const stale = await store.get(name, { ifMatch: '0123456789abcdef0123456789abcdef' });
  if (pinned.kind === 'found' && stale.kind === 'changed') return passed(check);
  return failed(check, `expected found, then changed; found ${told(pinned)}, then ${told(stale)}. ${advice}`);
}

async function racingCreates({ store, key }: Probe): Promise<ProbeCheck> {
  const check = `of ${racers} racing creates exactly one wins`;
  for (let round = 0; round < rounds; round += 1) {
    const name = key(`race-${round}`);
    const bodies = Array.from({ length: racers }, (_, index) => Buffer.from(`racer ${index}`));
    const results = await Promise.all(bodies.map(body => store.putIfAbsent(name, body)));
    const problem = await raceProblem({ store, name, bodies, results });
    if (problem !== null) return failed(check, problem);
  }
  return passed(check);
}

async function racingParts({ store, key }: Probe): Promise<ProbeCheck> {
  const check = `of ${partRacers} racing completions of uploads in parts exactly one wins`;
  if (!hasParts(store)) return passed(check);
  for (let round = 0; round < rounds; round += 1) {
    const name = key(`parts-${round}`);
    const bodies = Array.from({ length: partRacers }, (_, index) => Buffer.from(`racer ${index}`));
    const uploads = await Promise.all(bodies.map(body => store.prepareParts(name, body)));
    const results = await Promise.all(uploads.map(upload => upload.complete()));
    const problem = await raceProblem({ store, name, bodies, results });
    if (problem !== null) return failed(check, problem);
  }
  return passed(check);
}

async function raceProblem(race: {
  store: ObjectStore;
  name: string;
  bodies: readonly Buffer[];
  results: readonly WriteResult[];
}): Promise<string | null> {
  const { store, name, bodies, results } = race;
  const winners = bodies.filter((_, index) => results[index]?.kind === 'applied');
  if (winners.length !== 1) {
    return `expected one winner, found ${winners.length} (${results.map(told).join(', ')}). ${advice}`;
  }
  const read = await store.get(name);
  const isWinners = read.kind === 'found' && Buffer.compare(read.value.bytes, winners[0]!) === 0;
  return isWinners ? null : `the winner was told so, but its content is not there: ${told(read)}. ${advice}`;
}

const advice =
  'Without conditional writes two jobs could both publish; use AWS S3, a server that honours If-None-Match, or a local folder.';

function hasParts(store: ObjectStore): store is PartsStore {
  return 'prepareParts' in store && typeof store.prepareParts === 'function';
}

function remember(written: Set<string>, key: string): string {
  written.add(key);
  return key;
}

function passed(check: string): ProbeCheck {
  return { check, passed: true, detail: '' };
}

function failed(check: string, detail: string): ProbeCheck {
  return { check, passed: false, detail };
}

function told(result: WriteResult | ReadResult<unknown>): string {
  if (result.kind === 'not_applied')
    return result.reason === 'exists' ? 'exists' : `${result.reason} (${result.detail})`;
  if (result.kind === 'unknown') return `unknown (${result.cause})`;
  return result.kind;
}
