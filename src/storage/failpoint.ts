/**
 * Named places at which a test can kill or freeze this process, as hard as a power cut: no handler runs, nothing is flushed.
 * Unarmed, which is always outside tests, a failpoint is a comparison with null.
 */

/** Every step of a scoring job between which a crash must change nothing, in the order a job passes them. */
export const failpoints = [
  'plan.pinned',
  'plan.stored',
  'score.running',
  'score.done',
  'upload.done',
  'chunk.done',
  'receipt.stored',
  'audit.judged',
  'audit.stored',
  'commit.before',
  'commit.written',
  'commit.recorded',
] as const;
export type Failpoint = (typeof failpoints)[number];

interface Armed {
  /** Passings left before it acts. */
  left: number;
  readonly signal: 'SIGKILL' | 'SIGSTOP';
}

let armed: Map<string, Armed> | null = null;

/**
 * Points separated by commas, each `name`, `name:n` for the n-th passing, or with `=stop` at its end to freeze the process
 * there until somebody continues it; null disarms. Called once, at start, with what the configuration says.
 */
export function armFailpoints(specs: string | null): void {
  armed = specs === null ? null : new Map(specs.split(',').map(parseSpec));
}

export function failpoint(name: Failpoint): void {
  if (armed === null) return;
  const point = armed.get(name);
  if (point === undefined) return;
  point.left -= 1;
  if (point.left === 0) process.kill(process.pid, point.signal);
}

function parseSpec(spec: string): [string, Armed] {
  const [, name, passing = '1', action] = /^([a-z.]+)(?::([1-9]\d*))?(=stop)?$/.exec(spec) ?? [];
  if (name === undefined || !failpoints.some(known => known === name)) {
    const expected = `expected name, name:n or name=stop, with one of the names ${failpoints.join(', ')}`;
    throw new Error(`failpoint ${JSON.stringify(spec)}: ${expected}`);
  }
  return [name, { left: Number(passing), signal: action === undefined ? 'SIGKILL' : 'SIGSTOP' }];
}
