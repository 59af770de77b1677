import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { getPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineFault } from '../../src/engine/fault.ts';
import { EnginePool } from '../../src/engine/pool.ts';
import { buildModel, buildNode, buildValue } from '../../src/onnx/build.ts';
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
} from '../../src/onnx/generated/onnx_pb.ts';
import { int64Tensor } from '../../src/onnx/tensor.ts';
import { childrenOf } from '../support/children-of.ts';
import { until } from '../support/until.ts';
import { Bench, binarySignature, champion, column, contractOf, logisticModel, scoreJob } from './support/fixtures.ts';

let bench: Bench;
let pool: EnginePool;

beforeAll(async () => {
  bench = await Bench.create();
  pool = new EnginePool({ size: 2, scratch: bench.path('scratch'), memoryMb: 1_024 });
});
afterAll(async () => {
  await pool.close();
  bench.close();
});

test('runs jobs of several verbs side by side in its children', async () => {
  const path = await bench.parquet('a.parquet', 'SELECT i AS id, i::FLOAT AS a FROM range(1000) t(i)');
  const [inspection, query] = await Promise.all([
    pool.run('inspect', { files: [{ path }], digests: true }, { deadlineMs: 30_000 }),
    pool.run(
      'query',
      { sql: 'SELECT count(*) AS n, sum(id) AS s FROM t', tables: { t: [path] } },
      { deadlineMs: 30_000 },
    ),
  ]);
  expect(inspection).toMatchObject({
    rows: 1000,
    columns: [
      { name: 'id', type: 'BIGINT' },
      { name: 'a', type: 'FLOAT' },
    ],
  });
  expect(inspection.files[0]!.sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(query.rows).toEqual([['1000', '499500']]);
});

test('children give way to the worker, whose loop sends heartbeats', async () => {
  await pool.run('query', { sql: 'SELECT 1', tables: {} }, { deadlineMs: 30_000 });
  const niceness = childrenOf(process.pid).map(pid => getPriority(pid));
  expect(niceness).toContain(getPriority() + 5);
});

test('a fault of the child keeps its kind and names what is wrong', async () => {
  const fault = await faultOf(
    pool.run('query', { sql: "SELECT * FROM read_csv('/etc/passwd')", tables: {} }, { deadlineMs: 30_000 }),
  );
  expect(fault.kind).toBe('bad_job');
  expect(fault.message).toMatch(/read_csv\(\)/);
});

test('children see nothing of the environment', async () => {
  process.env['ALMANAC_SECRET_FOR_TEST'] = 'secret';
  const fault = await faultOf(
    pool.run('query', { sql: "SELECT getenv('ALMANAC_SECRET_FOR_TEST')", tables: {} }, { deadlineMs: 30_000 }),
  );
  expect(fault.message).toMatch(/getenv\(\)/);
  delete process.env['ALMANAC_SECRET_FOR_TEST'];
});

test('children that make ready for scoring load both libraries before their first job, the others do not', async () => {
  const two = new EnginePool({ size: 2, scratch: bench.path('ready') });
  const before = childrenOf(process.pid);
  const scorers = async () => {
    const maps = childrenOf(process.pid)
      .filter(pid => !before.includes(pid))
      .map(pid => readFile(`/proc/${pid}/maps`, 'utf8').catch(() => ''));
    return (await Promise.all(maps)).filter(map => map.includes('/libduckdb.so') && map.includes('/libonnxruntime.so'));
  };
  const path = await bench.parquet('ready.parquet', 'SELECT 1 AS id');
  await two.run('inspect', { files: [{ path }] }, { deadlineMs: 30_000 });
  expect(await scorers()).toHaveLength(0);
  two.warm(2, ['score-chunk']);
  await until(async () => (await scorers()).length === 2);
  await two.close();
});

test('nothing is written to the home folder: the telemetry of ONNX Runtime is off', async () => {
  const home = bench.path('home');
  await mkdir(home);
  const path = await bench.parquet('home.parquet', 'SELECT i AS id, i::FLOAT AS a FROM range(10) t(i)');
  const onnx = await bench.model('home.onnx', logisticModel([0.5], 0));
  await mkdir(bench.path('home-out'));
  const one = new EnginePool({ size: 1, scratch: bench.path('home-scratch'), environment: { HOME: home } });
  const job = scoreJob({
    inputs: [{ path }],
    rows: 10,
    contract: contractOf([column('a')]),
    models: [champion(onnx, binarySignature(['a']))],
    outputFolder: bench.path('home-out'),
  });
  await one.run('score-chunk', job, { deadlineMs: 30_000 });
  await one.close();
  expect(await readdir(home)).toEqual([]);
});

/** A graph whose loop runs 2^62 times: no call into it returns. */
function endlessModel(): Uint8Array {
  const body = create(GraphProtoSchema, {
    name: 'body',
    input: [buildValue('i', 'int64', []), buildValue('cond_in', 'bool', []), buildValue('v_in', 'float32', ['N', 2])],
    output: [buildValue('cond_out', 'bool', []), buildValue('v_out', 'float32', ['N', 2])],
    node: [
      buildNode({ op: 'Identity', inputs: ['cond_in'], outputs: ['cond_out'] }),
      buildNode({ op: 'Sin', inputs: ['v_in'], outputs: ['v_out'] }),
    ],
  });
  const loop = buildNode({ op: 'Loop', inputs: ['trips', 'cond', 'x'], outputs: ['v'] });
  loop.attribute.push(
    create(AttributeProtoSchema, { name: 'body', type: AttributeProto_AttributeType.GRAPH, g: body }),
  );
  return buildModel({
    inputs: [buildValue('x', 'float32', ['N', 2])],
    outputs: [buildValue('p', 'float32', ['N', 1])],
    initializers: [int64Tensor('trips', [], [2 ** 62]), int64Tensor('one', [], [1])],
    nodes: [
      buildNode({ op: 'Cast', inputs: ['one'], outputs: ['cond'], attributes: { to: 9 } }),
      loop,
      buildNode({ op: 'ReduceSum', inputs: ['v'], outputs: ['p'], attributes: { keepdims: 1 } }),
    ],
  });
}

async function endlessJob(name: string, batchRows = 2_048) {
  const path = await bench.parquet(
    `${name}.parquet`,
    'SELECT i AS id, 1::FLOAT AS a, 1::FLOAT AS b FROM range(100) t(i)',
  );
  const onnx = await bench.model(`${name}.onnx`, endlessModel());
  await mkdir(bench.path(name), { recursive: true });
  return scoreJob({
    inputs: [{ path }],
    rows: 100,
    contract: contractOf([column('a'), column('b')]),
    models: [champion(onnx, binarySignature(['a', 'b']))],
    outputFolder: bench.path(name),
    batchRows,
  });
}

/** The model runs in DuckDB's call, or on a thread of its own. */
const bothStrategies = [2_048, 8_192];

test.each(bothStrategies)('a model that never returns is killed at the deadline (batch %i)', async batchRows => {
  const started = performance.now();
  const job = await endlessJob(`endless-${batchRows}`, batchRows);
  const fault = await faultOf(pool.run('score-chunk', job, { deadlineMs: 3_000 }));
  expect(fault.kind).toBe('deadline');
  expect(performance.now() - started).toBeLessThan(6_000);
  const after = await pool.run('query', { sql: 'SELECT 1 AS one', tables: {} }, { deadlineMs: 30_000 });
  expect(after.rows).toEqual([[1]]);
});

test.each(bothStrategies)(
  'cancel stops native work within two seconds, the parent stays free (%i)',
  async batchRows => {
    const cancel = new AbortController();
    const job = await endlessJob(`cancelled-${batchRows}`, batchRows);
    const running = faultOf(pool.run('score-chunk', job, { deadlineMs: 60_000, signal: cancel.signal }));
    let turns = 0;
    const ticks = setInterval(() => {
      turns++;
    }, 5);
    await sleep(1_500);
    // A parent that waited for the child would have turned once or twice; how long a turn may take is the bench's to say.
    expect(turns).toBeGreaterThan(30);
    const started = performance.now();
    cancel.abort();
    const fault = await running;
    clearInterval(ticks);
    expect(fault.kind).toBe('cancelled');
    expect(performance.now() - started).toBeLessThan(2_000);
  },
);

test('children end with a parent that is killed, at any moment of their start and in the middle of native work', async () => {
  const endless = 'SELECT sum(hash(a.range, b.range)) FROM range(2000000) a, range(20000) b';
  const killedAfter = async (delayMs: number): Promise<readonly number[]> => {
    const source = `
      import { readFileSync } from 'node:fs';
      import { EnginePool } from ${JSON.stringify(import.meta.resolve('../../src/engine/pool.ts'))};
      const pool = new EnginePool({ size: 1, scratch: ${JSON.stringify(bench.path(`orphan-${delayMs}`))} });
      pool.run('query', { sql: '${endless}', tables: {} }, { deadlineMs: 60_000 });
      process.stdout.write(readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8'));
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), ${delayMs});`;
    const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source]);
    let said = '';
    parent.stdout.on('data', text => {
      said += text;
    });
    await once(parent, 'close');
    return said.trim().split(' ').map(Number);
  };
  const children = (await Promise.all([0, 300, 900, 5_000, 6_000, 7_000].map(killedAfter))).flat();
  // The child, and the shell that watches over it.
  expect(children).toHaveLength(12);
  await until(() => children.every(pid => !existsSync(`/proc/${pid}`)), 20_000);
});

