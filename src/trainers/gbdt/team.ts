/**
 * The threads of one training. The main thread opens a step with a number of tasks; it and the helpers take tasks from a
 * counter until none is left. A helper that starts late, or is slow, only takes fewer tasks.
 *
 *   control: [generation, step, tasks, next task, tasks done, failed]
 */
import type { Worker } from 'node:worker_threads';
import { startThread } from '../../engine/start-thread.ts';
import type { Layout, Workspace } from './layout.ts';
import { runTask } from './steps.ts';

const [GENERATION, STEP, TASKS, NEXT, DONE, FAILED] = [0, 1, 2, 3, 4, 5];
/** Larger than any number of tasks: the counter of a closed step. */
const CLOSED = 2 ** 30;
/** Looks at the counter before sleeping: waking a thread costs more than the small steps at the bottom of a tree. */
const SPINS = 20_000;

export interface HelperData {
  readonly memory: WebAssembly.Memory;
  readonly layout: Layout;
  readonly thread: number;
}

export class Team {
  readonly #workspace: Workspace;
  readonly #control: Int32Array;
  readonly #helpers: Worker[];

  constructor(memory: WebAssembly.Memory, workspace: Workspace) {
    this.#workspace = workspace;
    this.#control = controlOf(memory, workspace.layout);
    this.#control[NEXT] = CLOSED;
    this.#helpers = Array.from({ length: workspace.layout.threads - 1 }, (_, index) =>
      startHelper({ memory, layout: workspace.layout, thread: index + 1 }, this.#control),
    );
  }

  /** Runs all tasks of a step; returns when the last one is done. Throws when a task threw in any thread. */
  run(which: number, tasks: number): void {
    if (this.#helpers.length === 0 || tasks === 1) {
      for (let task = 0; task < tasks; task++) runTask(this.#workspace, which, task);
      return;
    }
    const control = this.#control;
    // The counter was left closed, so nobody reads these while they change.
    control[STEP] = which;
    control[TASKS] = tasks;
    Atomics.store(control, DONE, 0);
    Atomics.store(control, NEXT, 0);
    Atomics.add(control, GENERATION, 1);
    Atomics.notify(control, GENERATION);
    takeTasks(this.#workspace, control);
    waitUntil(control, DONE, done => done >= tasks);
    Atomics.store(control, NEXT, CLOSED);
    if (Atomics.load(control, FAILED) !== 0)
      throw new Error('gbdt: a training thread failed; see the log of the process');
  }

  async close(): Promise<void> {
    await Promise.all(this.#helpers.map(helper => helper.terminate()));
  }
}

/** A helper's life: wait for the next step, take tasks. Ends when its thread is terminated. */
export function helpForever({ memory, layout }: HelperData, workspace: Workspace): never {
  const control = controlOf(memory, layout);
  let seen = 0;
  for (;;) {
    waitUntil(control, GENERATION, generation => generation !== seen);
    seen = Atomics.load(control, GENERATION);
    takeTasks(workspace, control);
  }
}

function takeTasks(workspace: Workspace, control: Int32Array): void {
  for (;;) {
    const task = Atomics.add(control, NEXT, 1);
    if (task >= Atomics.load(control, TASKS)) return;
    try {
      runTask(workspace, control[STEP]!, task);
    } catch (error) {
      Atomics.store(control, FAILED, 1);
      process.stderr.write(`gbdt: task ${task} failed: ${error instanceof Error ? error.stack : String(error)}\n`);
    }
    Atomics.add(control, DONE, 1);
    Atomics.notify(control, DONE);
  }
}

function waitUntil(control: Int32Array, index: number, isReached: (value: number) => boolean): void {
  for (let spin = 0; ; spin++) {
    const value = Atomics.load(control, index);
    if (isReached(value)) return;
    if (spin > SPINS) Atomics.wait(control, index, value, 1_000);
  }
}

function controlOf(memory: WebAssembly.Memory, layout: Layout): Int32Array {
  return new Int32Array(memory.buffer, layout.control, 64);
}

function startHelper(workerData: HelperData, control: Int32Array): Worker {
  const worker = startThread(new URL('./helper-thread.ts', import.meta.url), workerData);
  worker.on('error', error => {
    Atomics.store(control, FAILED, 1);
    process.stderr.write(`gbdt: a training thread ended: ${error.stack ?? error.message}\n`);
  });
  worker.unref();
  return worker;
}
