/** The code under test: the production modules, or a copy of them with one mistake built in. */
import { createPromotion } from '../../src/activities/promotion.ts';
import { Catalog } from '../../src/storage/catalog.ts';
import { collectTable } from '../../src/storage/collector.ts';
import { StorageFault } from '../../src/storage/fault.ts';
import { PredictionsTable } from '../../src/storage/table/predictions-table.ts';

export interface Implementation {
  readonly PredictionsTable: typeof PredictionsTable;
  readonly collectTable: typeof collectTable;
  readonly StorageFault: typeof StorageFault;
  readonly Catalog: typeof Catalog;
  readonly createPromotion: typeof createPromotion;
}

export const production: Implementation = { PredictionsTable, collectTable, StorageFault, Catalog, createPromotion };