test('a job that wants more memory than allowed is an out-of-memory fault, not a dead worker', async () => {
  const fault = await faultOf(
    pool.run(
      'query',
      { sql: 'SELECT list(a.range || b.range) AS l FROM range(20000) a, range(20000) b', tables: {} },
      { deadlineMs: 60_000 },
    ),
  );
  expect(fault.kind).toBe('out_of_memory');
});

test('a waiting job can be cancelled before it starts', async () => {
  const one = new EnginePool({ size: 1, scratch: bench.path('one') });
  const cancel = new AbortController();
  const first = faultOf(one.run('score-chunk', await endlessJob('first'), { deadlineMs: 2_500 }));
  const waiting = faultOf(
    one.run('query', { sql: 'SELECT 1', tables: {} }, { deadlineMs: 1_000, signal: cancel.signal }),
  );
  cancel.abort();
  expect((await waiting).kind).toBe('cancelled');
  expect((await first).kind).toBe('deadline');
  await one.close();
});

test('a file that is no model is refused by name', async () => {
  await writeFile(bench.path('garbage.onnx'), 'not a model');
  const job = {
    ...(await endlessJob('broken')),
    models: [champion(bench.path('garbage.onnx'), binarySignature(['a', 'b']))],
  };
  const fault = await faultOf(pool.run('score-chunk', job, { deadlineMs: 30_000 }));
  expect(fault.kind).toBe('bad_model');
  expect(fault.message).toMatch(/model version 1 .*garbage\.onnx/);
});

test('a model with another signature is refused with both sides', async () => {
  const onnx = await bench.model('three.onnx', logisticModel([1, 2, 3], 0));
  const job = { ...(await endlessJob('signature')), models: [champion(onnx, binarySignature(['a', 'b']))] };
  const fault = await faultOf(pool.run('score-chunk', job, { deadlineMs: 30_000 }));
  expect(fault).toMatchObject({ kind: 'bad_model' });
  expect(fault.message).toMatch(/input x takes 3 columns, declared are 2/);
});

async function faultOf(promise: Promise<unknown>): Promise<EngineFault> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof EngineFault)) throw new Error(`expected an EngineFault, got ${String(error)}`);
  return error;
}
