/** The parts of a bench that run: those that were named, or all but the slow ones, which `--full` adds. */
import type { BenchOptions } from './main.ts';

export function wantedParts(
  known: readonly string[],
  { full, parts }: Pick<BenchOptions, 'full' | 'parts'>,
  slow: readonly string[] = [],
): readonly string[] {
  const unknown = parts.filter(name => !known.includes(name));
  if (unknown.length > 0) throw new Error(`no part ${unknown.join(', ')}; the parts are: ${known.join(', ')}`);
  return parts.length > 0 ? parts : known.filter(name => full || !slow.includes(name));
}
