/** Reads a YAML file against a schema; every error names file, line and column, and the nearest known key. */
import { readFileSync } from 'node:fs';
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import * as z from 'zod';
import { unknownName } from '../domain/nearest.ts';
import { ConfigurationError } from './configuration-error.ts';

/** An object that refuses keys it does not know and says which it knows. */
export function section<Shape extends z.ZodRawShape>(shape: Shape) {
  const known = Object.keys(shape);
  // Before the object's own rules, so that a misspelt key is not reported as a missing one.
  return z.preprocess((value, context) => {
    for (const key of typeof value === 'object' && value !== null ? Object.keys(value) : []) {
      if (!known.includes(key)) {
        context.addIssue({ code: 'custom', path: [key], message: unknownName('key', key, known) });
      }
    }
    return value;
  }, z.object(shape));
}

/** @param name how messages call the file, usually its path relative to the project. */
export function readYamlFile<Schema extends z.ZodType>(path: string, name: string, schema: Schema): z.output<Schema> {
  return parseYaml(readFileSync(path, 'utf8'), name, schema);
}

function parseYaml<Schema extends z.ZodType>(text: string, name: string, schema: Schema): z.output<Schema> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    throw new ConfigurationError(document.errors.map(error => `${at(error.pos[0])}: ${error.message}`));
  }
  const parsed = schema.safeParse(document.toJS({ maxAliasCount: 100 }) ?? {});
  if (parsed.success) return parsed.data;
  throw new ConfigurationError(
    parsed.error.issues.map(issue => {
      const path = issue.path.map(String);
      const where = at(offsetOf(document.contents, path));
      return `${where}: ${path.length > 0 ? `${path.join('.')}: ` : ''}${issue.message}`;
    }),
  );
}

/** Where a path's key stands in the text; the nearest parent when the key itself is missing. */
function offsetOf(node: unknown, path: readonly string[]): number {
  let here = node;
  let offset = 0;
  for (const step of path) {
    if (isMap(here)) {
      const pair = here.items.find(item => isScalar(item.key) && String(item.key.value) === step);
      if (pair === undefined) break;
      if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
      here = pair.value;
    } else if (typeof here === 'object' && here !== null && 'items' in here && Array.isArray(here.items)) {
      here = here.items[Number(step)];
      if (typeof here === 'object' && here !== null && 'range' in here && Array.isArray(here.range)) {
        offset = Number(here.range[0]);
      }
    } else break;
  }
  return offset;
}
