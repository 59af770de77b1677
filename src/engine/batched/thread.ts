/**
 * The thread that owns the sessions: it runs one batch after the other while the main thread of the child reads the next
 * rows. One for all sessions: those of WebGPU share a device that bears no two threads, and a GPU has one queue anyway. It
 * is never terminated, for ONNX Runtime aborts the whole process then.
 */
import { parentPort } from 'node:worker_threads';
import { EngineFault, saysOutOfMemory, toDocument } from '../fault.ts';
import { OnnxSession, type OnnxTensor, type TensorData } from '../onnx-session.ts';
import { newArray } from '../tensors.ts';
import { type BatchModel, buffersOf, type FeedSpec, type FromThread, type Opened, type ToThread } from './messages.ts';
import { readPlacement } from './placement.ts';
import { tuneBatch } from './tune.ts';

/** Enough for every kernel to run once, and little enough for the slowest device. */
const FIRST_ROWS = 16;

interface OpenSession {
  readonly onnx: OnnxSession;
  readonly model: BatchModel;
}

const port = parentPort;
if (port === null) throw new Error('thread.ts is started by a batch session');
const sessions = new Map<number, OpenSession>();
port.on('message', (message: ToThread) => {
  void answer(message);
});

function send(message: FromThread, buffers: readonly ArrayBuffer[] = []): void {
  port?.postMessage(message, buffers);
}

async function answer(message: ToThread): Promise<void> {
  const { session } = message;
  const open = sessions.get(session);
  try {
    switch (message.type) {
      case 'open':
        send({ session, type: 'opened', ...(await openSession(session, message.model)) });
        return;
      case 'run': {
        if (open === undefined) throw new EngineFault('failed', `session ${session} is not open`);
        const { data: output, dims } = runBatch(open, message.rows, message.data);
        const { data } = message;
        send({ session, type: 'ran', output: { data: output, dims }, data }, [output, ...data].flatMap(buffersOf));
        return;
      }
      case 'close':
        sessions.delete(session);
        open?.onnx.close();
    }
  } catch (error) {
    send({ session, type: 'fault', fault: toDocument(open === undefined ? error : faultOf(error, open.model)) });
  }
}

async function openSession(session: number, model: BatchModel): Promise<Opened> {
  const { provider, profilePrefix, label } = model;
  const onnx = OnnxSession.load(model.model, label, { executionProviders: [provider], profilePrefix });
  const opened = await prepare({ onnx, model }).catch((error: unknown) => {
    onnx.close();
    throw error;
  });
  sessions.set(session, { onnx, model });
  return opened;
}

/** The first run says where the nodes run; further ones find the batch. */
async function prepare(session: OpenSession): Promise<Opened> {
  const { feeds, profilePrefix, batchRows } = session.model;
  const runOn = (rows: number) => {
    const data = feeds.map(feed => sample(feed, rows));
    runBatch(session, rows, data);
  };
  runOn(FIRST_ROWS);
  session.onnx.endProfiling();
  const placement = await readPlacement(profilePrefix);
  if (typeof batchRows === 'number') return { batchRows, tried: [], placement };
  const { rows, tried } = tuneBatch(batchRows.candidates, runOn);
  return { batchRows: rows, tried, placement };
}

function runBatch({ onnx, model }: OpenSession, rows: number, data: readonly TensorData[]): OnnxTensor {
  const { feeds, output, label } = model;
  const tensors: Record<string, OnnxTensor> = {};
  for (const [index, { name, type, width, rank }] of feeds.entries()) {
    tensors[name] = onnx.tensor(type, data[index]!, rank === 1 ? [rows] : [rows, width]);
  }
  const found = onnx.run(tensors, [output])[output];
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
function faultOf(error: unknown, { label, provider }: BatchModel): EngineFault {
  if (error instanceof EngineFault) return error;
  const message = error instanceof Error ? error.message : String(error);
  const kind = saysOutOfMemory(message) ? 'out_of_memory' : provider === 'cpu' ? 'bad_model' : 'crash';
  return new EngineFault(kind, `${label}: ONNX Runtime failed on ${provider}: ${message}`, { label, provider });
}
