/** The command trainer with small node programs in place of a user's trainer. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CommandOptions, type CommandProgress, trainByCommand } from '../../src/trainers/command.ts';

let folder: string;
let programs = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'almanac-command-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const writeAll = `
  const { readFileSync, writeFileSync } = require('node:fs');
  const spec = JSON.parse(readFileSync(process.env.ALMANAC_TRAIN_SPEC, 'utf8'));
  const write = (name, text) => writeFileSync(spec.outputFolder + '/' + name, text);
  write('model.onnx', 'a model'); write('golden.parquet', 'rows'); write('metrics.json', '{"auc": 0.75, "lift": null}');
`;

/** Options for a program given as source text. */
async function program(source: string, overrides: Partial<CommandOptions> = {}): Promise<CommandOptions> {
  programs += 1;
  const path = join(folder, `program-${programs}.cjs`);
  await writeFile(path, source);
  return {
    argv: [process.execPath, path, '{spec}'],
    spec: {
      schema: 'train-spec/1',
      model: 'late-payment',
      task: 'binary',
      seed: 7,
      label: { column: 'late', positive: '1', weight: null },
      classes: ['0', '1'],
      features: [],
      parameters: { depth: 3 },
      trainFiles: ['/data/train.parquet'],
      holdoutFiles: [],
      outputFolder: join(folder, `output-${programs}`),
    },
    workingFolder: folder,
    environment: {},
    deadlineMs: 30_000,
    ...overrides,
  };
}

test('hands the spec over, hears progress, keeps the log and reads what was written', async () => {
  const heard: CommandProgress[] = [];
  const options = await program(
    `${writeAll}
    if (process.argv[2] !== process.env.ALMANAC_TRAIN_SPEC) throw new Error('no spec in argv');
    console.log('reading', spec.trainFiles[0], 'depth', spec.parameters.depth);
    console.log(JSON.stringify({ done: 1, total: 2, unit: 'rounds', loss: 0.5 }));
    console.log('{not json'); console.log('{"other": 1}');
    console.log('{"done": 2}'); console.error('a warning');`,
    { onProgress: progress => void heard.push(progress) },
  );
  const trained = await trainByCommand(options);
  expect(trained.metrics).toEqual({ auc: 0.75, lift: null });
  expect(await readFile(trained.onnx, 'utf8')).toBe('a model');
  expect(heard).toEqual([
    { done: 1, total: 2, unit: 'rounds', loss: 0.5 },
    { done: 2, total: null, unit: 'steps', loss: null },
  ]);
  const log = await readFile(trained.log, 'utf8');
  expect(log).toContain('reading /data/train.parquet depth 3');
  expect(log).toContain('a warning');
});

test('the environment is the given one and nothing else', async () => {
  const options = await program(
    `${writeAll} write('metrics.json', JSON.stringify({ variables: Object.keys(process.env).length }))`,
    {
      environment: { GREETING: 'hello' },
    },
  );
  expect((await trainByCommand(options)).metrics).toEqual({ variables: 2 });
});

test.each([
  [
    'a non-zero exit',
    `console.error('no such column: late'); process.exit(3)`,
    /exit code 3, expected 0 and the files model\.onnx.*no such column: late/s,
  ],
  [
    'no files',
    `console.log('done')`,
    /model\.onnx, metrics\.json, golden\.parquet is missing or empty .* found spec\.json, train\.log; last lines:\ndone/s,
  ],
  ['an empty model', `${writeAll} write('model.onnx', '')`, /model\.onnx is missing or empty/],
  [
    'metrics that are no numbers',
    `${writeAll} write('metrics.json', '{"auc": "high"}')`,
    /metrics\.json: expected one object of numbers .* found "auc": "high"/,
  ],
  ['metrics that are no JSON', `${writeAll} write('metrics.json', 'auc=1')`, /found no JSON: auc=1/],
])('%s is a permanent fault that names the command and what was expected', async (_name, source, message) => {
  const options = await program(source);
  const fault = await trainByCommand(options).catch((error: unknown) => error);
  expect(fault).toMatchObject({ name: 'EngineFault', kind: 'bad_job', message: expect.stringMatching(message) });
  expect(fault).toMatchObject({ message: expect.stringContaining(`program-${programs}.cjs`) });
});

test('a program that does not exist, and none at all', async () => {
  const options = await program('');
  await expect(trainByCommand({ ...options, argv: ['no-such-trainer'] })).rejects.toMatchObject({
    kind: 'bad_job',
    message: expect.stringContaining(`trainer "no-such-trainer": cannot be started in ${folder}`),
  });
  await expect(trainByCommand({ ...options, argv: [] })).rejects.toThrow('command is empty');
});

/** Starts a grandchild that would live for ever, tells its pid, and ignores SIGTERM's default. */
const stubborn = `
  const { spawn } = require('node:child_process');
  const grandchild = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
  console.log(JSON.stringify({ done: grandchild.pid }));
  setInterval(() => {}, 1000);`;

test('cancelling stops the whole process group', async () => {
  const cancel = new AbortController();
  let grandchild = 0;
  const options = await program(stubborn, {
    signal: cancel.signal,
    onProgress: ({ done }) => {
      grandchild = done;
      cancel.abort();
    },
  });
  await expect(trainByCommand(options)).rejects.toMatchObject({ kind: 'cancelled' });
  expect(await isGone(grandchild)).toBe(true);
});

test('a deadline stops it, and so does its own end: nothing is left running', async () => {
  let grandchild = 0;
  const onProgress = ({ done }: CommandProgress) => {
    grandchild = done;
  };
  const late = await program(stubborn, { deadlineMs: 1_500, onProgress });
  await expect(trainByCommand(late)).rejects.toMatchObject({
    kind: 'deadline',
    message: expect.stringContaining('1500 ms'),
  });
  expect(await isGone(grandchild)).toBe(true);

  const careless = await program(`${writeAll}${stubborn} setTimeout(() => process.exit(0), 300)`, { onProgress });
  await trainByCommand(careless);
  expect(await isGone(grandchild)).toBe(true);
});

test('being killed from outside counts as lack of memory', async () => {
  const options = await program(`process.kill(process.pid, 'SIGKILL')`);
  await expect(trainByCommand(options)).rejects.toMatchObject({ kind: 'out_of_memory' });
});

async function isGone(pid: number): Promise<boolean> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const state = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
    // A zombie waits for its parent's parent and runs nothing.
    if (state === null || state.includes(') Z ')) return true;
    await sleep(50);
  }
  return false;
}
