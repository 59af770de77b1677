import { existsSync, readdirSync, readFileSync } from 'node:fs';

/** Processes that any thread of a process has started and that are not yet reaped. */
export function childrenOf(pid: number): readonly number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap(thread => {
    const path = `/proc/${pid}/task/${thread}/children`;
    const text = existsSync(path) ? readFileSync(path, 'utf8').trim() : '';
    return text === '' ? [] : text.split(' ').map(Number);
  });
}
