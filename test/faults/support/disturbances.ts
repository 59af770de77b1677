/**
 * Everything that may happen to a scoring job, each against real processes, a real server and a real store. After every one
 * of them the table must hold exactly the rows of an undisturbed run. The tests run each once; the soak draws them at random.
 */
import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openAlmanac } from '../../../src/cli/up.ts';
import { failpoints } from '../../../src/storage/failpoint.ts';
import { openStore } from '../../../src/storage/open.ts';
import type { ScoreResult } from '../../../src/workflows/inputs.ts';
import { type Fault, randomOf, seededFaults, startFaultProxy } from '../../support/fault-proxy.ts';
import { startS3Server } from '../../support/s3-server.ts';
import { until } from '../../support/until.ts';
import {
  assertUndisturbed,
  type Case,
  type CaseOptions,
  type Lab,
  partitions,
  untilDead,
  untilFrozen,
  type WorkerProcess,
} from './lab.ts';

export interface Disturbance {
  readonly name: string;
  /** The same seed disturbs in the same way, as far as processes are the same twice. */
  run(lab: Lab, seed: number): Promise<void>;
}

/** Longer than the heartbeat timeout of 15 s: the server has given the attempt to somebody else. */
const silenceMs = 20_000;
const [firstDay, secondDay, thirdDay] = [partitions[0]!, partitions[1]!, partitions[2]!];

export const disturbances: readonly Disturbance[] = [
  { name: 'a worker dies at every step', run: workersDie },
  // The supervisor gives a server up that dies five times in a minute, so the steps are shared out.
  { name: 'the server dies at the first four steps', run: (lab, seed) => serverDies(lab, seed, 0) },
  { name: 'the server dies at the next four steps', run: (lab, seed) => serverDies(lab, seed, 4) },
  { name: 'the server dies at the last four steps', run: (lab, seed) => serverDies(lab, seed, 8) },
  { name: 'the engine children die at every step', run: engineChildrenDie },
  { name: 'workers that were given up wake after their successor has committed', run: zombiesWake },
  { name: 'two workers score the same chunk at the same time', run: twinsScore },
  { name: 'processes die at random moments', run: anythingDies },
  { name: 'the disk of the store is full for a while', run: diskIsFull },
  { name: 'an S3 store fails in every way', run: s3Fails },
  { name: 'an S3 store that ignores conditions is refused', run: liarIsRefused },
];

async function withCase(
  lab: Lab,
  name: string,
  disturb: (one: Case) => Promise<readonly string[]>,
  options: CaseOptions = {},
): Promise<void> {
  const one = await lab.openCase(name, options);
  try {
    await assertUndisturbed(lab, one.store, await disturb(one));
  } finally {
    await one.close();
  }
}

async function assertCommitted(results: readonly Promise<ScoreResult>[]): Promise<void> {
  for (const result of await Promise.all(results)) assert.equal(result.kind, 'committed', JSON.stringify(result));
}

/** Lets a frozen worker go on. */
async function thaw(worker: WorkerProcess): Promise<void> {
  worker.signal('SIGCONT');
  await until(() => !worker.isFrozen());
}

function allFrozen(points: readonly string[]): string {
  return points.map(point => `${point}=stop`).join(',');
}

async function killServer(one: Case): Promise<void> {
  const server = one.server.pid();
  process.kill(server!, 'SIGKILL');
  await until(() => one.server.pid() !== server);
}

// --- Processes --------------------------------------------------------------------------------------------------------

/** A new job for every step: the worker that dies there has that job and what its predecessors left half done. */
async function workersDie(lab: Lab, seed: number): Promise<void> {
  await withCase(lab, `workers-${seed}`, async one => {
    const results: Promise<ScoreResult>[] = [];
    for (const [index, point] of failpoints.entries()) {
      const victim = await one.startWorker({ failpoints: point });
      results.push(one.score(partitions[index]!));
      await untilDead(victim);
    }
    await one.startWorker();
    await assertCommitted(results);
    return partitions;
  });
}

