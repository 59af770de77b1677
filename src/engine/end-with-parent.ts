/** A child that ends with its parent, even while native code that never returns keeps it from seeing anything. */
import { type ChildProcess, spawn } from 'node:child_process';

/**
 * Kills the child once this process is gone, also by SIGKILL. A shell waits for the end of a pipe whose other end this
 * process alone holds; a thread inside the child, which asks for its parent now and then, costs half as much as the child's
 * whole start. Where there is no shell, a child ends at the next moment in which its loop turns.
 */
export function endWithParent(child: ChildProcess): void {
  if (child.pid === undefined) return;
  const watch = spawn('/bin/sh', ['-c', 'read _; kill -9 "$0"', String(child.pid)], {
    cwd: '/',
    env: {},
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  watch.on('error', () => undefined);
  watch.stdin.on('error', () => undefined);
  watch.unref();
  // Before the number of the process can be another one's.
  child.once('exit', () => watch.kill('SIGKILL'));
}
