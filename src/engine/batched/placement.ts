/** Which execution provider ran which nodes, from the profile that ONNX Runtime writes (a list of trace events). */
import { readdir, readFile, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Provider → number of its nodes, and the operators among them. */
export interface Placement {
  readonly nodes: Readonly<Record<string, number>>;
  readonly operators: Readonly<Record<string, readonly string[]>>;
}

/** Reads and removes the one file whose path starts with `prefix`. */
export async function readPlacement(prefix: string): Promise<Placement> {
  const folder = dirname(prefix);
  const files = (await readdir(folder)).filter(name => name.startsWith(basename(prefix)));
  const [name] = files;
  if (name === undefined) throw new Error(`ONNX Runtime wrote no profile ${prefix}*`);
  const placement = placementOf(JSON.parse(await readFile(join(folder, name), 'utf8')));
  for (const file of files) await rm(join(folder, file), { force: true });
  return placement;
}

/** `events`: the parsed profile. Every node has one `…_kernel_time` event per run, which names its provider. */
export function placementOf(events: unknown): Placement {
  const providerOf = new Map<string, { readonly provider: string; readonly operator: string }>();
  for (const event of Array.isArray(events) ? events : []) {
    const [category, name, args] = [member(event, 'cat'), member(event, 'name'), member(event, 'args')];
    const provider = member(args, 'provider');
    if (category !== 'Node' || typeof name !== 'string' || typeof provider !== 'string' || provider === '') continue;
    if (name.endsWith('_kernel_time')) providerOf.set(name, { provider, operator: String(member(args, 'op_name')) });
  }
  const nodes: Record<string, number> = {};
  const operators: Record<string, string[]> = {};
  for (const { provider, operator } of providerOf.values()) {
    nodes[provider] = (nodes[provider] ?? 0) + 1;
    const known = operators[provider] ?? [];
    operators[provider] = known.includes(operator) ? known : [...known, operator];
  }
  return { nodes, operators };
}

function member(value: unknown, name: string): unknown {
  return value instanceof Object ? Reflect.get(value, name) : undefined;
}
