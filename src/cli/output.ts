/** What commands print: results on stdout, progress on stderr, one JSON document with `--json`. */
import colours from 'picocolors';

/** Exit codes of the command; documented in the README. */
export const exitCode = { ok: 0, failed: 1, usage: 2, gate: 3, rejected: 4, timedOut: 5, interrupted: 130 } as const;

/** Ends the command with a message for people and an exit code for scripts. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
  readonly code: number;
  constructor(message: string, code: number = exitCode.failed, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Prints the document alone with `--json`; else what `lines` makes of it. */
export function show<T>(json: boolean | undefined, document: T, lines: (document: T) => readonly string[]): void {
  if (json === true) print(JSON.stringify(document));
  else for (const line of lines(document)) print(line);
}

/** A table with a header; columns as wide as their longest cell, numbers to the right. */
export function tableLines(
  header: readonly string[],
  rows: readonly (readonly (string | number | null)[])[],
): string[] {
  if (rows.length === 0) return [colours.dim('(none)')];
  const cells = rows.map(row => row.map(cell => (cell === null ? '-' : String(cell))));
  const widths = header.map((name, i) => Math.max(name.length, ...cells.map(row => row[i]?.length ?? 0)));
  const numeric = header.map((_, i) => rows.every(row => row[i] === null || typeof row[i] === 'number'));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (numeric[i] === true ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  return [colours.bold(line(header)), ...cells.map(line)];
}

/** Verdicts and states never by colour alone: the word stays. */
export function verdictText(verdict: string): string {
  if (['pass', 'committed', 'promoted', 'completed'].includes(verdict)) return colours.green(verdict);
  if (['fail', 'failed', 'rejected', 'error'].includes(verdict)) return colours.red(verdict);
  return colours.yellow(verdict);
}