async function serverDies(lab: Lab, seed: number, from: number): Promise<void> {
  await withCase(lab, `server-${seed}-${from}`, async one => {
    const points = failpoints.slice(from, from + 4);
    const worker = await one.startWorker({ failpoints: allFrozen(points) });
    const result = one.score(firstDay);
    for (const _ of points) {
      await untilFrozen(worker);
      await killServer(one);
      await thaw(worker);
    }
    await assertCommitted([result]);
    return [firstDay];
  });
}

async function engineChildrenDie(lab: Lab, seed: number): Promise<void> {
  await withCase(lab, `engine-${seed}`, async one => {
    const worker = await one.startWorker({ failpoints: allFrozen(failpoints) });
    const result = one.score(firstDay);
    let killed = 0;
    for (const _ of failpoints) {
      await untilFrozen(worker);
      for (const child of worker.engineChildren()) {
        process.kill(child, 'SIGKILL');
        killed += 1;
      }
      await thaw(worker);
    }
    await assertCommitted([result]);
    assert.ok(killed > 2, `${killed} engine children killed`);
    return [firstDay];
  });
}

/** Three workers that sleep at the worst places; a fourth does their work, and then they wake. */
async function zombiesWake(lab: Lab, seed: number): Promise<void> {
  await withCase(lab, `zombies-${seed}`, async one => {
    const zombies: WorkerProcess[] = [];
    const results: Promise<ScoreResult>[] = [];
    for (const [partition, point] of [
      [firstDay, 'upload.done'],
      [secondDay, 'receipt.stored'],
      [thirdDay, 'commit.before'],
    ] as const) {
      const zombie = await one.startWorker({ failpoints: `${point}=stop` });
      results.push(one.score(partition));
      await untilFrozen(zombie);
      zombies.push(zombie);
    }
    await one.startWorker();
    await assertCommitted(results);
    for (const zombie of zombies) await thaw(zombie);
    // Time for what they still want to do.
    await sleep(3_000);
    return [firstDay, secondDay, thirdDay];
  });
}

async function twinsScore(lab: Lab, seed: number): Promise<void> {
  await withCase(lab, `twins-${seed}`, async one => {
    const twin = { failpoints: 'score.done=stop' };
    const first = await one.startWorker(twin);
    const result = one.score(firstDay, { window: 1 });
    await untilFrozen(first);
    const second = await one.startWorker(twin);
    await sleep(silenceMs);
    await untilFrozen(second);
    await Promise.all([thaw(first), thaw(second)]);
    await assertCommitted([result]);
    return [firstDay];
  });
}

/** Two workers, three jobs, and eight blows drawn by the seed: a worker, its engine children, or the server (thrice at most). */
async function anythingDies(lab: Lab, seed: number): Promise<void> {
  const random = randomOf(seed);
  await withCase(lab, `anything-${seed}`, async one => {
    const workers = [await one.startWorker(), await one.startWorker()];
    const scored = [firstDay, secondDay, thirdDay];
    const results = scored.map(partition => one.score(partition));
    let servers = 0;
    for (let blow = 0; blow < 8; blow += 1) {
      await sleep(random() * 1_500);
      const index = random() < 0.5 ? 0 : 1;
      const worker = workers[index]!;
      const choice = random();
      if (choice < 0.4) {
        worker.signal('SIGKILL');
        await untilDead(worker);
        workers[index] = await one.startWorker();
      } else if (choice < 0.8 || servers === 3) {
        // A child may end between being seen and being shot.
        for (const child of worker.engineChildren()) if (existsSync(`/proc/${child}`)) process.kill(child, 'SIGKILL');
      } else {
        servers += 1;
        await killServer(one);
      }
    }
    await assertCommitted(results);
    return scored;
  });
}

// --- Stores -----------------------------------------------------------------------------------------------------------

