/**
 * How many rows a network is called with. What one layer hands to the next is cheapest where the core's own cache still
 * holds it: 2,048 rows of a 30-256-128-1 network hand on 3 MB, and DuckDB decodes the next rows between two calls, so they
 * come back from memory at a fifth of the model's time. The number follows from the graph alone: the same model gives the
 * same bits on every machine.
 */
import type { GraphProto } from '../onnx/generated/onnx_pb.ts';

/** The second-level cache of a server core has 1 or 2 MB, and the weights want some of it. */
const HANDED_ON_BYTES = 2 ** 20;
/** Below it the calls themselves cost more than the cache saves. */
const ROWS_MIN = 256;

/** Rows per call, a power of two; null where no layer hands on to another, and every number of rows is as good. */
export function callRows(graph: GraphProto): number | null {
  const weights = new Map(graph.initializer.map(tensor => [tensor.name, tensor.dims.map(Number)]));
  const layers = graph.node.flatMap(node => {
    const dims = node.opType === 'Gemm' || node.opType === 'MatMul' ? weights.get(node.input[1] ?? '') : undefined;
    return dims?.length === 2 ? [dims[0]! + dims[1]!] : [];
  });
  if (layers.length < 2) return null;
  const rows = HANDED_ON_BYTES / (Math.max(...layers) * Float32Array.BYTES_PER_ELEMENT);
  return Math.max(ROWS_MIN, 2 ** Math.floor(Math.log2(rows)));
}
