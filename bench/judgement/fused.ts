/** What the profile adds to a scoring job that reads the same columns anyway. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EnginePool } from '../../src/engine/pool.ts';
import {
  binarySignature,
  champion,
  column,
  contractOf,
  logisticModel,
  scoreJob,
} from '../../test/engine/support/fixtures.ts';
import { FEATURES, ROWS_PER_FILE } from './data.ts';

export interface FusedCost {
  /** CPU µs per row that profiling adds to scoring a logistic model: least of the rounds with it minus least without. */
  readonly profile: number;
  /** What counting duplicates of the key adds to that, in a pass of its own over the predictions. */
  readonly keys: number;
}

export async function timeFused({
  file,
  baseline,
  rounds,
}: {
  readonly file: string;
  readonly baseline: string;
  readonly rounds: number;
}): Promise<FusedCost> {
  const folder = mkdtempSync(join(tmpdir(), 'almanac-bench-'));
  const pool = new EnginePool({ size: 1, scratch: join(folder, 'scratch'), memoryMb: 1500 });
  try {
    const names = Array.from({ length: FEATURES }, (_, i) => `f${i}`);
    const onnx = join(folder, 'model.onnx');
    writeFileSync(
      onnx,
      logisticModel(
        names.map((_, i) => (i - 15) / 100),
        0,
      ),
    );
    const cost = async (name: string, profiled: string | null, keys: readonly string[] = []): Promise<number> => {
      const outputFolder = join(folder, name);
      mkdirSync(outputFolder);
      const job = scoreJob({
        inputs: [{ path: file }],
        rows: ROWS_PER_FILE,
        contract: contractOf(
          names.map(feature => column(feature)),
          { keys },
        ),
        models: [champion(onnx, binarySignature(names))],
        outputFolder,
        baseline: profiled,
      });
      const receipt = await pool.run('score-chunk', job, { deadlineMs: 600_000 });
      if ((receipt.profile !== null) !== (profiled !== null)) throw new Error(`${name}: profile is ${receipt.profile}`);
      return (receipt.cpuSeconds * 1e6) / ROWS_PER_FILE;
    };
    // The first job compiles; it is not counted.
    await cost('warm-up', baseline);
    let [without, withProfile, withKeys] = [Infinity, Infinity, Infinity];
    for (let round = 0; round < rounds; round++) {
      without = Math.min(without, await cost(`plain-${round}`, null));
      withProfile = Math.min(withProfile, await cost(`profiled-${round}`, baseline));
      withKeys = Math.min(withKeys, await cost(`keyed-${round}`, baseline, ['id']));
    }
    return { profile: withProfile - without, keys: withKeys - withProfile };
  } finally {
    await pool.close();
    rmSync(folder, { recursive: true });
  }
}
