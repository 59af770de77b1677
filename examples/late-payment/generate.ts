/**
 * The world of the demo: customers with invoices, one Parquet partition a day, and whether each invoice was paid late,
 * known a week after. Seeded and deterministic. One day the login policy changes: people on the mobile app are logged out
 * every night and log in four times as often, so `logins_30d` no longer means what a model learned. Only this file knows
 * the day; nothing written to disk names it.
 */
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';

export interface World {
  /** ISO dates, one a day. */
  readonly days: readonly string[];
  readonly rows: number;
  readonly lateShare: number;
}

export interface WorldOptions {
  /** Folder that gets `features/date=…/` and `labels/date=…/`. */
  readonly folder: string;
  readonly firstDay: string;
  readonly dayCount: number;
  readonly invoicesPerDay: number;
  readonly seed: number;
  readonly shift: boolean;
}

const customerCount = 30_000;
const channels = ['web', 'mobile', 'branch'] as const;
const regions = ['north', 'south', 'east', 'west', 'centre', 'coast', 'hills', 'islands'] as const;
const plans = ['basic', 'plus', 'business'] as const;

export async function generateWorld(options: WorldOptions): Promise<World> {
  const random = randomSource(options.seed);
  const days = Array.from({ length: options.dayCount }, (_, day) => addDays(options.firstDay, day));
  // A day a little past the middle; drawn so that no other file could know it.
  const changeDay = options.shift ? Math.floor(options.dayCount * (0.54 + 0.04 * random.uniform())) : Infinity;
  const customers = Array.from({ length: customerCount }, () => drawCustomer(random));
  const order = random.shuffle(customers.map((_, index) => index));

  const instance = await DuckDBInstance.create(':memory:', { threads: '2' });
  const connection = await instance.connect();
  await connection.run(`CREATE TABLE world (date DATE, customer_id BIGINT, logins_30d INTEGER, support_calls_90d INTEGER,
    balance DOUBLE, invoice_amount DOUBLE, payment_delay_avg DOUBLE, tenure_months INTEGER, channel VARCHAR,
    region VARCHAR, plan VARCHAR, late INTEGER)`);
  const appender = await connection.createAppender('world');
  let next = 0;
  let late = 0;
  for (const [day, date] of days.entries()) {
    for (let i = 0; i < options.invoicesPerDay; i++) {
      const id = order[next++ % customerCount] ?? 0;
      const customer = customers[id];
      if (customer === undefined) continue;
      const invoice = drawInvoice(customer, day >= changeDay, random);
      late += invoice.late;
      appender.appendVarchar(date);
      appender.appendBigInt(BigInt(100_000 + id));
      appender.appendInteger(invoice.logins);
      appender.appendInteger(invoice.supportCalls);
      appender.appendDouble(round(invoice.balance));
      appender.appendDouble(round(invoice.amount));
      if (invoice.delay === null) appender.appendNull();
      else appender.appendDouble(round(invoice.delay));
      appender.appendInteger(customer.tenureMonths);
      appender.appendVarchar(customer.channel);
      appender.appendVarchar(customer.region);
      appender.appendVarchar(customer.plan);
      appender.appendInteger(invoice.late);
      appender.endRow();
    }
  }
  appender.closeSync();

  mkdirSync(options.folder, { recursive: true });
  const write = async (name: string, columns: string) => {
    const folder = join(options.folder, name);
    rmSync(folder, { recursive: true, force: true });
    await connection.run(`COPY (SELECT date, ${columns} FROM world ORDER BY rowid)
      TO '${folder.replaceAll("'", "''")}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (date))`);
  };
  await write(
    'features',
    `customer_id, date::TIMESTAMP AS as_of, date::TIMESTAMP + INTERVAL 1 HOUR AS loaded_at,
     * EXCLUDE (date, customer_id, late)`,
  );
  await write('labels', 'customer_id, late, date::TIMESTAMP + INTERVAL 7 DAY AS labelled_at');
  connection.closeSync();
  instance.closeSync();
  const rows = options.dayCount * options.invoicesPerDay;
  return { days, rows, lateShare: late / rows };
}

