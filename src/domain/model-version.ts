/** A model version: a numbered bundle of one model, and what it was made from. */

/** The files of a version, each under its own digest; the digest of this document names the version's content. */
export interface Bundle {
  readonly schema: 'bundle/1';
  /** Sorted by path. */
  readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
}

export interface ModelVersion {
  readonly model: string;
  /** From 1, without gaps. */
  readonly number: number;
  /** Digest of the bundle: model, signature, contract, transform, calibration, golden rows. */
  readonly bundle: string;
  /** Id of the run that made it. */
  readonly run: string;
  /** Digest of the model definition it was trained under. */
  readonly definition: string;
  /** Digests of the reference profile and of the baseline whose edges it uses; null when none was made. */
  readonly profile: string | null;
  readonly baseline: string | null;
  /** Digests of the snapshots it was trained on. */
  readonly snapshots: Readonly<Record<string, string>>;
  readonly metrics: Readonly<Record<string, number | null>>;
  /** What scores it, as found when it was registered; absent for older versions. */
  readonly scorer?: ScorerRecord;
  /** ISO, UTC. */
  readonly registeredAt: string;
}

/** Rows scored by compiled trees and by ONNX Runtime, and how much they differed at most. */
export interface ScorerComparison {
  readonly rows: number;
  readonly largestDifference: number;
  /** 1e-6 × max(1, largest |output|). */
  readonly tolerance: number;
}

/** The outcome of the comparison at registration; scoring follows it instead of comparing again. */
export interface ScorerRecord {
  readonly scorer: 'trees' | 'onnxruntime';
  readonly reason: string;
  /** Null where there were no trees to compare. */
  readonly compared: ScorerComparison | null;
  /** The compiler of the trees; for those of another one it does not hold. */
  readonly compiler: string;
}
