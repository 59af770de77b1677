import type { ObjectStore } from '../../../src/storage/object-store.ts';

/** Another object for the same store, as another process has: chains on the two share nothing and race. */
export function otherProcess<Store extends ObjectStore>(store: Store): Store {
  return new Proxy(store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