/** The data of a day arrives: its folder moves, in one rename, from where the world keeps it to where the project reads. */
export function deliver(from: string, to: string, date: string): void {
  mkdirSync(to, { recursive: true });
  renameSync(join(from, `date=${date}`), join(to, `date=${date}`));
}

export function addDays(date: string, days: number): string {
  return new Date(Date.parse(`${date}T00:00:00Z`) + days * 86_400_000).toISOString().slice(0, 10);
}

interface Customer {
  /** How present the customer is; what `logins_30d` shows and what paying on time depends on. */
  readonly activity: number;
  readonly wealth: number;
  readonly tenureMonths: number;
  readonly channel: (typeof channels)[number];
  readonly region: (typeof regions)[number];
  readonly plan: (typeof plans)[number];
}

function drawCustomer(random: RandomSource): Customer {
  return {
    activity: random.normal(),
    wealth: random.normal(),
    tenureMonths: Math.floor(1 + 90 * random.uniform() ** 2),
    channel: random.pick(channels, [0.4, 0.42, 0.18]),
    region: random.pick(regions, [0.2, 0.18, 0.16, 0.14, 0.12, 0.1, 0.06, 0.04]),
    plan: random.pick(plans, [0.6, 0.3, 0.1]),
  };
}

function drawInvoice(customer: Customer, changed: boolean, random: RandomSource) {
  const activity = 0.8 * customer.activity + 0.6 * random.normal();
  const forcedLogins = changed && customer.channel === 'mobile' ? 4.5 : 1;
  const logins = random.poisson(forcedLogins * Math.exp(2.2 + 0.65 * activity));
  const supportCalls = random.poisson(Math.exp(-0.6 + 0.3 * random.normal()));
  const balance = Math.exp(6.5 + 0.8 * customer.wealth + 0.4 * random.normal());
  const amount = Math.exp(3.8 + 0.3 * customer.wealth + 0.5 * random.normal());
  // One customer in eight has no payment history.
  const delay = random.uniform() < 0.125 ? null : Math.max(0, 4 + 3.5 * random.normal() - customer.wealth);
  const logOdds =
    -2.1 -
    1.25 * activity +
    0.22 * ((delay ?? 5) - 4) -
    0.35 * customer.wealth +
    0.25 * supportCalls +
    0.3 * (Math.log(amount) - 3.8) +
    (customer.channel === 'branch' ? 0.25 : 0) -
    0.006 * customer.tenureMonths;
  const late = random.uniform() < 1 / (1 + Math.exp(-logOdds)) ? 1 : 0;
  return { logins, supportCalls, balance, amount, delay, late };
}

interface RandomSource {
  uniform(): number;
  normal(): number;
  poisson(mean: number): number;
  pick<T>(values: readonly [T, ...T[]], weights: readonly number[]): T;
  shuffle<T>(values: readonly T[]): readonly T[];
}

/** Mulberry32: 32 bits of state, the same numbers on every machine. */
function randomSource(seed: number): RandomSource {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  // Box–Muller.
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return {
    uniform,
    normal,
    // Knuth below 30, the normal approximation above.
    poisson(mean) {
      if (mean > 30) return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal()));
      let count = 0;
      for (let product = uniform(), limit = Math.exp(-mean); product > limit; product *= uniform()) count++;
      return count;
    },
    pick(values, weights) {
      let rest = uniform();
      for (const [index, value] of values.entries()) {
        rest -= weights[index] ?? 0;
        if (rest < 0) return value;
      }
      return values[0];
    },
    shuffle(values) {
      const shuffled = [...values];
      for (let i = shuffled.length - 1; i > 0; i--) {
        const j = Math.floor(uniform() * (i + 1));
        const [a, b] = [shuffled[i], shuffled[j]];
        if (a !== undefined && b !== undefined) [shuffled[i], shuffled[j]] = [b, a];
      }
      return shuffled;
    },
  };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
