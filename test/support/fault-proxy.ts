/**
 * An HTTP proxy that makes an S3 server fail in chosen ways. It stands between the store and a real server (by address)
 * or the in-process one (by function), and decides per request what goes wrong: by a list, or by a seed.
 */
import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface S3Request {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface S3Response {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export type Upstream = (request: S3Request) => Promise<S3Response>;

export type Fault =
  /** Answered by the proxy; the server never sees the request. 409 is a conflict, 503 `SlowDown`, 500 `InternalError`. */
  | { readonly kind: 'status'; readonly status: number; readonly code?: string }
  /** The server does it; the connection is cut instead of its answer. */
  | { readonly kind: 'applied_but_lost' }
  /** The server does it; the proxy answers 500. */
  | { readonly kind: 'applied_but_error' }
  /** The connection is cut at once; the server gets the request later. */
  | { readonly kind: 'applied_late'; readonly afterMs: number }
  /** The connection is cut and the server never hears of it. */
  | { readonly kind: 'dropped' }
  /** 200 with an error in its body, as S3 does for completions. */
  | { readonly kind: 'ok_with_error' }
  /** The body of the answer ends early, under the full Content-Length. */
  | { readonly kind: 'truncated' }
  /** One bit of the answer's body is flipped. */
  | { readonly kind: 'garbled' }
  /** The body stops after the first bytes and the connection stays open. */
  | { readonly kind: 'stalled' }
  | { readonly kind: 'delayed'; readonly ms: number }
  /** The proxy says 200 where the server refused a condition: what a store that ignores conditions looks like. */
  | { readonly kind: 'conditions_ignored' };

export type FaultPlan = (request: S3Request, index: number) => Fault | null;

export interface FaultProxy {
  readonly endpoint: string;
  /** Requests so far, and the faults that were injected, by kind. */
  readonly requests: () => number;
  readonly injected: () => Readonly<Record<string, number>>;
  setPlan(plan: FaultPlan): void;
  /** Waits for late requests first. */
  stop(): Promise<void>;
}

export async function startFaultProxy(upstream: Upstream | string, plan: FaultPlan = () => null): Promise<FaultProxy> {
  const forward = typeof upstream === 'string' ? forwardTo(upstream) : upstream;
  const injected: Record<string, number> = {};
  const late = new Set<Promise<unknown>>();
  let current = plan;
  let count = 0;

  const handle = async (incoming: IncomingMessage, response: ServerResponse) => {
    const request = await received(incoming);
    const fault = current(request, count);
    count += 1;
    if (fault !== null) injected[fault.kind] = (injected[fault.kind] ?? 0) + 1;
    switch (fault?.kind) {
      case undefined:
        return send(response, await forward(request));
      case 'status':
        return send(response, errorAnswer(fault.status, fault.code ?? codeOfStatus(fault.status)));
      case 'dropped':
        return incoming.socket.destroy();
      case 'applied_but_lost':
        await forward(request);
        return incoming.socket.destroy();
      case 'applied_but_error':
        await forward(request);
        return send(response, errorAnswer(500, 'InternalError'));
      case 'applied_late': {
        const landing: Promise<unknown> = sleep(fault.afterMs).then(() => forward(request));
        late.add(landing);
        void landing.finally(() => late.delete(landing)).catch(() => undefined);
        return incoming.socket.destroy();
      }
      case 'ok_with_error':
        return send(response, { ...errorAnswer(500, 'InternalError'), status: 200 });
      case 'truncated':
        return cut(response, await forward(request), () => incoming.socket.destroy());
      case 'stalled':
        return cut(response, await forward(request), () => undefined);
      case 'garbled':
        return send(response, garbled(await forward(request)));
      case 'delayed':
        await sleep(fault.ms);
        return send(response, await forward(request));
      case 'conditions_ignored': {
        const answer = await forward(request);
        const pretended = { status: 200, headers: { etag: '"0123456789abcdef"' }, body: completionBody(request) };
        return send(response, answer.status === 412 || answer.status === 409 ? pretended : answer);
      }
    }
  };

  const server = createServer((incoming, response) => {
    handle(incoming, response).catch(() => incoming.socket.destroy());
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return {
    endpoint: `http://127.0.0.1:${address.port}`,
    requests: () => count,
    injected: () => ({ ...injected }),
    setPlan(next) {
      current = next;
      count = 0;
    },
    async stop() {
      await Promise.allSettled([...late]);
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

/** Each request fails with the given probability, in a way drawn from the kinds; the same seed gives the same sequence. */
export function seededFaults(options: {
  readonly seed: number;
  readonly probability: number;
  readonly kinds: readonly Fault[];
  readonly only?: (request: S3Request) => boolean;
}): FaultPlan {
  const random = randomOf(options.seed);
  return request => {
    // Drawn for every request, so that `only` does not shift the sequence.
    const [chance, choice] = [random(), random()];
    if (chance >= options.probability || options.only?.(request) === false) return null;
    return options.kinds[Math.floor(choice * options.kinds.length)] ?? null;
  };
}

/** mulberry32: small, seeded, good enough to choose faults. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function errorAnswer(status: number, code: string): S3Response {
  const text = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${code} (injected or refused)</Message></Error>`;
  return { status, headers: { 'content-type': 'application/xml' }, body: Buffer.from(text) };
}

function codeOfStatus(status: number): string {
  const codes: Record<number, string> = { 403: 'AccessDenied', 409: 'ConditionalRequestConflict', 503: 'SlowDown' };
  return codes[status] ?? 'InternalError';
}

function completionBody(request: S3Request): Buffer {
  if (request.method !== 'POST') return Buffer.alloc(0);
  return Buffer.from(
    '<CompleteMultipartUploadResult><ETag>"0123456789abcdef-1"</ETag></CompleteMultipartUploadResult>',
  );
}

function garbled(answer: S3Response): S3Response {
  const body = Buffer.from(answer.body);
  const middle = body.length >> 1;
  if (body.length > 0) body[middle] = body[middle]! ^ 0x10;
  return { ...answer, body };
}

function send(response: ServerResponse, answer: S3Response): void {
  response.writeHead(answer.status, { 'content-length': String(answer.body.length), ...answer.headers });
  response.end(answer.body);
}

function cut(response: ServerResponse, answer: S3Response, then: () => void): void {
  response.writeHead(answer.status, { 'content-length': String(answer.body.length), ...answer.headers });
  response.write(answer.body.subarray(0, answer.body.length >> 1), then);
}

async function received(incoming: IncomingMessage): Promise<S3Request> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const { method = 'GET', url = '/', headers } = incoming;
  return { method, url, headers, body: Buffer.concat(chunks) };
}

/** Passes the headers on unchanged, `host` too: it is part of the signature. */
function forwardTo(endpoint: string): Upstream {
  return ({ method, url, headers, body }) =>
    new Promise((resolve, reject) => {
      const { hostname, port } = new URL(endpoint);
      const { expect: _, ...passed } = headers;
      const outgoing = httpRequest({ hostname, port, method, path: url, headers: passed }, incoming => {
        const chunks: Buffer[] = [];
        incoming.on('data', chunk => chunks.push(chunk));
        incoming.on('error', reject);
        incoming.on('end', () => {
          const { connection: _, 'transfer-encoding': __, ...kept } = incoming.headers;
          const entries = Object.entries(kept).map(([name, value]) => [name, String(value)]);
          resolve({
            status: incoming.statusCode ?? 502,
            headers: Object.fromEntries(entries),
            body: Buffer.concat(chunks),
          });
        });
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
}
