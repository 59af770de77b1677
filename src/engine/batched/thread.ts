/**
 * The thread that owns a session: it runs one batch after the other while the main thread of the child reads the next
 * rows. It is never terminated, for ONNX Runtime aborts the whole process then; it ends by itself when asked.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { EngineFault, saysOutOfMemory, toDocument } from '../fault.ts';
import { OnnxSession, type OnnxTensor, type TensorData } from '../onnx-session.ts';
import { newArray } from '../tensors.ts';
import { buffersOf, type FeedSpec, type FromThread, type Opened, type ThreadData, type ToThread } from './messages.ts';
import { readPlacement } from './placement.ts';
import { tuneBatch } from './tune.ts';

/** Enough for every kernel to run once, and little enough for the slowest device. */
const FIRST_ROWS = 16;

if (parentPort === null) throw new Error('thread.ts is started by a batch session');
await serve(parentPort, workerData as ThreadData);

async function serve(port: MessagePort, data: ThreadData): Promise<void> {
  const send = (message: FromThread, buffers: readonly ArrayBuffer[] = []) => port.postMessage(message, buffers);
  let session: OnnxSession;
  try {
    const { provider, profilePrefix } = data;
    session = OnnxSession.load(data.model, data.label, { executionProviders: [provider], profilePrefix });
    send({ type: 'opened', ...(await prepare(session, data)) });
  } catch (error) {
    send({ type: 'fault', fault: toDocument(error) });
    port.close();
    return;
  }
  port.on('message', (message: ToThread) => {
    if (message.type === 'close') {
      session.close();
      port.close();
      return;
    }
    try {
      const { data: output, dims } = runBatch(session, data, message.rows, message.data);
      send(
        { type: 'ran', output: { data: output, dims }, data: message.data },
        [output, ...message.data].flatMap(buffersOf),
      );
    } catch (error) {
      send({ type: 'fault', fault: toDocument(faultOf(error, data)) });
    }
  });
}

/** The first run says where the nodes run; further ones find the batch. */
async function prepare(session: OnnxSession, data: ThreadData): Promise<Opened> {
  const runOn = (rows: number) =>
    runBatch(
      session,
      data,
      rows,
      data.feeds.map(feed => sample(feed, rows)),
    );
  runOn(FIRST_ROWS);
  session.endProfiling();
  const placement = await readPlacement(data.profilePrefix);
  if (typeof data.batchRows === 'number') return { batchRows: data.batchRows, tried: [], placement };
  const { rows, tried } = tuneBatch(data.batchRows.candidates, runOn);
  return { batchRows: rows, tried, placement };
}

function runBatch(
  session: OnnxSession,
  { feeds, output, label }: ThreadData,
  rows: number,
  data: readonly TensorData[],
): OnnxTensor {
  const tensors: Record<string, OnnxTensor> = {};
  for (const [index, { name, type, width, rank }] of feeds.entries()) {
    tensors[name] = session.tensor(type, data[index]!, rank === 1 ? [rows] : [rows, width]);
  }
  const found = session.run(tensors, [output])[output];
  if (found === undefined) throw new EngineFault('bad_model', `${label}: it gave no output ${output}`, { label });
  return found;
}

/** Numbers of everyday size: denormals or NaN would be measured as something else. */
function sample({ type, width }: FeedSpec, rows: number): TensorData {
  if (type === 'string') return new Array<string>(rows * width).fill('');
  const data = newArray(type, rows * width);
  if (data instanceof Float32Array || data instanceof Float64Array) {
    for (let index = 0; index < data.length; index++) data[index] = (index % 17) / 16;
  }
  return data;
}

/**
 * On the CPU a failing run is the model's fault. On a GPU the session, and often the whole process, is unusable after any
 * error: a crash makes the pool start afresh.
 */
function faultOf(error: unknown, { label, provider }: ThreadData): EngineFault {
  if (error instanceof EngineFault) return error;
  const message = error instanceof Error ? error.message : String(error);
  const kind = saysOutOfMemory(message) ? 'out_of_memory' : provider === 'cpu' ? 'bad_model' : 'crash';
  return new EngineFault(kind, `${label}: ONNX Runtime failed on ${provider}: ${message}`, { label, provider });
}
