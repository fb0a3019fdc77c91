/** A signal for many requests at a time. */
import { setMaxListeners } from "node:events";

/** Aborts with the given one, and does not take its many listeners for a leak. */
export function sharedSignal(signal: AbortSignal | undefined): AbortSignal | undefined {
  if (!signal) return undefined;
  const shared = AbortSignal.any([signal]);
  setMaxListeners(0, shared);
  return shared;
}
