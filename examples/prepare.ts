/** Turns the public files of the examples into dated features and labels, row by row, as anyone would have to. */
import { createReadStream, createWriteStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';
import { addDays } from './late-payment/generate.ts';

export interface PreparedFiles {
  readonly features: string;
  readonly labels: string;
  readonly rows: number;
}

/** What is wrong with a given file, for a person. */
export class WrongFile extends Error {
  override readonly name = 'WrongFile';
}

const halfHoursPerDay = 48;

/**
 * Elec2 has no dates: row i is half hour i since 7 May 1996. The label, whether the price is above the average of the last
 * 24 hours, is known when that day has passed.
 */
export function prepareElectricity(file: string, folder: string): Promise<PreparedFiles> {
  const features = ['period', 'nswprice', 'nswdemand', 'vicprice', 'vicdemand', 'transfer'];
  return prepare({ file, folder, expected: [...features, 'class'], features, label: 'class' }, (_, row) => {
    const date = addDays('1996-05-07', Math.floor(row / halfHoursPerDay));
    const minutes = (row % halfHoursPerDay) * 30;
    return `${date} ${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}:00`;
  });
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

/** The bank's calls are in time order with day and month; the year, from 2008, rises when the month wraps. */
export function prepareBank(file: string, folder: string): Promise<PreparedFiles> {
  const features = [
    ...['age', 'job', 'marital', 'education', 'default', 'balance', 'housing', 'loan', 'contact', 'campaign'],
    ...['duration', 'pdays', 'previous', 'poutcome'],
  ];
  let year = 2008;
  let lastMonth = -1;
  return prepare({ file, folder, expected: [...features, 'day', 'month', 'y'], features, label: 'y' }, cells => {
    const month = months.indexOf(cells['month'] ?? '');
    if (month < lastMonth) year++;
    lastMonth = month;
    // A few calls carry a day their month does not have; they count for its last one.
    const day = Math.min(Number(cells['day']), new Date(Date.UTC(year, month + 1, 0)).getUTCDate());
    return `${year}-${pad(month + 1)}-${pad(day)} 00:00:00`;
  });
}

interface Preparation {
  readonly file: string;
  readonly folder: string;
  readonly expected: readonly string[];
  readonly features: readonly string[];
  readonly label: string;
}

async function prepare(
  { file, folder, expected, features, label }: Preparation,
  timeOf: (cells: Readonly<Record<string, string>>, row: number) => string,
): Promise<PreparedFiles> {
  const paths = { features: `${folder}/features.csv`, labels: `${folder}/labels.csv` };
  const featureFile = createWriteStream(paths.features);
  const labelFile = createWriteStream(paths.labels);
  featureFile.write(`id,time,${features.join(',')}\n`);
  labelFile.write(`id,time,${label}\n`);
  let header: readonly string[] | null = null;
  let rows = 0;
  for await (const line of createInterface({ input: createReadStream(file) })) {
    // Neither file has a quoted separator; one that does is refused by its number of cells.
    const cells = line.split(line.includes(';') ? ';' : ',').map(cell => cell.replace(/^"|"$/g, ''));
    if (header === null) {
      header = checkHeader(file, cells, expected);
      continue;
    }
    if (cells.length !== header.length) {
      throw new WrongFile(`${file}: row ${rows + 1} has ${cells.length} cells, expected ${header.length}`);
    }
    const row = Object.fromEntries(header.map((name, i) => [name, cells[i] ?? '']));
    const time = timeOf(row, rows);
    rows++;
    featureFile.write(`${rows},${time},${features.map(name => row[name]).join(',')}\n`);
    labelFile.write(`${rows},${time},${row[label]}\n`);
  }
  await Promise.all([finished(featureFile.end()), finished(labelFile.end())]);
  return { ...paths, rows };
}

function checkHeader(file: string, found: readonly string[], expected: readonly string[]): readonly string[] {
  const missing = expected.filter(name => !found.includes(name));
  if (missing.length === 0) return found;
  throw new WrongFile(
    `${file}: missing columns ${missing.join(', ')}; expected ${expected.join(', ')}; found ${found.join(', ')}`,
  );
}

function pad(value: number): string {
  return String(value).padStart(2, '0');
}
