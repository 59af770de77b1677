/**
 * Named places at which a test can kill this process, as hard as a power cut: no handler runs, nothing is flushed. Unarmed,
 * which is always outside tests, a failpoint is a comparison with null.
 */
interface Armed {
  readonly name: string;
  /** The passing that kills, from 1. */
  readonly passing: number;
}

let armed: Armed | null = null;
let passed = 0;

/** `name` or `name:n` for the n-th passing; null disarms. Called once, at start, with what the configuration says. */
export function armFailpoint(spec: string | null): void {
  passed = 0;
  if (spec === null) {
    armed = null;
    return;
  }
  const match = /^([a-zA-Z.]+)(?::([1-9]\d*))?$/.exec(spec);
  if (match === null)
    throw new Error(`failpoint ${JSON.stringify(spec)}: expected name or name:n, like commit.written:2`);
  armed = { name: match[1]!, passing: Number(match[2] ?? 1) };
}

export function failpoint(name: string): void {
  if (armed === null || armed.name !== name) return;
  passed += 1;
  if (passed === armed.passing) process.kill(process.pid, 'SIGKILL');
}
