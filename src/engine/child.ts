/**
 * The engine child: one process, one job at a time, killed at will. It holds no credentials, its environment is cleared,
 * and everything it needs comes in the job. Native code may block this process for as long as it likes; the pool watches
 * from outside.
 */
import { toDocument } from './fault.ts';
import type { ChildMessage, ChildUsage, JobMessage, ParentMessage } from './protocol.ts';
import { loadVerb, type Progress, type Verb } from './verbs.ts';

const PROGRESS_EVERY_MS = 250;
const ABORT_GRACE_MS = 500;

const aborted = new AbortController();
let working = false;

// Signals end this process, never exit(): that waits for native work, which may take hours or never return.
process.once('SIGTERM', () => {
  aborted.abort();
  const end = () => process.kill(process.pid, 'SIGTERM');
  if (working) setTimeout(end, ABORT_GRACE_MS);
  else end();
});
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
process.on('message', (message: ParentMessage) => {
  if (message.type === 'job') void answer(message);
  else void warm(message.verb);
});
// Nobody tells of a parent that went while this process was starting.
if (!process.connected || process.ppid !== Number(process.argv[2])) process.kill(process.pid, 'SIGKILL');

/** What fails here fails again in the job, which says so. */
async function warm(name: Verb): Promise<void> {
  await loadVerb(name)
    .then(verb => verb.warm?.())
    .catch(() => undefined);
}

async function answer(message: JobMessage): Promise<void> {
  const { id } = message;
  working = true;
  try {
    const verb = await loadVerb(message.verb);
    const output = await verb.run(message.job as never, {
      progress: throttledProgress(id),
      scratch: message.scratch,
      kernels: message.kernels,
      memoryMb: message.memoryMb,
      signal: aborted.signal,
    });
    send({ type: 'done', id, output, usage: usage() });
  } catch (error) {
    send({ type: 'fault', id, fault: toDocument(error), usage: usage() });
  } finally {
    working = false;
  }
}

function send(message: ChildMessage): void {
  process.send?.(message);
}

function usage(): ChildUsage {
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  return {
    rssMb: Math.round(process.memoryUsage.rss() / 2 ** 20),
    peakRssMb: Math.round(maxRSS / 2 ** 10),
    cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
  };
}

/** A scan calls this once per vector of 2,048 rows; the parent wants to hear a few times a second. */
function throttledProgress(id: number): (progress: Progress) => void {
  let lastMs = 0;
  return progress => {
    const now = performance.now();
    if (now - lastMs < PROGRESS_EVERY_MS) return;
    lastMs = now;
    send({ type: 'progress', id, progress });
  };
}
