/**
 * Does an object that is not a table hold a subject? Documents are searched value by value, other text word by word. A value
 * like `7` stands in every document as a count, so it only counts where the name of its key column stands too.
 */

/** Key column → value as text; all of them together are the subject. */
export type SubjectKey = Readonly<Record<string, string>>;

export function documentHolds(document: unknown, key: SubjectKey): boolean {
  return Object.entries(key).every(([column, value]) => holdsValue(document, { column, value, isOwn: false }));
}

/** Log entries, CSV, JSON lines, logs of trainers. */
export function textHolds(text: string, key: SubjectKey): boolean {
  return Object.entries(key).every(
    ([column, value]) => (isTelling(value) && hasWord(text, value)) || hasCell(text, column, value),
  );
}

interface Wanted {
  readonly column: string;
  readonly value: string;
  /** Whether what is searched belongs to the key column: its profile, its field. */
  readonly isOwn: boolean;
}

function holdsValue(found: unknown, wanted: Wanted): boolean {
  const { column, value, isOwn } = wanted;
  if (Array.isArray(found)) return found.some(item => holdsValue(item, wanted));
  if (typeof found === 'object' && found !== null) {
    return Object.entries(found).some(
      ([name, item]) =>
        // Counts of a column's profile are no values of it.
        !(isOwn && countsOfProfile.has(name)) &&
        ((isTelling(value) && hasWord(name, value)) ||
          holdsValue(item, { ...wanted, isOwn: isOwn || name === column })),
    );
  }
  if (isOwn && String(found) === value) return true;
  return typeof found === 'string' && isTelling(value) && hasWord(found, value);
}

const countsOfProfile = new Set(['n', 'nulls', 'nan', 'counts', 'histogram', 'unseen', 'duplicates']);

/** Long enough, or with a letter in it: found by itself it means the subject. */
function isTelling(value: string): boolean {
  return value.length >= 6 || /[^\d.-]/.test(value);
}

function hasWord(text: string, value: string): boolean {
  for (let at = text.indexOf(value); at >= 0; at = text.indexOf(value, at + 1)) {
    if (!isWordCharacter(text[at - 1]) && !isWordCharacter(text[at + value.length])) return true;
  }
  return false;
}

function isWordCharacter(character: string | undefined): boolean {
  return character !== undefined && /[\p{L}\p{N}_]/u.test(character);
}

/** A cell of a comma-separated file under the key column's name. */
function hasCell(text: string, column: string, value: string): boolean {
  const [header = '', ...lines] = text.split(/\r?\n/);
  const index = cellsOf(header).indexOf(column);
  return index >= 0 && lines.some(line => cellsOf(line)[index] === value);
}

function cellsOf(line: string): readonly string[] {
  return line.split(',').map(cell => cell.trim().replace(/^"(.*)"$/, '$1'));
}
