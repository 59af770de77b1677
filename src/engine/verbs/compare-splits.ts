/**
 * Trains a small model twice on rows of one training set and tests it twice: on rows of a later period, and on rows drawn at
 * random. Both learn from and are tested on equally many rows, so that nothing but the split differs.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { SplitQuality } from '../../checks/leakage-suspicion.ts';
import { delongAuc } from '../../stats/delong.ts';
import { andThen, type Measured, measured } from '../../stats/measured.ts';
import { standardErrorOf, weightedAuc } from '../../stats/weighted.ts';
import { trainerNamed } from '../../trainers/index.ts';
import { encodeFeatures, type Table, TrainingDataError } from '../../trainers/trainer.ts';
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import type { TrainJob } from '../job.ts';
import type { ComparedSplits, CompareSplitsJob } from '../split-job.ts';
import { identifier, literal, readerCall } from '../sql.ts';
import { openRowReader } from '../training-rows.ts';
import type { VerbContext } from '../verbs.ts';

const draws = 1_000_000;

export async function run(job: CompareSplitsJob, context: VerbContext): Promise<ComparedSplits> {
  const folder = join(context.scratch, 'splits');
  await mkdir(folder, { recursive: true });
  const files = await writeSplits(job, folder, context);
  const time = await judgeSplit(job, files.time, context);
  const random = await judgeSplit(job, files.random, context);
  const problem = typeof time === 'string' ? time : typeof random === 'string' ? random : null;
  return {
    random: typeof random === 'string' ? null : random,
    time: typeof time === 'string' ? null : time,
    reason: problem,
  };
}

interface SplitFiles {
  readonly learn: string;
  readonly test: string;
}

async function writeSplits(
  job: CompareSplitsJob,
  folder: string,
  context: VerbContext,
): Promise<{ readonly time: SplitFiles; readonly random: SplitFiles }> {
  const session = await DuckDbSession.open({
    files: [job.file],
    folders: [folder],
    limits: context,
  });
  try {
    const all = readerCall('parquet', [job.file]);
    const label = identifier(job.label.column);
    const [found] = await session.rows(`SELECT count(*) AS n FROM ${all} WHERE ${label} IS NOT NULL`);
    const share = Math.min(1, job.rowsMax / Math.max(1, Number(found?.['n'])));
    // Two hashes: whether a row is looked at must not say on which side of the random split it lies.
    const drawn = (purpose: string) => {
      const texts = ['partition', ...job.keys].map(key => `coalesce(CAST(${identifier(key)} AS VARCHAR), '')`);
      return `md5_number_lower(concat_ws(chr(31), ${[literal(`${purpose} ${job.seed}`), ...texts].join(', ')})) % ${draws}`;
    };
    await session.run(
      `CREATE TEMP TABLE almanac_rows AS SELECT *, ${drawn('split')} AS almanac_draw FROM ${all} ` +
        `WHERE ${label} IS NOT NULL AND ${drawn('sample')} < ${Math.ceil(share * draws)}`,
    );
    const isLearned = `partition <= ${literal(job.split.learnUntil)}`;
    const isTested = `partition >= ${literal(job.split.testFrom)}`;
    const [sizes] = await session.rows(
      `SELECT count(*) FILTER (${isLearned}) AS learned, count(*) FILTER (${isTested}) AS tested FROM almanac_rows`,
    );
    const [learned, tested] = [Number(sizes?.['learned']), Number(sizes?.['tested'])];
    const shuffled =
      'SELECT *, row_number() OVER (ORDER BY almanac_draw, partition) AS almanac_place FROM almanac_rows';
    const write = async (name: string, select: string) => {
      const path = join(folder, `${name}.parquet`);
      await session.run(`COPY (${select}) TO ${literal(path)} (FORMAT parquet)`);
      return path;
    };
    return {
      time: {
        learn: await write('time-learn', `SELECT * FROM almanac_rows WHERE ${isLearned}`),
        test: await write('time-test', `SELECT * FROM almanac_rows WHERE ${isTested}`),
      },
      random: {
        test: await write('random-test', `SELECT * FROM (${shuffled}) WHERE almanac_place <= ${tested}`),
        learn: await write(
          'random-learn',
          `SELECT * FROM (${shuffled}) WHERE almanac_place > ${tested} AND almanac_place <= ${tested + learned}`,
        ),
      },
    };
  } finally {
    session.close();
  }
}

/** The quality on the tested rows, or why there is none. */
async function judgeSplit(
  job: CompareSplitsJob,
  { learn, test }: SplitFiles,
  context: VerbContext,
): Promise<SplitQuality | string> {
  const session = await DuckDbSession.open({
    files: [learn, test],
    folders: [],
    limits: context,
  });
  try {
    const reading: TrainJob = {
      ...job,
      file: learn,
      task: 'binary',
      threads: 1,
      metadata: {},
      outputFolder: context.scratch,
    };
    const reader = await openRowReader(session, reading);
    const [table, tested] = [await reader.read(learn), await reader.read(test)];
    const task = { task: 'binary', classes: reader.classes, seed: job.seed, threads: 1 } as const;
    const model = await trainerNamed(job.trainer).train(table, task, job.parameters, null);
    const scores = model.predict(encodeFeatures(tested.features, model.signature));
    const auc = aucOf(tested, scores);
    return auc.value === null ? auc.reason : { ...auc.value, testRows: tested.rows };
  } catch (error) {
    // One class alone, for example: nothing to learn is an answer here.
    if (error instanceof TrainingDataError) return error.message;
    if (error instanceof EngineFault && error.kind === 'bad_input') return error.message;
    throw error;
  } finally {
    session.close();
  }
}

function aucOf(
  { labels, weights = null }: Pick<Table, 'labels' | 'weights'>,
  scores: Float32Array,
): Measured<Pick<SplitQuality, 'auc' | 'standardError'>> {
  if (weights === null)
    return andThen(delongAuc(labels, scores), ({ auc, variance }) =>
      measured({ auc, standardError: Math.sqrt(variance) }),
    );
  return andThen(weightedAuc(labels, scores, weights), found =>
    measured({ auc: found.value, standardError: standardErrorOf(found) ?? 0 }),
  );
}
