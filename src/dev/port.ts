/**
 * Ports of this machine for servers of ours. Between finding a port free and a server's binding it another process may find it
 * free as well; both would then talk to whichever server won. So a port is locked for as long as its server lives.
 */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { takeLock } from './lock.ts';

export interface ReservedPort {
  readonly port: number;
  release(): Promise<void>;
}

/** Of this process: a lock file names processes only. */
const ours = new Set<number>();

/** The wanted port when it is free, else any free one; 0 is any. Locks lie in the folder, which all projects of a user share. */
export async function reservePort(wanted: number, folder: string): Promise<ReservedPort> {
  for (let candidate = wanted; ; candidate = 0) {
    const port = await tryPort(candidate);
    if (port === null && candidate === 0) throw new Error('no port of 127.0.0.1 is free');
    if (port === null || ours.has(port)) continue;
    ours.add(port);
    const lock = await takeLock(join(folder, 'ports', `${port}.lock`));
    if (lock.kind === 'taken') {
      const release = async () => {
        await lock.release();
        ours.delete(port);
      };
      return { port, release };
    }
    ours.delete(port);
  }
}

async function tryPort(port: number): Promise<number | null> {
  return await new Promise(resolve => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : null));
    });
  });
}
