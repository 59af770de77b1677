/** A small model on two splits of the same rows, for T6 of the leakage checks. */
import type { SplitQuality } from '../checks/leakage-suspicion.ts';
import type { ContractColumn } from '../domain/contract.ts';
import type { LabelColumns } from './job.ts';

export interface CompareSplitsJob {
  /** `training.parquet` of `materialise`; of a binary task. */
  readonly file: string;
  readonly label: LabelColumns;
  readonly features: readonly ContractColumn[];
  readonly keys: readonly string[];
  /** Learned from up to this partition, tested from that one on; both inclusive. */
  readonly split: { readonly learnUntil: string; readonly testFrom: string };
  /** At most so many rows are looked at, drawn by the hash of partition and keys. */
  readonly rowsMax: number;
  readonly trainer: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly seed: number;
}

/** Null with the reason when one side of a split has too few rows of a class to be judged. */
export interface ComparedSplits {
  readonly random: SplitQuality | null;
  readonly time: SplitQuality | null;
  readonly reason: string | null;
}