/** A tmpfs over the store, in a mount namespace of the worker's own (needs root), with a ballast that fills it. */
async function diskIsFull(lab: Lab, seed: number): Promise<void> {
  const one = await lab.openCase(`full-${seed}`, { withoutControl: true });
  try {
    const { store } = one.project;
    const mount = [
      'cp -a "$0" "$0.copy" && mount -t tmpfs -o size=6m tmpfs "$0" && cp -a "$0.copy/." "$0"',
      // Fills what is left: the error is what it is for.
      '{ head -c 8m /dev/zero > "$0/ballast" || true; } 2> "$0.said" && exec "$@"',
    ].join(' && ');
    const worker = await one.startWorker({
      roles: 'control,data,scoring',
      wrap: command => ['unshare', '-m', 'sh', '-c', mount, store, ...command],
    });
    const seenByWorker = `/proc/${worker.pid}/root${store}`;
    const result = one.score(firstDay);
    let isEnded = false;
    void result.finally(() => {
      isEnded = true;
    });
    await sleep(6_000);
    assert.equal(isEnded, false, 'a job cannot end while nothing can be written');
    rmSync(`${seenByWorker}/ballast`);
    await assertCommitted([result]);
    await assertUndisturbed(lab, openStore(seenByWorker), [firstDay]);
  } finally {
    await one.close();
  }
}

const s3Faults: readonly Fault[] = [
  { kind: 'status', status: 500 },
  { kind: 'status', status: 503 },
  { kind: 'status', status: 409 },
  { kind: 'applied_but_lost' },
  { kind: 'applied_but_error' },
  { kind: 'applied_late', afterMs: 400 },
  { kind: 'dropped' },
  { kind: 'truncated' },
  { kind: 'garbled' },
  { kind: 'delayed', ms: 100 },
];

/** Every seventh request fails in a way drawn by the seed, with a storm of conflicts and one of refusals on top. */
async function s3Fails(lab: Lab, seed: number): Promise<void> {
  await withS3(`s3-${seed}`, async (options, proxy) => {
    const disturb = async (one: Case) => {
      await one.startWorker();
      const faults = seededFaults({ seed, probability: 0.15, kinds: s3Faults });
      proxy.setPlan((request, index) => {
        if (index >= 60 && index < 75 && request.method === 'PUT') return { kind: 'status', status: 409 };
        if (index >= 120 && index < 135) return { kind: 'status', status: 503 };
        return faults(request, index);
      });
      await assertCommitted([one.score(firstDay), one.score(secondDay)]);
      proxy.setPlan(() => null);
      const kinds = Object.keys(proxy.injected());
      assert.ok(kinds.length >= 6, `only ${kinds.join(', ')} were injected`);
      return [firstDay, secondDay];
    };
    await withCase(lab, `s3-${seed}`, disturb, options);
  });
}

async function liarIsRefused(lab: Lab, seed: number): Promise<void> {
  await withS3(`liar-${seed}`, async (options, proxy) => {
    const one = await lab.openCase(`liar-${seed}`, options);
    try {
      proxy.setPlan(() => ({ kind: 'conditions_ignored' }));
      await assert.rejects(openAlmanac(one.project, { log: () => {}, ui: false }), /If-None-Match|condition/i);
    } finally {
      proxy.setPlan(() => null);
      await one.close();
    }
  });
}

async function withS3(
  prefix: string,
  use: (options: CaseOptions, proxy: Awaited<ReturnType<typeof startFaultProxy>>) => Promise<void>,
): Promise<void> {
  const server = await startS3Server();
  const proxy = await startFaultProxy(server.endpoint);
  // The workers find them where the SDK looks.
  process.env['AWS_ACCESS_KEY_ID'] = server.credentials.accessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = server.credentials.secretAccessKey;
  try {
    const { endpoint, region, bucket } = server;
    await use({ s3: { url: `s3://${bucket}/${prefix}`, endpoint, proxy: proxy.endpoint, region } }, proxy);
  } finally {
    await proxy.stop();
    await server.stop();
  }
}
